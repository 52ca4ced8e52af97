/** Containers of an ordinary user: a real one, with ids in /etc/subuid. */
import assert from "node:assert/strict";
import { newId } from "../support/box.ts";
import { lookThroughRoots } from "../support/spy.ts";
import { exists, test, until } from "../support/test.ts";
import { User } from "../support/user.ts";

const NEEDS = ["root", "cgroups", "command:useradd", "command:setpriv"] as const;

test("an ordinary user runs a container as its root, with the own id mapped and no more", NEEDS, async () => {
  await using user = await User.create();
  await user.write("id -u; id -g; cat /proc/self/uid_map /proc/self/setgroups; touch /tmp/mine; exit 4");
  const { status, stdout, stderr } = await user.runk(["run", user.id]);
  assert.equal(status, 4, stderr);
  assert.deepEqual(stdout.trim().split(/\s+/), ["0", "0", "0", String(user.uid), "1", "deny"]);
});

test(
  "the container of an ordinary user is created, started, listed, exec'd into, signalled and deleted",
  NEEDS,
  async () => {
    await using user = await User.create();
    await user.write("trap 'exit 3' TERM; while :; do sleep 0.1; done", (config) => (config.root.readonly = false));
    await user.ok(["create", "--pid-file", "run/pid", user.id]);
    assert.ok(exists(`${user.directory}/run/runk/${user.id}/state.json`), "state lies in $XDG_RUNTIME_DIR/runk");
    // Before start, too, and the process that waits goes on waiting.
    assert.equal((await user.ok(["exec", user.id, "sh", "-c", "echo entered"])).stdout, "entered\n");
    assert.equal(JSON.parse((await user.ok(["state", user.id])).stdout).status, "created");
    await user.ok(["start", user.id]);
    const state = JSON.parse((await user.ok(["state", user.id])).stdout);
    assert.equal(state.status, "running");
    assert.equal(await Deno.readTextFile(`${user.directory}/run/pid`), String(state.pid));
    assert.match((await user.ok(["list"])).stdout, new RegExp(`${user.id} .* running .* ${user.name}\\n`));
    const inside = await user.ok(["exec", user.id, "sh", "-c", "id -u; cat /proc/1/cmdline | tr '\\0' ' '"]);
    assert.match(inside.stdout, /^0\nsh -c trap/);
    await user.ok(["exec", "--detach", "--pid-file", "run/exec-pid", user.id, "sleep", "100"]);
    assert.ok(exists(`/proc/${await Deno.readTextFile(`${user.directory}/run/exec-pid`)}`));
    await user.ok(["kill", user.id, "KILL"]);
    await until(
      "it has stopped",
      async () => JSON.parse((await user.ok(["state", user.id])).stdout).status === "stopped",
    );
    await user.ok(["delete", user.id]);
    assert.equal((await user.ok(["list", "-q"])).stdout, "");
  },
);

test("a user is warned of a container whose processes nothing holds together, as by runc", NEEDS, async () => {
  await using user = await User.create();
  const warning = /level=warning msg="Creating a rootless container with no cgroup and no private pid namespace\. Such/;
  await user.write("true");
  assert.doesNotMatch((await user.ok(["run", user.id])).stderr, warning);
  await user.write("true", (config) => {
    config.linux.namespaces = config.linux.namespaces.filter(({ type }: { type: string }) => type !== "pid");
    for (const mount of config.mounts) {
      if (mount.type === "proc") Object.assign(mount, { type: "none", source: "/proc", options: ["rbind"] });
    }
  });
  assert.match((await user.ok(["run", user.id])).stderr, warning);
});

test(
  "a process that enters a user's container is no way to the user's files, not even for those who may trace it",
  NEEDS,
  async () => {
    await using user = await User.create();
    await Deno.writeTextFile(`${user.directory}/secret`, "of the user\n");
    await user.write("", (config) => {
      config.root.readonly = false;
      for (const set of ["bounding", "effective", "permitted"]) config.process.capabilities[set].push("CAP_SYS_PTRACE");
      config.process.args = lookThroughRoots(`${user.directory}/secret`);
    });
    await user.ok(["run", "--detach", user.id]);
    for (let i = 0; i < 20; i++) await user.ok(["exec", user.id, "true"]);
    assert.ok(!exists(`${user.directory}/rootfs/found`), "found through a process on its way in");
  },
);

