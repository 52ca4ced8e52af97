/** The state root: what is written, who else can use it, commands at the same time, and damage of every kind. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const WITH_RUNC = [...ROOT, "file:/usr/sbin/runc"] as const;
const ended = (box: Box, id = box.id) => until("it has ended", async () => (await box.state(id)).status === "stopped");

test("state.json has runc's keys with runc's values; its directory and fifo have runc's modes", WITH_RUNC, async () => {
  await using box = await Box.create({
    script: "sleep 100",
    config: (c) => {
      c.annotations = { b: "2", a: "1" };
      c.hooks = { poststop: [{ path: "/bin/true", args: ["true"], env: ["A=b"], timeout: 5 }] };
    },
  });
  await box.ok(["create", box.id]);
  const theirsId = `${box.id}-runc`;
  assert.equal((await box.other("runc", ["create", theirsId])).status, 0);
  const directories = [`${box.root}/${box.id}`, `${box.directory}/other-state/${theirsId}`];
  const [ours, theirs] = directories.map((path) => JSON.parse(Deno.readTextFileSync(`${path}/state.json`)));
  for (const [path, mode] of [["", 0o711], ["/exec.fifo", 0o622], ["/state.json", 0o600]] as const) {
    const [our, their] = directories.map((directory) => Deno.statSync(directory + path));
    assert.equal(our!.mode! & 0o7777, mode, path);
    assert.equal(our!.mode, their!.mode, path);
    assert.deepEqual([our!.uid, our!.gid], [their!.uid, their!.gid], path);
  }
  assert.equal(Deno.statSync(box.root).mode! & 0o777, 0o700);
  const plain = (value: unknown) => JSON.parse(JSON.stringify(value).replaceAll(theirsId, box.id));
  const top = [
    "id",
    "init_process_pid",
    "init_process_start",
    "created",
    "config",
    "rootless",
    "cgroup_paths",
    "namespace_paths",
  ];
  for (const key of top) assert.ok(key in ours && key in theirs, key);
  assert.deepEqual(ours.cgroup_paths, plain(theirs.cgroup_paths));
  const { NEWTIME: _, ...namespaces } = ours.namespace_paths;
  assert.deepEqual(Object.keys(namespaces).sort(), Object.keys(theirs.namespace_paths).sort());
  for (
    const key of [
      "rootfs",
      "readonlyfs",
      "hostname",
      "namespaces",
      "no_pivot_root",
      "no_new_keyring",
      "labels",
      "uid_mappings",
      "gid_mappings",
    ]
  ) {
    const [our, their] = [ours.config[key], plain(theirs.config[key])];
    // Go's maps have no order.
    assert.deepEqual(key === "labels" ? our.sort() : our, key === "labels" ? their.sort() : their, key);
  }
  assert.deepEqual(ours.config.Hooks.poststop, theirs.config.Hooks.poststop);
  assert.match(ours.created, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/);
  assert.ok(/\.\d{4,9}Z$/.test(ours.created) || /0$/.test(ours.created), `${ours.created} is to the nanosecond`);
  await box.ok(["delete", box.id]);
  assert.equal((await box.other("runc", ["delete", theirsId])).status, 0);
});

test("runc lists, inspects, signals and deletes runk's containers, and starts them", WITH_RUNC, async () => {
  await using box = await Box.create({ script: "sleep 100", config: (c) => c.annotations = { key: "value" } });
  const runc = (...args: string[]) => run("runc", ["--root", box.root, ...args], { cwd: box.directory });
  const same = async () => {
    const [ours, theirs] = [await box.ok(["state", box.id]), await runc("state", box.id)];
    assert.equal(theirs.stdout, ours.stdout, theirs.stderr);
    const [ourList, theirList] = [await box.ok(["list"]), await runc("list")];
    assert.equal(theirList.stdout, ourList.stdout);
    assert.equal((await runc("list", "-f", "json")).stdout, (await box.ok(["list", "-f", "json"])).stdout);
    assert.equal((await runc("list", "-q")).stdout, (await box.ok(["list", "-q"])).stdout);
  };
  await box.ok(["create", box.id]);
  await same();
  assert.equal((await runc("start", box.id)).status, 0);
  assert.equal((await box.state()).status, "running");
  await same();
  assert.equal((await runc("exec", box.id, "echo", "from runc")).stdout, "from runc\n");
  assert.equal((await runc("kill", box.id, "KILL")).status, 0);
  await ended(box);
  await same();
  const deleted = await runc("delete", box.id);
  assert.equal(deleted.status, 0, deleted.stderr);
  assert.ok(!exists(`${box.root}/${box.id}`));
  await box.ok(["run", "-d", box.id]);
  assert.equal((await runc("delete", "--force", box.id)).status, 0);
});

test("runk starts, lists, inspects, enters, signals and deletes runc's containers", WITH_RUNC, async () => {
  await using box = await Box.create({ script: "sleep 100", config: (c) => c.annotations = { key: "value" } });
  const root = `${box.directory}/other-state`;
  const runk = (...args: string[]) => box.runk(["--root", root, ...args]);
  const runc = (...args: string[]) => box.other("runc", args);
  assert.equal((await runc("create", box.id)).status, 0);
  assert.equal((await runk("state", box.id)).stdout, (await runc("state", box.id)).stdout);
  assert.equal((await runk("start", box.id)).status, 0);
  assert.equal((await runk("state", box.id)).stdout, (await runc("state", box.id)).stdout);
  assert.equal((await runk("list")).stdout, (await runc("list")).stdout);
  assert.equal((await runk("exec", box.id, "hostname")).stdout, "runk\n");
  assert.equal((await runk("kill", box.id, "KILL")).status, 0);
  await until("it has ended", async () => (await runk("state", box.id)).stdout.includes('"stopped"'));
  const deleted = await runk("delete", box.id);
  assert.equal(deleted.status, 0, deleted.stderr);
  assert.ok(!exists(`${root}/${box.id}`));
  assert.equal((await runc("run", "-d", box.id)).status, 0);
  assert.equal((await runk("delete", "--force", box.id)).status, 0);
});

/** Runs many commands at the same time. */
const atOnce = (box: Box, count: number, args: readonly string[]) =>
  Promise.all(Array.from({ length: count }, () => box.runk(args)));

