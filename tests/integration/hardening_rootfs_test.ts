/**
 * Ways out of containers through what an image has in a mount's, a device's or a sysctl's place. Each test fails when
 * the defence that it names is taken out of the sources (tried, one by one).
 */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { sh } from "../support/shell.ts";
import { test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const ALL_SETS = ["bounding", "effective", "permitted"];

test(
  "/proc and /sys that are symlinks of the image are not mounted on (CVE-2019-19921, CVE-2023-27561)",
  ROOT,
  async () => {
    for (const [name, type] of [["proc", "proc"], ["sys", "sysfs"]]) {
      await using box = await Box.create({ script: "true" });
      await Deno.mkdir(`${box.rootfs}/fake`);
      await Deno.remove(`${box.rootfs}/${name}`);
      await Deno.symlink("/fake", `${box.rootfs}/${name}`);
      const { status, stderr } = await box.runk(["run", box.id]);
      assert.equal(status, 1);
      assert.match(
        stderr,
        new RegExp(
          `error mounting \\\\"${type}\\\\" to rootfs at \\\\"/${name}\\\\".*must be mounted on ordinary directory.*\\[config.json`,
        ),
      );
    }
  },
);

test("nothing is mounted on files of procfs, by any name (CVE-2019-19921)", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  await Deno.symlink("/proc/self", `${box.rootfs}/innocent`);
  for (const destination of ["/proc/self/attr", "/innocent/attr", "/proc/../proc/sys", "/proc/self/environ"]) {
    await box.write((c) => {
      c.process.terminal = false;
      c.mounts.push({ destination, source: "/tmp", type: "none", options: ["bind"] });
    });
    const { status, stderr } = await box.runk(["run", box.id]);
    assert.equal(status, 1, destination);
    assert.match(stderr, /cannot be mounted because it is inside \/proc/, destination);
  }
});

test("what a volume has in it is not taken for procfs (CVE-2019-16884)", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  await Deno.mkdir(`${box.directory}/fake/self/attr`, { recursive: true });
  await Deno.symlink("proc", `${box.rootfs}/data`);
  const fake = (destination: string) => ({ destination, source: "fake", type: "none", options: ["bind"] });
  // In the place of procfs, on it, and below it by an image's link.
  const all: readonly (readonly [(c: Config) => void, RegExp])[] = [
    [(c) => c.mounts[0] = fake("/proc"), /not of type proc/],
    [(c) => c.mounts.push(fake("/proc")), /not of type proc/],
    [(c) => c.mounts.push(fake("/data")), /inside \/proc/],
  ];
  for (const [change, words] of all) {
    await box.write((c) => {
      c.process.terminal = false;
      change(c);
    });
    const { status, stderr } = await box.runk(["run", box.id]);
    assert.equal(status, 1);
    assert.match(stderr, words);
  }
});

test(
  "what masks a file is the null device itself, not what the container calls so (CVE-2025-31133)",
  ROOT,
  async () => {
    const fakes = {
      "a symlink": "ln -s /etc/passwd null",
      "a file": "echo secret > null",
      "another device": "mknod -m 666 null c 1 5",
      "a directory": "mkdir null",
      "a symlink to procfs": "ln -s /proc/sys/kernel/core_pattern null",
    };
    for (const [name, fake] of Object.entries(fakes)) {
      await using box = await Box.create({ script: "true" });
      await sh(`mkdir vol && cd vol && mkdir pts shm mqueue && ${fake}`, box.directory);
      await box.write((c) => {
        c.process.terminal = false;
        c.process.args = ["/bin/true"];
        c.mounts = c.mounts.filter(({ destination }: Config) => destination !== "/dev");
        c.mounts.splice(1, 0, { destination: "/dev", source: `${box.directory}/vol`, type: "none", options: ["bind"] });
      });
      const { status, stderr } = await box.runk(["run", box.id]);
      assert.equal(status, 1, name);
      assert.match(stderr, /the container's \/dev\/null is not the null device/, name);
    }
  },
);

test("the terminal goes onto /dev/console itself, not where it leads to (CVE-2025-52565)", ROOT, async () => {
  await using box = await Box.create();
  await sh("mkdir vol && cd vol && mkdir pts && ln -s /target console && mknod -m 666 null c 1 3", box.directory);
  await Deno.writeTextFile(`${box.rootfs}/target`, "not a terminal\n");
  await box.write((c, script = "grep -c target /proc/self/mountinfo; cat /target; sleep 100") => {
    c.process.args = ["sh", "-c", script];
    c.mounts = c.mounts.filter(({ destination }: Config) => !/^\/dev(\/shm|\/mqueue)?$/.test(destination));
    c.mounts.unshift({ destination: "/dev", source: `${box.directory}/vol`, type: "none", options: ["bind"] });
  });
  using listener = Deno.listen({ transport: "unix", path: `${box.directory}/console` });
  const accepted = listener.accept();
  await box.ok(["run", "-d", "--console-socket", "console", box.id]);
  (await accepted).close();
  const { pid } = await box.state();
  const mounts = await Deno.readTextFile(`/proc/${pid}/mountinfo`);
  assert.doesNotMatch(mounts, / \/target /);
  assert.match(mounts, / \/dev\/console .* devpts /);
  assert.equal(await Deno.readTextFile(`/proc/${pid}/root/target`), "not a terminal\n");
});

test("standard streams are not opened anew on what an image calls /dev/null", ROOT, async () => {
  const fakes = {
    "a symlink": "ln -s /etc/passwd null",
    "a file": "echo secret > null",
    "a pipe": "mkfifo null",
    "another device": "mknod -m 666 null c 1 5",
  };
  for (const [name, fake] of Object.entries(fakes)) {
    await using box = await Box.create();
    await sh(fake, `${box.rootfs}/dev`);
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sh", "-c", "stat -L -c '%F %t:%T' /proc/self/fd/0 > /out"];
      c.root.readonly = false;
      c.linux.maskedPaths = [];
      // The image's own /dev.
      c.mounts = c.mounts.filter(({ destination }: Config) => !destination.startsWith("/dev"));
    });
    await box.ok(["run", "-d", box.id]);
    await until("the container ends", async () => (await box.state()).status === "stopped");
    assert.equal(await Deno.readTextFile(`${box.rootfs}/out`), "character special file 1:3\n", name);
  }
});

