/** A container's cgroups, on v1 and v2: where they are, who is in them, what is refused, and what is left. */
import assert from "node:assert/strict";
import { Box, newId, RUNK } from "../support/box.ts";
import {
  boxWith,
  cgroupPaths,
  ForeignCgroup,
  isV2,
  members,
  move,
  processDirectory,
  readCgroup,
  runcPaths,
} from "../support/cgroups.ts";
import { exists, test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroups"] as const;
const RUNC = [...NEEDS, "command:runc"] as const;

test("a container's cgroups are where runc has them, whatever the config calls them", RUNC, async () => {
  const inner = `runk-test-${Deno.pid}`;
  await using box = await boxWith({});
  for (const path of [undefined, `${inner}/a`, `/${inner}/b`, `/${inner}/../../${inner}/c`, `../../${inner}`]) {
    await box.write((c) => {
      c.process.terminal = false;
      c.linux.cgroupsPath = path;
    });
    await box.ok(["create", box.id]);
    const own = cgroupPaths(box);
    await box.ok(["delete", "--force", box.id]);
    const runc = await runcPaths(box);
    const expected = Object.fromEntries(
      Object.entries(runc).map(([name, at]) => [name, at.replace(`${box.id}-runc`, box.id)]),
    );
    assert.deepEqual(own, expected, String(path));
    await box.other("runc", ["delete", "-f", `${box.id}-runc`]);
    for (const directory of new Set(Object.values(own))) {
      // Those above it are shared: neither program removes them.
      const above = directory.slice(0, directory.lastIndexOf("/"));
      if (above.endsWith(`/${inner}`)) Deno.removeSync(above);
    }
  }
});

test("a cgroupsPath that leads to a cgroup of the host's own is refused", NEEDS, async () => {
  await using box = await boxWith({});
  for (const path of ["/", "/..", ".", "a/.."]) {
    await box.write((c) => (c.linux.cgroupsPath = path));
    const { status, stderr } = await box.runk(["create", box.id]);
    assert.equal(status, 1);
    assert.match(stderr, /leads to a cgroup of the host's own: \/\S+ \[config.json \/linux\/cgroupsPath\]/);
  }
});

test("an empty cgroup that is there already becomes the container's", NEEDS, async () => {
  const name = `runk-test-${Deno.pid}-there`;
  using before = new ForeignCgroup(name);
  if (!isV2) Deno.writeTextFileSync(`${before.directories[0]}/devices.deny`, "a");
  await using box = await boxWith({ devices: [{ allow: true, access: "rwm" }] }, {
    config: (c) => (c.linux.cgroupsPath = `/${name}`),
  });
  await box.ok(["create", box.id]);
  const paths = cgroupPaths(box);
  assert.equal(processDirectory(paths), before.directories[0]);
  if (!isV2) assert.equal(readCgroup(paths, "devices", "devices.list"), "a *:* rwm", "not what was left there");
  await box.ok(["delete", "--force", box.id]);
});

test("a cgroup with processes of others is refused, and neither they nor it are touched", NEEDS, async () => {
  const name = `runk-test-${Deno.pid}-occupied`;
  using cgroup = new ForeignCgroup(name);
  const other = new Deno.Command("sleep", { args: ["1000"] }).spawn();
  try {
    const [directory] = cgroup.directories as [string];
    move(other.pid, directory);
    await using box = await boxWith({}, { config: (c) => (c.linux.cgroupsPath = `/${name}`) });
    const { status, stderr } = await box.runk(["create", box.id]);
    assert.equal(status, 1);
    assert.match(stderr, /container's cgroup is not empty: 1 process\(es\) found/);
    await box.ok(["delete", "--force", box.id]);
    assert.deepEqual(members(directory), [other.pid]);
    for (const path of cgroup.directories) assert.ok(exists(path), `${path} is still there`);
  } finally {
    other.kill("SIGKILL");
    await other.status;
  }
});

test("a cgroup that is frozen is refused", NEEDS, async () => {
  const name = `runk-test-${Deno.pid}-frozen`;
  using cgroup = new ForeignCgroup(name);
  const freezer = cgroup.directories.find((path) => path.includes("/freezer/"));
  if (freezer === undefined) Deno.writeTextFileSync(`${cgroup.directories[0]}/cgroup.freeze`, "1");
  else Deno.writeTextFileSync(`${freezer}/freezer.state`, "FROZEN");
  await using box = await boxWith({}, { config: (c) => (c.linux.cgroupsPath = `/${name}`) });
  const { status, stderr } = await box.runk(["create", box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /container's cgroup unexpectedly frozen/);
});

test("delete waits for a cgroup that is busy", NEEDS, async () => {
  await using box = await boxWith({});
  const other = new Deno.Command("sleep", { args: ["1000"] }).spawn();
  try {
    await box.ok(["run", "-d", box.id]);
    const paths = cgroupPaths(box);
    const busy = (paths["pids"] ?? paths[""])!;
    const { pid } = await box.state();
    move(other.pid, busy);
    const deleting = box.runk(["delete", "--force", box.id]);
    await until("the rest is gone", () => !(isV2 ? members(busy).includes(pid) : exists(paths["devices"]!)));
    assert.ok(exists(busy));
    move(other.pid, isV2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/pids");
    assert.equal((await deleting).status, 0);
    assert.ok(!exists(busy));
  } finally {
    other.kill("SIGKILL");
    await other.status;
  }
});

test("cgroups that a container made deeper than a path is long are listed and removed", NEEDS, async () => {
  const name = "d".repeat(250);
  await using box = await Box.create({
    // From the inside the path is shorter; the innermost one has a process.
    script: `cd /sys/fs/cgroup/devices 2>/dev/null || cd /sys/fs/cgroup
      for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do mkdir ${name} && cd ${name} || exit 1; done
      sleep 1000 & echo $! >cgroup.procs && touch /tmp/made; wait`,
    config: (config) => {
      config.root.readonly = false;
      config.mounts.find((mount: { destination: string }) => mount.destination === "/sys/fs/cgroup").options = ["rw"];
      config.linux.cgroupsPath = `/${newId()}-${"deep-".repeat(20)}`;
    },
  });
  await box.ok(["run", "--detach", box.id]);
  await until("they are made", () => exists(`${box.rootfs}/tmp/made`));
  assert.equal(JSON.parse((await box.ok(["ps", "--format", "json", box.id])).stdout).length, 2);
  await box.ok(["delete", "--force", box.id]);
});

test("a container whose cgroups were removed can be inspected, signalled and deleted", NEEDS, async () => {
  await using box = await boxWith({});
  await box.ok(["run", "-d", box.id]);
  const { pid } = await box.state();
  for (const [controller, directory] of Object.entries(cgroupPaths(box))) {
    if (!exists(directory)) continue;
    const root = isV2 ? "/sys/fs/cgroup" : directory.slice(0, directory.indexOf("/", "/sys/fs/cgroup/".length));
    for (const member of members(directory)) move(member, root);
    Deno.removeSync(directory);
    assert.ok(!exists(directory), controller);
  }
  assert.equal((await box.state()).status, "running");
  assert.equal((await box.ok(["ps", "--format", "json", box.id])).stdout, "null\n");
  assert.match((await box.runk(["pause", box.id])).stderr, isV2 ? /cgroup\.freeze/ : /freezer\.state/);
  assert.match((await box.runk(["update", "--pids-limit", "5", box.id])).stderr, /pids\.max/);
  const exec = await box.runk(["exec", box.id, "true"]);
  // On v2 it goes where the first process has gone.
  if (isV2) assert.equal(exec.status, 0, exec.stderr);
  else assert.match(exec.stderr, /cannot open \/\S+\/tasks/);
  await box.ok(["kill", box.id, "KILL"]);
  await until("the container is stopped", () => !exists(`/proc/${pid}`));
  await box.ok(["delete", box.id]);
});

test("with --cgroup-manager disabled a container stays in the caller's cgroups", NEEDS, async () => {
  await using box = await boxWith({ pids: { limit: 5 } });
  const disabled = ["--cgroup-manager", "disabled"];
  const { stderr } = await box.ok([...disabled, "run", "-d", box.id]);
  assert.match(stderr, /without cgroups, all limits and device rules are ignored/);
  const { pid } = await box.state();
  assert.equal(Deno.readTextFileSync(`/proc/${pid}/cgroup`), Deno.readTextFileSync("/proc/self/cgroup"));
  assert.match(
    (await box.runk(["pause", box.id])).stderr,
    /cannot toggle freezer: cgroups not configured for container/,
  );
  await box.ok(["exec", box.id, "true"]);
  await box.ok([...disabled, "delete", "--force", box.id]);
  const wrong = await box.runk(["--cgroup-manager", "other", "run", box.id]);
  assert.match(wrong.stderr, /invalid --cgroup-manager \\"other\\": expected cgroupfs, systemd, disabled/);
});

test(
  "without access to cgroups a container is made with --rootless, unless it has limits or a place for them",
  NEEDS,
  async () => {
    await using box = await Box.create({ script: "echo up" });
    const readOnly = async (...args: string[]) => {
      const script =
        `sed -n 's/.* \\(\\/sys\\/fs\\/cgroup[^ ]*\\) .* - cgroup2\\{0,1\\} .*/\\1/p' /proc/self/mountinfo |
      while read -r at; do mount -o remount,bind,ro "$at"; done; exec "$@"`;
      const { code, stdout, stderr } = await new Deno.Command("unshare", {
        args: ["--mount", "sh", "-c", script, "sh", RUNK, "--root", box.root, ...args],
        cwd: box.directory,
        stdin: "null",
      }).output();
      const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)) as [string, string];
      return { status: code, stdout: out, stderr: err };
    };
    assert.match((await readOnly("run", box.id)).stderr, /cannot make the cgroup \/sys\/fs\/cgroup\S+: .*\(EROFS\)/);
    const { status, stdout, stderr } = await readOnly("--rootless=true", "run", box.id);
    assert.deepEqual([status, stdout], [0, "up\n"], stderr);
    await box.write((c) => (c.linux.resources.pids = { limit: 5 }));
    const limited = await readOnly("--rootless=true", "run", box.id);
    assert.match(limited.stderr, /cannot set pids limit: container could not join or create cgroup/);
    await box.write((c) => {
      c.process.terminal = false;
      c.linux.cgroupsPath = "/runk-test-nowhere";
    });
    assert.match((await readOnly("--rootless=true", "run", box.id)).stderr, /cannot make the cgroup .*\(EROFS\)/);
  },
);

/** Processes that never stop forking, each a moment too late for a list of pids. */
const FORK_BOMB = "for i in 1 2 3 4 5 6 7 8; do (while :; do (sleep 0.01 &); done) & done; exec sleep 1000";
const sharePids = (c: { linux: { namespaces: { type: string }[] } }) => {
  c.linux.namespaces = c.linux.namespaces.filter(({ type }) => type !== "pid");
};

for (const command of ["kill", "delete"]) {
  test(
    `${command} ends every process of a container that shares the host's pids, under a fork bomb`,
    NEEDS,
    async () => {
      await using box = await boxWith({ pids: { limit: 60 }, cpu: { quota: 50000, period: 100000 } }, {
        script: FORK_BOMB,
        config: sharePids,
      });
      await box.ok(["run", "-d", box.id]);
      const directory = processDirectory(cgroupPaths(box));
      await until("the bomb has gone off", () => members(directory).length > 12);
      await box.ok(command === "kill" ? ["kill", box.id, "KILL"] : ["delete", "--force", box.id]);
      assert.deepEqual(exists(directory) ? members(directory) : [], []);
    },
  );
}

test(
  "processes that outlive the first one of a container with the host's pids are deleted with it",
  NEEDS,
  async () => {
    await using box = await boxWith({}, { script: "(setsid sleep 1000 &); true", config: sharePids });
    await box.ok(["run", "-d", box.id]);
    await until("the first process has ended", async () => (await box.state()).status === "stopped");
    const directory = processDirectory(cgroupPaths(box));
    assert.equal(members(directory).length, 1);
    await box.ok(["delete", box.id]);
    assert.ok(!exists(directory));
  },
);
