/** Flags that clients send though they mean nothing any more, or to other runtimes; and what is made of those that do. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { cgroupPaths, readCgroup } from "../support/cgroups.ts";
import { runk } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;

test(
  "--criu, --no-subreaper and the like are taken where clients put them, and help does not show them",
  ROOT,
  async () => {
    await using box = await Box.create({ script: "echo works" });
    assert.equal((await box.ok(["--criu", "/usr/sbin/criu", "run", "-no-subreaper", box.id])).stdout, "works\n");
    // conmon and others make no difference between run and create.
    await box.ok(["--rootless=false", "create", "--no-subreaper", "--no-new-keyring", box.id]);
    await box.ok(["delete", "--force", box.id]);
    assert.doesNotMatch((await runk(["--help"])).stdout, /criu/);
    assert.doesNotMatch((await runk(["create", "--help"])).stdout, /no-subreaper/);
    const update = (await runk(["update", "--help"])).stdout;
    assert.doesNotMatch(update, /kernel-memory/);
    assert.match(update, /--memory-swap value/);
  },
);

test("limits that the kernel has no more are taken, told and ignored", [...ROOT, "cgroup1"], async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  await box.ok(["run", "--detach", box.id]);
  for (const flag of ["--kernel-memory", "--kernel-memory-tcp"]) {
    const { stderr } = await box.ok(["update", flag, "50m", box.id]);
    assert.match(stderr, /level=warning msg="Kernel memory settings are ignored and will be removed"/, flag);
  }
});

test("update sets the time for real-time processes", [
  ...ROOT,
  "cgroup1",
  "file:/sys/fs/cgroup/cpu/cpu.rt_runtime_us",
], async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  await box.ok(["run", "--detach", box.id]);
  await box.ok(["update", "--cpu-rt-period", "500000", "--cpu-rt-runtime", "1000", box.id]);
  const paths = cgroupPaths(box);
  assert.deepEqual(["period", "runtime"].map((name) => readCgroup(paths, "cpu", `cpu.rt_${name}_us`)), [
    "500000",
    "1000",
  ]);
  const refused = await box.runk(["update", "--cpu-rt-runtime", "600000", box.id]);
  assert.match(refused.stderr, /failed to write \\"600000\\".*cpu.rt_runtime_us/);
  assert.equal(readCgroup(paths, "cpu", "cpu.rt_runtime_us"), "1000");
});

test(
  "kill --all says what it does, and does it: KILL ends what shares the host's processes, others reach the first",
  ROOT,
  async () => {
    const help = (await runk(["kill", "--help"])).stdout;
    assert.match(help, /--all, -a +succeed when the container is not running/);
    assert.match(
      help.replace(/\s+/g, " "),
      /KILL to a container that shares the host's pid namespace kills all of its processes/,
    );
    await using box = await Box.create({
      script: "sleep 999 & echo $! > /tmp/second; trap 'echo usr1 > /tmp/got' USR1; while :; do sleep 0.05; done",
      config: (c: Config) => {
        c.root.readonly = false;
        c.linux.namespaces = c.linux.namespaces.filter(({ type }: Config) => type !== "pid");
      },
    });
    for (const options of [["-a"], []]) {
      await Deno.remove(`${box.rootfs}/tmp/got`).catch(() => {});
      await Deno.remove(`${box.rootfs}/tmp/second`).catch(() => {});
      await box.ok(["run", "--detach", box.id]);
      const second = await until(
        "it has a second process",
        () => exists(`${box.rootfs}/tmp/second`) ? Deno.readTextFileSync(`${box.rootfs}/tmp/second`).trim() : "",
      );
      // It is there when its shell has set the trap, which USR1 would end before.
      const catches = () =>
        /^SigCgt:\s*\w*[2367abef]\w{2}$/m.test(
          Deno.readTextFileSync(`/proc/${pid}/status`),
        );
      const { pid } = await box.state();
      await until("it has its trap", catches);
      await box.ok(["kill", ...options, box.id, "USR1"]);
      await until("the first process has the signal", () => exists(`${box.rootfs}/tmp/got`));
      assert.ok(exists(`/proc/${second}`), "the second does not");
      await box.ok(["kill", ...options, box.id, "KILL"]);
      await until("all have ended", () => !exists(`/proc/${second}`));
      await box.ok(["delete", box.id]);
    }
    assert.match((await box.runk(["kill", "--all", box.id, "KILL"])).stderr, /container does not exist/);
  },
);

test("exec's flags about groups, rights and labels reach the process", ROOT, async () => {
  await using box = await Box.create({
    script: "sleep 1000",
    config: (c: Config) => {
      c.process.user.additionalGids = [5];
      c.process.noNewPrivileges = false;
    },
  });
  await box.ok(["run", "--detach", box.id]);
  const status = async (...flags: string[]) => {
    const { stdout } = await box.ok(["exec", ...flags, box.id, "cat", "/proc/self/status"]);
    return (name: string) => new RegExp(`^${name}:\\s*(.*?)\\s*$`, "m").exec(stdout)?.[1];
  };
  const plain = await status();
  const changed = await status("-g", "7", "--additional-gids", "8", "-c", "CAP_NET_ADMIN", "--no-new-privs");
  assert.deepEqual([plain("Groups"), changed("Groups")], ["5", "5 7 8"]);
  assert.deepEqual([plain("NoNewPrivs"), changed("NoNewPrivs")], ["0", "1"]);
  const netAdmin = 1n << 12n;
  const effective = (of: typeof plain) => BigInt(`0x${of("CapEff")}`) & netAdmin;
  assert.deepEqual([effective(plain), effective(changed)], [0n, netAdmin]);
  if (exists("/sys/fs/selinux/enforce")) return console.log("this machine has SELinux: no label is refused here");
  const labelled = await box.runk(["exec", "--process-label", "system_u:system_r:x_t:s0", box.id, "true"]);
  assert.equal(labelled.status, 255);
  assert.match(labelled.stderr, /selinux label is specified in config, but selinux is disabled or not supported/);
});