test(
  "sysctls go to the kernel, not into files that the container has in its place (CVE-2025-52881)",
  ROOT,
  async () => {
    await using box = await Box.create({
      script: "cat /elsewhere/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_forward",
    });
    await sh("mkdir -p vol/sys/net/ipv4 && echo fake > vol/sys/net/ipv4/ip_forward", box.directory);
    await Deno.mkdir(`${box.rootfs}/elsewhere`);
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sh", "-c", "cat /elsewhere/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_forward"];
      c.linux.sysctl = { "net.ipv4.ip_forward": "1" };
      c.linux.maskedPaths = c.linux.readonlyPaths = [];
      // The image's own /proc, with a file of that name, and procfs somewhere else.
      c.mounts.find(({ type }: Config) => type === "proc").destination = "/elsewhere";
    });
    await sh(`cp -r vol/. rootfs/proc/`, box.directory);
    const { stdout } = await box.ok(["run", box.id]);
    assert.equal(stdout, "1\nfake\n");
  },
);

test("no name of a sysctl leads out of its namespace's directory", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  const pattern = await Deno.readTextFile("/proc/sys/kernel/core_pattern");
  for (
    const key of ["net/../kernel/core_pattern", "net.//.kernel.core_pattern", "net/./../kernel/core_pattern", "net."]
  ) {
    await box.write((c) => {
      c.process.terminal = false;
      c.linux.sysctl = { [key]: pattern.trim() };
    });
    const { status, stderr } = await box.runk(["run", box.id]);
    assert.equal(status, 1, key);
    assert.match(stderr, /\[config.json \/linux\/sysctl\//, key);
  }
});

test("sysctls of a network that is joined by path are not the host's", [...ROOT, "command:unshare"], async () => {
  await using box = await Box.create();
  const write = (path: string) =>
    box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["cat", "/proc/sys/net/ipv4/ip_default_ttl"];
      c.linux.sysctl = { "net.ipv4.ip_default_ttl": "77" };
      c.linux.namespaces.find(({ type }: Config) => type === "network").path = path;
    });
  await write("/proc/self/ns/net");
  const { status, stderr } = await box.runk(["run", box.id]);
  assert.equal(status, 1);
  assert.match(
    stderr,
    /not allowed in host network namespace.*\[config.json \/linux\/sysctl\/net.ipv4.ip_default_ttl\]/,
  );
  const holder = new Deno.Command("unshare", { args: ["--net", "sleep", "100"] }).spawn();
  try {
    const network = `/proc/${holder.pid}/ns/net`;
    await until(
      "there is another network",
      () => Deno.readLinkSync(network) !== Deno.readLinkSync("/proc/self/ns/net"),
    );
    await write(network);
    assert.equal((await box.ok(["run", box.id])).stdout, "77\n");
  } finally {
    holder.kill("SIGKILL");
    await holder.status;
  }
});

test(
  "a bind mount of the host's that is shared does not take mounts of the container back to the host",
  ROOT,
  async () => {
    await using box = await Box.create();
    await sh(`mkdir vol && mount -t tmpfs none vol && mount --make-shared vol && mkdir vol/inner`, box.directory);
    try {
      await box.write((c) => {
        c.root.readonly = false;
        c.mounts.push({ destination: "/vol", source: `${box.directory}/vol`, type: "none", options: ["bind", "rw"] });
        c.process.terminal = false;
        for (const set of ALL_SETS) c.process.capabilities[set].push("CAP_SYS_ADMIN");
        c.process.args = ["sh", "-c", "mount -t tmpfs secret /vol/inner && sleep 100"];
      });
      await box.ok(["run", "-d", box.id]);
      const { pid } = await box.state();
      await until(
        "it is mounted inside",
        async () => (await Deno.readTextFile(`/proc/${pid}/mountinfo`)).includes("/vol/inner"),
      );
      assert.ok(!(await Deno.readTextFile("/proc/self/mountinfo")).includes(`${box.directory}/vol/inner`));
    } finally {
      await box.runk(["delete", "-f", box.id]);
      await sh("umount -R vol", box.directory);
    }
  },
);
