/** A container's life: create, start, state, kill, delete, and the two short ways, run and run --detach. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;

test(
  "create makes a container whose process waits; start lets it go; it ends as stopped; delete removes it",
  ROOT,
  async () => {
    await using box = await Box.create({
      script: "echo started > /tmp/started; sleep 0.2",
      config: (c) => (c.root.readonly = false),
    });
    await box.ok(["create", box.id]);
    const created = await box.state();
    assert.equal(created.status, "created");
    assert.ok(exists(`${box.root}/${box.id}/exec.fifo`));
    assert.ok(exists(`/proc/${created.pid}`));
    assert.ok(!exists(`${box.rootfs}/tmp/started`), "the program has not run yet");
    await box.ok(["start", box.id]);
    assert.ok(!exists(`${box.root}/${box.id}/exec.fifo`));
    await until("the container is stopped", async () => (await box.state()).status === "stopped");
    assert.equal((await box.state()).pid, 0);
    assert.equal(await Deno.readTextFile(`${box.rootfs}/tmp/started`), "started\n");
    await box.ok(["delete", box.id]);
    const gone = await box.runk(["state", box.id]);
    assert.equal(gone.status, 1);
    assert.match(gone.stderr, /container does not exist/);
  },
);

test("run passes the exit status, standard streams and the deletion of the container on", ROOT, async () => {
  await using box = await Box.create({ script: "cat; echo to stderr >&2; exit 7" });
  const result = await box.runk(["run", box.id], { stdin: "hello from outside\n" });
  assert.deepEqual(result, { status: 7, stdout: "hello from outside\n", stderr: "to stderr\n" });
  assert.ok(!exists(`${box.root}/${box.id}`));
});

test("run reports a program that a signal ended as 128 and the signal", ROOT, async () => {
  await using box = await Box.create({
    config: (c) => (c.process.args = ["sh", "-c", "sleep 5 & kill -KILL $!; wait $!; kill -TERM $$; sleep 5"]),
  });
  // The shell is pid 1 and ignores SIGTERM from inside: its exit status says what it saw of the sleep.
  await box.write((config) => {
    config.process.terminal = false;
    config.process.args = ["sh", "-c", "sh -c 'kill -KILL $$'; exit $?"];
  });
  assert.equal((await box.runk(["run", box.id])).status, 137);
});

test("run --detach returns while the program runs, and writes its pid to the pid file", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  await box.ok(["run", "--detach", "--pid-file", "pid", box.id]);
  const { status, pid } = await box.state();
  assert.equal(status, "running");
  assert.equal(await Deno.readTextFile(`${box.directory}/pid`), String(pid));
  await box.ok(["kill", box.id, "KILL"]);
  await until("the container is stopped", async () => (await box.state()).status === "stopped");
  await box.ok(["delete", box.id]);
});

test("run --keep leaves the stopped container", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  await box.ok(["run", "--keep", box.id]);
  assert.equal((await box.state()).status, "stopped");
  await box.ok(["delete", box.id]);
});

test("delete refuses a running container without --force, and kills it with", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  await box.ok(["run", "-d", box.id]);
  const refused = await box.runk(["delete", box.id]);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, new RegExp(`cannot delete container ${box.id} that is not stopped: running`));
  await box.ok(["delete", "-f", box.id]);
});

test("delete of an unknown container fails, with --force it does not", ROOT, async () => {
  await using box = await Box.create();
  const unknown = await box.runk(["delete", "nobody"]);
  assert.equal(unknown.status, 1);
  assert.match(unknown.stderr, /container does not exist/);
  await box.ok(["delete", "--force", "nobody"]);
});

test("delete kills a created container", ROOT, async () => {
  await using box = await Box.create();
  await box.ok(["create", box.id]);
  const { pid } = await box.state();
  await box.ok(["delete", box.id]);
  await until("its process is gone", () => !exists(`/proc/${pid}`));
});

test("kill sends any signal by number or name, and says when no one is there", ROOT, async () => {
  await using box = await Box.create({
    script:
      "trap 'echo usr1 >> /tmp/log' USR1; trap 'echo term >> /tmp/log; exit 3' TERM; echo ready >> /tmp/log; while :; do sleep 0.05; done",
    config: (c) => (c.root.readonly = false),
  });
  const log = () => Deno.readTextFile(`${box.rootfs}/tmp/log`).catch(() => "");
  await box.ok(["run", "-d", box.id]);
  await until("the traps are set", async () => (await log()).includes("ready"));
  await box.ok(["kill", box.id, "sigusr1"]);
  await until("USR1 arrived", async () => (await log()).includes("usr1"));
  await box.ok(["kill", box.id]);
  await until("TERM ended it", async () => (await box.state()).status === "stopped");
  assert.match(await log(), /term/);
  const late = await box.runk(["kill", box.id, "9"]);
  assert.equal(late.status, 1);
  assert.match(late.stderr, /container not running/);
  await box.ok(["kill", "--all", box.id, "9"]);
  const unknown = await box.runk(["kill", box.id, "NOSUCH"]);
  assert.match(unknown.stderr, /unknown signal \\?"NOSUCH/);
  await box.ok(["delete", box.id]);
});

test("start refuses a running and a stopped container in runc's words", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  await box.ok(["run", "-d", box.id]);
  assert.match((await box.runk(["start", box.id])).stderr, /cannot start an already running container/);
  await box.ok(["kill", box.id, "KILL"]);
  await until("the container is stopped", async () => (await box.state()).status === "stopped");
  assert.match((await box.runk(["start", box.id])).stderr, /cannot start a container that has stopped/);
  await box.ok(["delete", box.id]);
});

test("a third party starts a created container by reading its fifo", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  await box.ok(["create", box.id]);
  const byte = await Deno.readFile(`${box.root}/${box.id}/exec.fifo`);
  assert.equal(new TextDecoder().decode(byte), "0");
  await box.ok(["delete", "-f", box.id]);
});

test("create refuses an id that is in use and leaves its container alone", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  await box.ok(["run", "-d", box.id]);
  const second = await box.runk(["create", box.id]);
  assert.equal(second.status, 1);
  assert.match(second.stderr, /container with given ID already exists/);
  assert.equal((await box.state()).status, "running");
  await box.ok(["delete", "-f", box.id]);
});

test("list shows containers as a table, as JSON and as ids", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  assert.match((await box.runk(["list"])).stderr, /no such file or directory/, "a root that was asked for must exist");
  await box.ok(["run", "-d", box.id]);
  const { pid } = await box.state();
  const [header, row] = (await box.ok(["list"])).stdout.split("\n");
  assert.match(header!, /^ID {2,}PID {2,}STATUS {2,}BUNDLE {2,}CREATED {2,}OWNER$/);
  assert.match(row!, new RegExp(`^${box.id} {3,}${pid} +running +${box.directory} +\\S+Z +root$`));
  assert.equal((await box.ok(["list", "-q"])).stdout, box.id + "\n");
  const [listed] = JSON.parse((await box.ok(["list", "--format=json"])).stdout);
  assert.deepEqual(Object.keys(listed), ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]);
  await box.ok(["delete", "-f", box.id]);
  assert.equal((await box.ok(["list", "-f", "json"])).stdout, "null\n");
});

test("a created container holds nothing that its caller left open", ROOT, async () => {
  await using box = await Box.create();
  const script = `exec 7<config.json 9<. ; exec ${RUNK} --root ${box.root} create ${box.id}`;
  assert.equal((await run("bash", ["-c", script], { cwd: box.directory })).status, 0);
  const { pid } = await box.state();
  const held = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => Deno.readLinkSync(`/proc/${pid}/fd/${name}`));
  const strange = held.slice(3).filter((path) => path !== "/" && path !== `${box.root}/${box.id}/exec.fifo`);
  assert.deepEqual(strange, []);
});

test("--debug tells what happens, with runc's words", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  const created = await box.ok(["--debug", "run", "--detach", box.id]);
  for (
    const words of ["nsexec container setup", "child process in init()", "init: closing the pipe to signal completion"]
  ) {
    assert.ok(created.stderr.includes(words), created.stderr);
  }
  assert.match((await box.ok(["--debug", "exec", box.id, "true"])).stderr, /level=debug .*setns_init: about to exec/);
  assert.equal((await box.ok(["exec", box.id, "true"])).stderr, "");
});

test(
  "a container that joins another's user and pid namespaces is recorded by the host's number of its process",
  ROOT,
  async () => {
    await using box = await Box.create();
    const [target, guest] = [box.id, `${box.id}-guest`];
    await run("chown", ["-R", "100000:200000", box.rootfs]);
    const configure = (paths: (type: string) => Record<string, string>) => (config: Config) => {
      config.process.terminal = false;
      config.process.args = ["sleep", "1000"];
      config.linux.namespaces = ["pid", "network", "ipc", "uts", "mount", "user", "time"].map((type) => ({
        type,
        ...paths(type),
      }));
    };
    await box.write((config) => {
      configure(() => ({}))(config);
      config.linux.uidMappings = [{ containerID: 0, hostID: 100000, size: 2000 }];
      config.linux.gidMappings = [{ containerID: 0, hostID: 200000, size: 2000 }];
    });
    await box.ok(["run", "--detach", target]);
    const { pid } = await box.state(target);
    const files: Record<string, string> = { network: "net" };
    await box.write(configure((type) => type === "mount" ? {} : { path: `/proc/${pid}/ns/${files[type] ?? type}` }));
    await box.ok(["run", "--detach", guest]);
    const own = (await box.state(guest)).pid;
    assert.equal(await Deno.readTextFile(`/proc/${own}/cmdline`), "sleep\0" + "1000\0");
    for (const file of ["pid", "user", "net", "ipc", "uts", "time"]) {
      const there = await Deno.readLink(`/proc/${pid}/ns/${file}`);
      assert.equal(await Deno.readLink(`/proc/${own}/ns/${file}`), there);
      assert.equal((await box.ok(["exec", guest, "readlink", `/proc/self/ns/${file}`])).stdout, `${there}\n`);
    }
    assert.match((await box.ok(["exec", guest, "cat", "/proc/self/uid_map"])).stdout, /^\s+0\s+100000\s+2000$/m);
    const processes = (await box.ok(["exec", guest, "ps"])).stdout.split("\n").filter((line) =>
      line.includes("sleep 1000")
    );
    assert.equal(processes.length, 2, "both containers' and no one else's");
  },
);

test("what ends a waiting process of runc's ends runk's, too, and USR1 does not", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  for (const signal of ["TERM", "INT", "HUP"]) {
    const id = `${box.id}-${signal}`;
    await box.ok(["create", id]);
    await box.ok(["kill", id, "USR1"]);
    assert.equal((await box.state(id)).status, "created");
    await box.ok(["kill", id, signal]);
    await until("it has ended", async () => (await box.state(id)).status === "stopped");
    await box.ok(["delete", id]);
  }
});
