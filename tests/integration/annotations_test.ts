/** The annotations by which users of crun ask for what config.json has no word for. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";
import { pidOf, UnixServer } from "../support/unix_server.ts";

const ROOT = ["root", "cgroups"] as const;

const annotate = (config: Config, annotations: Record<string, string>) =>
  config.annotations = Object.fromEntries(Object.entries(annotations).map(([key, value]) => [`run.oci.${key}`, value]));

test(
  "keep_original_groups leaves the caller's supplementary groups, in exec, too",
  [...ROOT, "command:setpriv"],
  async () => {
    await using box = await Box.create({ script: "grep Groups /proc/self/status; sleep 1000" });
    const start = async (annotation: string | undefined, change: (config: Config) => void = () => {}) => {
      await box.write((config) => {
        config.process.terminal = false;
        config.process.args = ["sh", "-c", "grep Groups /proc/self/status; exec sleep 1000"];
        if (annotation !== undefined) annotate(config, { keep_original_groups: annotation });
        change(config);
      });
      const caller = (...args: string[]) =>
        run("setpriv", ["--groups", "77,88", RUNK, "--root", box.root, ...args], { cwd: box.directory });
      await Deno.remove(`${box.directory}/out`).catch(() => {});
      const log = await run("sh", [
        "-c",
        `setpriv --groups 77,88 ${RUNK} --root ${box.root} run -d ${box.id} > out 2>&1`,
      ], {
        cwd: box.directory,
      });
      assert.equal(log.status, 0, await Deno.readTextFile(`${box.directory}/out`));
      await until(
        "the container has said its groups",
        async () => (await Deno.readTextFile(`${box.directory}/out`)) !== "",
      );
      const first = await Deno.readTextFile(`${box.directory}/out`);
      const second = (await caller("exec", box.id, "grep", "Groups", "/proc/self/status")).stdout;
      await box.ok(["delete", "--force", box.id]);
      return [first, second].map((line) => line.replace("Groups:", "").trim());
    };
    assert.deepEqual(await start(undefined), ["", ""]);
    assert.deepEqual(await start("0"), ["", ""]);
    assert.deepEqual(await start("1"), ["77 88", "77 88"]);
    const inUserNamespace = (config: Config) => {
      config.linux.namespaces.push({ type: "user" });
      config.linux.uidMappings = config.linux.gidMappings = [{ containerID: 0, hostID: 0, size: 100 }];
      config.process.user = { uid: 5, gid: 5 };
    };
    assert.deepEqual(await start("1", inUserNamespace), ["77 88", "77 88"]);
  },
);

test("hooks.stdout and hooks.stderr take what hooks print, wherever they run", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  const hook = (
    name: string,
    path = "/bin/sh",
  ) => [{ path, args: ["sh", "-c", `echo ${name}; echo ${name} fails >&2`] }];
  const kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
  await box.write((config) => {
    config.process.terminal = false;
    config.process.args = ["true"];
    config.hooks = Object.fromEntries(kinds.map((kind) => [kind, hook(kind)]));
    annotate(config, { "hooks.stdout": `${box.directory}/out`, "hooks.stderr": "err" });
  });
  await Deno.writeTextFile(`${box.directory}/out`, "before\n");
  await box.ok(["create", box.id]);
  await box.ok(["start", box.id]);
  await until("the container is stopped", async () => (await box.state()).status === "stopped");
  await box.ok(["delete", box.id]);
  const lines = (name: string) => Deno.readTextFileSync(`${box.directory}/${name}`).trim().split("\n");
  // startContainer and poststart run at the same time.
  assert.deepEqual(lines("out").toSorted(), ["before", ...kinds].toSorted());
  assert.deepEqual(lines("out").slice(0, 4), ["before", "prestart", "createRuntime", "createContainer"]);
  assert.deepEqual(lines("err").toSorted(), kinds.map((kind) => `${kind} fails`).toSorted());
  await box.write((config) => {
    config.process.terminal = false;
    config.hooks = { prestart: [{ path: "/bin/sh", args: ["sh", "-c", "echo why >&2; echo heard; exit 3"] }] };
    annotate(config, { "hooks.stderr": "err" });
  });
  const failed = await box.runk(["create", box.id]);
  assert.match(failed.stderr, /error running prestart hook #0: exit status 3, stdout: heard/);
  assert.equal(lines("err").at(-1), "why");
  await box.write((config) => {
    config.process.terminal = false;
    config.hooks = { prestart: hook("x") };
    annotate(config, { "hooks.stdout": "/no/such/directory/file" });
  });
  const refused = await box.runk(["create", box.id]);
  assert.match(
    refused.stderr,
    /open \/no\/such\/directory\/file: no such file.*\/annotations\/run\.oci\.hooks\.stdout\]/,
  );
});

test("pidfd_receiver gets a pidfd of the container's process", ROOT, async () => {
  await using box = await Box.create({
    script: "sleep 1000",
    config: (config) => annotate(config, { pidfd_receiver: "receiver.sock" }),
  });
  using server = new UnixServer(`${box.directory}/receiver.sock`);
  await box.ok(["create", box.id]);
  using message = server.receive();
  assert.equal(pidOf(message.fd), (await box.state()).pid);
});

test("seccomp.receiver, or RUN_OCI_SECCOMP_RECEIVER, is the agent of a profile that names none", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  const path = `${box.directory}/agent.sock`;
  const write = (annotations: Record<string, string>, listenerPath?: string) =>
    box.write((config) => {
      config.process.terminal = false;
      config.process.args = ["true"];
      const rule = { names: ["swapoff"], action: "SCMP_ACT_NOTIFY" };
      config.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule], listenerPath };
      annotate(config, annotations);
    });
  using server = new UnixServer(path);
  const isTold = () => {
    using message = server.receive();
    assert.match(message.text, /^\{"ociVersion":"[\d.]+","fds":\["seccompFd"\],/);
  };
  await write({ "seccomp.receiver": path });
  await box.ok(["run", box.id]);
  isTold();
  await write({});
  await box.ok(["run", box.id], { env: { RUN_OCI_SECCOMP_RECEIVER: path } });
  isTold();
  await write({ "seccomp.receiver": "/no/such/agent" }, path);
  await box.ok(["run", box.id]);
  isTold();
  await write({ "seccomp.receiver": "agent.sock" });
  const relative = await box.runk(["run", box.id]);
  assert.match(
    relative.stderr,
    /the seccomp receiver \\"agent\.sock\\" is not an absolute path \[config\.json \/annotations/,
  );
});

test("mount_context_type says which of SELinux's parameters the mount label is for", ROOT, async () => {
  await using box = await Box.create();
  const plan = async (type: string | undefined) => {
    await box.write((config) => {
      config.linux.mountLabel = "system_u:object_r:container_file_t:s0:c1";
      if (type !== undefined) annotate(config, { mount_context_type: type });
    });
    return await box.runk(["plan", box.id]);
  };
  for (const type of [undefined, "context", "fscontext", "defcontext", "rootcontext"]) {
    const { stdout } = await plan(type);
    assert.ok(stdout.includes(`fsconfig(fs, set_string, "${type ?? "context"}", "system_u:object_r:`), type);
  }
  const wrong = await plan("nocontext");
  assert.match(
    wrong.stderr,
    /invalid mount context type \\"nocontext\\".*\/annotations\/run\.oci\.mount_context_type\]/,
  );
  assert.ok(!exists(`${box.root}/${box.id}`));
});

test("cgroups below the container's are named plainly, and delegated on cgroup v2 only", ROOT, async () => {
  await using box = await Box.create();
  const refused = async (name: string, value: string, message: RegExp) => {
    await box.write((config) => annotate(config, { [name]: value }));
    const { status, stderr } = await box.runk(["plan", box.id]);
    assert.equal(status, 1, value);
    assert.match(stderr.replaceAll('\\"', '"'), message);
  };
  for (const name of ["systemd.subgroup", "delegate-cgroup"]) {
    for (const value of ["..", "a/../b", "/a", "a//b", "a/.", "a/"]) {
      await refused(
        name,
        value,
        new RegExp(`"${value}" names no cgroup below another .*/annotations/run.oci.${name}\\]`),
      );
    }
  }
  await box.write((config) => annotate(config, { "systemd.subgroup": "", "delegate-cgroup": "" }));
  await box.ok(["plan", box.id]);
  if (!exists("/sys/fs/cgroup/cgroup.controllers")) {
    await refused("delegate-cgroup", "own", /only a cgroup of cgroup v2 can be delegated \[config.json \/annotations/);
  }
});

test("an annotation by the name of a label of runk's own leads exec to no other bundle", ROOT, async () => {
  await using box = await Box.create({
    script: "sleep 1000",
    config: (config) => config.annotations = { bundle: "/nonexistent", "bundle=/other": "x" },
  });
  await box.ok(["run", "--detach", box.id]);
  assert.equal((await box.ok(["exec", box.id, "echo", "entered"])).stdout, "entered\n");
  assert.equal((await box.state())["bundle"], await Deno.realPath(box.directory));
});