test("of many creates of one id at once, one makes the container", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  const results = await atOnce(box, 6, ["create", box.id]);
  assert.equal(results.filter(({ status }) => status === 0).length, 1);
  for (const { status, stderr } of results) {
    if (status !== 0) assert.match(stderr, /container with given ID already exists/);
  }
  assert.equal((await box.state()).status, "created");
  await box.ok(["delete", box.id]);
});

test("of many starts at once, one starts; of many deletes, one deletes; kills never fail half-way", ROOT, async () => {
  await using box = await Box.create({ script: "trap 'exit 0' TERM; while :; do sleep 0.05; done" });
  await box.ok(["create", box.id]);
  const starts = await atOnce(box, 6, ["start", box.id]);
  assert.equal(starts.filter(({ status }) => status === 0).length, 1);
  for (const { status, stderr } of starts) {
    if (status !== 0) assert.match(stderr, /cannot start an already running container/);
  }
  const kills = await atOnce(box, 6, ["kill", box.id, "KILL"]);
  for (const { status, stderr } of kills) if (status !== 0) assert.match(stderr, /container not running/);
  await ended(box);
  const deletes = await atOnce(box, 6, ["delete", box.id]);
  assert.equal(deletes.filter(({ status }) => status === 0).length, 1);
  for (const { status, stderr } of deletes) if (status !== 0) assert.match(stderr, /container does not exist/);
});

test("creates and forced deletes of one id at once end in nothing or a whole container", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  for (let i = 0; i < 4; i++) {
    await Promise.all([
      box.runk(["run", "-d", box.id]),
      box.runk(["delete", "--force", box.id]),
      box.runk(["run", "-d", box.id]),
    ]);
    const { status, stdout } = await box.runk(["state", box.id]);
    if (status === 0) assert.match(stdout, /"status": "(running|stopped)"/);
    await box.ok(["delete", "--force", box.id]);
  }
});

test("a pid that another process has now, and a zombie, are not the container", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  await box.ok(["run", "-d", box.id]);
  const path = `${box.root}/${box.id}/state.json`;
  const record = JSON.parse(await Deno.readTextFile(path));
  await box.ok(["kill", box.id, "KILL"]);
  await ended(box);
  // The record's pid now is this very process.
  await Deno.writeTextFile(path, JSON.stringify({ ...record, init_process_pid: Deno.pid }));
  assert.equal((await box.state()).status, "stopped");
  assert.match((await box.runk(["kill", box.id, "KILL"])).stderr, /container not running/);
  assert.equal((await box.runk(["exec", box.id, "true"])).status, 255);
  await box.ok(["delete", "--force", box.id]);
  // Its parent collects it only at the end.
  const script =
    '"$@" run --no-subreaper -d zombie-"$ID"; "$@" kill zombie-"$ID" KILL; sleep 0.3; "$@" state zombie-"$ID"; "$@" delete zombie-"$ID"';
  const { stdout } = await run("sh", ["-c", script, "sh", RUNK, "--root", box.root], {
    cwd: box.directory,
    env: { ID: box.id },
  });
  assert.match(stdout, /"status": "stopped"/);
});