test(
  "newuidmap and newgidmap map a user's other ids, for the container and for what is exec'd",
  [...NEEDS, "command:newuidmap"],
  async () => {
    await using user = await User.create();
    const ids = { uid: 1000, gid: 1001, additionalGids: [5, 6] };
    await user.write("sleep 100", (config) => {
      user.mapAll(config);
      config.process.user = ids;
      config.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 100, hard: 200 }];
    });
    await user.ok(["run", "--detach", user.id]);
    const { pid } = JSON.parse((await user.ok(["state", user.id])).stdout);
    const status = await Deno.readTextFile(`/proc/${pid}/status`);
    assert.match(status, new RegExp(`^Uid:\\s+${user.subordinate + 999}\\s`, "m"));
    assert.match(status, new RegExp(`^Groups:\\s+${user.subordinate + 4} ${user.subordinate + 5}\\s`, "m"));
    assert.match(await Deno.readTextFile(`/proc/${pid}/limits`), /^Max open files\s+100\s+200\s/m);
    const inside = await user.ok([
      "exec",
      "--user",
      "0:0",
      user.id,
      "sh",
      "-c",
      "id -u; cat /proc/self/setgroups; ulimit -n",
    ]);
    assert.equal(inside.stdout, "0\nallow\n100\n");
  },
);

test("ids that are not the user's are refused by newuidmap, and the error says where they belong", NEEDS, async () => {
  await using user = await User.create();
  await user.write("true", (config) => {
    user.mapAll(config);
    config.linux.uidMappings[1].hostID = 2_000_000_000;
  });
  const { status, stderr } = await user.runk(["run", user.id]);
  assert.equal(status, 1);
  assert.match(stderr, /newuidmap 0 \d+ 1 1 2000000000 65536 failed: are these ids the user's in \/etc\/subuid\?/);
  assert.match(stderr, /\[config.json \/linux\/uidMappings\]/);
});

test("without newuidmap the error says what is missing and where to get it", NEEDS, async () => {
  await using user = await User.create();
  await user.write("true", (config) => user.mapAll(config));
  const script = 'PATH=/nowhere exec "$@"';
  const { status, stderr } = await user.run("sh", ["-c", script, "sh", `${user.directory}/bin/runk`, "run", user.id]);
  assert.equal(status, 1);
  assert.match(stderr, /newgidmap, which is not in PATH: install it \(uidmap\) \[config.json \/linux\/gidMappings\]/);
});

test("limits are refused where the user has no cgroup to set them in", NEEDS, async () => {
  await using user = await User.create();
  await user.write("true", (config) => (config.linux.resources = { pids: { limit: 10 } }));
  const limited = await user.runk(["run", user.id]);
  assert.equal(limited.status, 1);
  assert.match(limited.stderr, /cannot set pids limit: container could not join or create cgroup/);
  await user.write("true", (config) => (config.linux.cgroupsPath = `/${user.id}`));
  const placed = await user.runk(["run", user.id]);
  assert.equal(placed.status, 1);
  assert.match(placed.stderr, /cannot make the cgroup .*: permission denied/);
  await user.write("true");
  assert.match((await user.runk(["--rootless=false", "run", user.id])).stderr, /cannot make the cgroup/);
});

// For v2 see tests/vm/rootless_test.ts.
test("limits hold in a cgroup that was delegated to the user", [...NEEDS, "cgroup1"], async () => {
  await using user = await User.create();
  const delegated = `/sys/fs/cgroup/pids/${newId()}`;
  await Deno.mkdir(delegated);
  try {
    for (const path of [delegated, `${delegated}/tasks`, `${delegated}/cgroup.procs`]) {
      await Deno.chown(path, user.uid, user.uid);
    }
    await user.write("cat /proc/self/cgroup", (config) => (config.linux.resources = { pids: { limit: 12 } }));
    const join = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"';
    const program = [`${user.directory}/bin/runk`, "run", "--keep", user.id];
    const { status, stdout, stderr } = await user.run("sh", ["-c", join, "sh", delegated, ...program]);
    assert.equal(status, 0, stderr);
    const own = `${delegated}/${user.id}`;
    assert.match(stdout, new RegExp(`:pids:${own.replace("/sys/fs/cgroup/pids", "")}\n`));
    assert.equal(await Deno.readTextFile(`${own}/pids.max`), "12\n");
    await user.ok(["delete", user.id]);
    assert.ok(!exists(own));
  } finally {
    await Deno.remove(delegated);
  }
});