test(
  "a damaged record is named by every command, left out of the list, and delete --force removes it",
  ROOT,
  async () => {
    await using box = await Box.create({ script: "sleep 100" });
    const damages = {
      "cut off": (text: string) => text.slice(0, text.length / 2),
      empty: () => "",
      "not an object": () => "[]",
      "another object": () => '{"id": 7}',
      "wrong types inside": (text: string) =>
        JSON.stringify({ ...JSON.parse(text), config: { namespaces: 7, labels: "x", cgroups: 1 } }),
      binary: () => "\0\x01\x02",
      newer: (text: string) => JSON.stringify({ ...JSON.parse(text), runk: { version: 99 } }),
    };
    for (const [what, damage] of Object.entries(damages)) {
      await box.ok(["create", box.id]);
      const path = `${box.root}/${box.id}/state.json`;
      const text = await Deno.readTextFile(path);
      const { pid } = await box.state();
      await Deno.writeTextFile(path, damage(text));
      for (
        const args of [["start", box.id], ["delete", box.id], ["exec", box.id, "true"]]
      ) {
        const { status, stderr } = await box.runk(args);
        if (what === "wrong types inside" && status === 0) continue;
        assert.notEqual(status, 0, `${args[0]} of one that is ${what}`);
        assert.match(stderr, /state\.json/, `${args[0]} of one that is ${what} says where: ${stderr}`);
      }
      const { stdout, stderr, status } = await box.runk(["list"]);
      assert.equal(status, 0);
      if (what !== "wrong types inside") {
        assert.equal(stdout.trim().split("\n").length, 1, what);
        assert.match(stderr, new RegExp(`load container ${box.id}: .*state\\.json`));
      }
      await box.ok(["delete", "--force", box.id]);
      assert.ok(!exists(`${box.root}/${box.id}`), what);
      await until(`the process of one that was ${what} is gone`, () => !exists(`/proc/${pid}`));
    }
  },
);

test("a state root that fills up while a container is made: an error, and nothing is left", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  const root = `${box.directory}/small`;
  await Deno.mkdir(root);
  const sh = (script: string) => run("sh", ["-c", script]);
  assert.equal((await sh(`mount -t tmpfs -o size=64k,nr_inodes=4 tmpfs ${root}`)).status, 0);
  try {
    // Inodes for the directory and one file, not for the fifo and the record.
    const { status, stderr } = await box.runk(["--root", root, "create", box.id]);
    assert.equal(status, 1);
    assert.match(stderr, /no space left on device/);
    assert.deepEqual([...Deno.readDirSync(root)], []);
  } finally {
    await sh(`umount ${root}`);
  }
});

test("the root file system in a state is a clean path, however the config names it", ROOT, async () => {
  await using box = await Box.create();
  for (const [i, path] of ["rootfs/", "./rootfs/.", `../${box.directory.split("/").at(-1)}/rootfs`].entries()) {
    await box.write((config) => (config.process.terminal = false, config.root.path = path));
    const id = `${box.id}-${i}`;
    await box.ok(["create", id]);
    assert.equal((await box.state(id))["rootfs"], box.rootfs, path);
    await box.ok(["delete", "--force", id]);
  }
});

test("list takes directories only, in order of bytes, and owners by name or number", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  for (const id of ["b", "a", "B", "_", "9", "10"]) await box.ok(["create", `${id}-${box.id}`]);
  await Deno.writeTextFile(`${box.root}/a-file`, "");
  await Deno.symlink(`a-${box.id}`, `${box.root}/a-link`);
  await Deno.chown(`${box.root}/b-${box.id}`, 12345, 0);
  const { stdout } = await box.ok(["list", "-q"]);
  assert.deepEqual(stdout.trim().split("\n"), ["10", "9", "B", "_", "a", "b"].map((id) => `${id}-${box.id}`));
  const owners = JSON.parse((await box.ok(["list", "-f", "json"])).stdout).map(({ owner }: { owner: string }) => owner);
  assert.deepEqual(owners, ["root", "root", "root", "root", "root", "#12345"]);
  const table = (await box.ok(["list"])).stdout.split("\n");
  const column = table[0]!.indexOf("PID");
  for (const row of table.slice(1, -1)) assert.match(row.slice(column), /^\d+ /, "columns line up");
  await Deno.remove(`${box.root}/a-link`);
  await Deno.remove(`${box.root}/a-file`);
  for (const id of ["b", "a", "B", "_", "9", "10"]) await box.ok(["delete", `${id}-${box.id}`]);
});
