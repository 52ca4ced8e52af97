/**
 * Cgroup v2 alone, without systemd: limits, devices, delegation, freezing, statistics. Run by `deno task test:vm`, and by
 * itself on any host that has it. Each start of runk takes seconds in an emulated machine: few are made.
 */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { blockDevice } from "../support/cgroups.ts";
import { run } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";
import { assertLimits, LIMIT_FILES, LIMITS, read, ROOT } from "./guest.ts";

const NEEDS = ["root", "cgroup2"] as const;

/** A cgroup of the test's own, under the root; containers go below it. */
class Parent implements Disposable {
  readonly path: string;
  constructor(box: Box, name = "") {
    this.path = `/${box.id}${name}-parent`;
    Deno.mkdirSync(this.directory);
  }
  get directory(): string {
    return ROOT + this.path;
  }
  [Symbol.dispose](): void {
    for (const { name, isDirectory } of Deno.readDirSync(this.directory)) {
      if (isDirectory) Deno.removeSync(`${this.directory}/${name}`);
    }
    Deno.removeSync(this.directory);
  }
}

/** Has a disk scheduled by BFQ, which knows weights for single disks, where the kernel has it as a module. */
async function scheduleByBfq(disk: string): Promise<{ isBfq: boolean; restore: () => void }> {
  const file = `/sys/block/${disk}/queue/scheduler`;
  await run("modprobe", ["bfq"]);
  const schedulers = Deno.readTextFileSync(file);
  if (!schedulers.includes("bfq")) return { isBfq: false, restore: () => {} };
  Deno.writeTextFileSync(file, "bfq");
  return { isBfq: true, restore: () => Deno.writeTextFileSync(file, /\[(\S+)\]/.exec(schedulers)?.[1] ?? "none") };
}

test("every field of the resources is in its file, and the process is born under the limits", NEEDS, async () => {
  const { name, major, minor } = blockDevice()!;
  const { isBfq, restore } = await scheduleByBfq(name);
  if (!isBfq) console.log("skipped: weightDevice: this kernel has no BFQ");
  console.log("skipped: rdma: it takes an adapter; the values are in tests/unit/cgroup/v2_test.ts");
  const at = { major, minor };
  await using box = await Box.create({
    config: (c: Config) => {
      c.linux.cgroupsPath = "/runk-test-limits/deep/box";
      c.linux.resources = {
        ...LIMITS,
        cpu: { ...LIMITS.cpu, cpus: "0-1" },
        blockIO: {
          ...LIMITS.blockIO,
          weightDevice: isBfq ? [{ ...at, weight: 400 }] : [],
          throttleReadBpsDevice: [{ ...at, rate: 1048576 }],
          throttleWriteBpsDevice: [{ ...at, rate: 2097152 }],
          throttleReadIOPSDevice: [{ ...at, rate: 300 }],
          throttleWriteIOPSDevice: [{ ...at, rate: 400 }],
        },
        hugepageLimits: [{ pageSize: "2MB", limit: 4 << 20 }],
        unified: { ...LIMITS.unified, "pids.max": "44", "memory.oom.group": "1", "cgroup.max.depth": "7" },
      };
    },
  });
  const directory = `${ROOT}/runk-test-limits/deep/box`;
  try {
    await box.ok(["create", "--pid-file", "pid", box.id]);
    const pid = await Deno.readTextFile(`${box.directory}/pid`);
    assert.equal((await Deno.readTextFile(`/proc/${pid}/cgroup`)).trim(), "0::/runk-test-limits/deep/box");
    const expected = {
      ...LIMIT_FILES,
      "cpuset.cpus": "0-1",
      // What `unified` says holds.
      "pids.max": "44",
      "memory.oom.group": "1",
      "cgroup.max.depth": "7",
      "hugetlb.2MB.max": String(4 << 20),
      "hugetlb.2MB.rsvd.max": String(4 << 20),
      "io.max": `${major}:${minor} rbps=1048576 wbps=2097152 riops=300 wiops=400`,
    };
    if (isBfq) {
      assert.equal(read(directory, "io.bfq.weight"), `default 100\n${major}:${minor} 400`);
      Deno.writeTextFileSync(`${directory}/io.bfq.weight`, `${major}:${minor} default`);
    }
    assertLimits(directory, expected, "after create");

    await box.ok([
      "update",
      "--memory",
      "50331648",
      "--memory-swap",
      "-1",
      "--cpu-share",
      "1024",
      "--pids-limit",
      "20",
      box.id,
    ]);
    const changed = ["memory.max", "memory.swap.max", "cpu.weight", "pids.max", "cpu.max"].map((file) =>
      read(directory, file)
    );
    assert.deepEqual(changed, ["50331648", "max", "100", "20", "20000 50000"]);
    const refused = await box.runk(["update", "--memory", "4194304", "--cpuset-cpus", "77", box.id]);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /cpuset\.cpus/);
    assert.equal(read(directory, "memory.max"), "50331648", "what was written before is set back");

    const { data } = JSON.parse((await box.ok(["events", "--stats", box.id])).stdout);
    assert.ok(data.memory.usage.usage > 0 && data.memory.usage.limit === 50331648, JSON.stringify(data.memory));
    assert.equal(data.pids.limit, 20);
    for (const part of ["cpu", "memory", "blkio"]) assert.equal(data[part].psi.some.avg10 >= 0, true, `${part} psi`);
    await box.ok(["delete", "--force", box.id]);
    assert.ok(!exists(directory));
  } finally {
    restore();
    for (const path of ["/deep", ""]) Deno.removeSync(`${ROOT}/runk-test-limits${path}`);
  }
});

test("only the devices that rules allow can be opened", NEEDS, async () => {
  const script = `cd /tmp
    mknod mem c 1 1; mknod urandom c 1 9; mknod msg c 1 11; mknod disk b 259 0
    for i in mem urandom msg disk; do head -c 1 $i >/dev/null 2>err && echo $i read || echo $i $(cat err); done
    echo x >msg && echo msg written
    echo done >/dev/null && echo null`;
  await using box = await Box.create({
    script,
    config: (c: Config) => {
      c.root.readonly = false;
      for (const set of ["bounding", "effective", "permitted"]) {
        c.process.capabilities[set].push("CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_SYSLOG");
      }
      c.linux.resources.devices = [
        { allow: false, access: "rwm" },
        { allow: true, type: "c", major: 1, minor: 11, access: "w" },
      ];
    },
  });
  const { stdout } = await box.ok(["run", box.id]);
  const denied = "can't open|Operation not permitted";
  assert.match(stdout, new RegExp(`^mem .*(${denied})`, "m"));
  assert.match(stdout, new RegExp(`^disk .*(${denied})`, "m"));
  assert.match(stdout, /^urandom read$/m);
  assert.match(stdout, new RegExp(`^msg .*(${denied})`, "m"), "reading is denied");
  assert.match(stdout, /^msg written$/m, "writing is allowed");
  assert.match(stdout, /^null$/m);
});

test(
  "a limit that the kernel refuses is named with file, value, error and place, and leaves nothing",
  NEEDS,
  async () => {
    await using box = await Box.create({
      config: (c: Config) => (c.linux.resources = { unified: { "memory.max": "plenty" } }),
    });
    const wrong = await box.runk(["create", box.id]);
    assert.equal(wrong.status, 1);
    assert.match(wrong.stderr, /\\"plenty\\" to .*memory\.max: .*EINVAL.*\/linux\/resources\/unified\/memory\.max/);
    await box.write((c) => {
      c.process.terminal = false;
      c.linux.resources = { unified: { "gpu.max": "1" } };
    });
    const missing = await box.runk(["create", box.id]);
    assert.match(missing.stderr, /unified resource \\"gpu\.max\\" can't be set: controller \\"gpu\\" not available/);
  },
);

test("below a threaded cgroup a container is threaded, too; with domain controllers it is refused", NEEDS, async () => {
  await using box = await Box.create();
  using parent = new Parent(box);
  Deno.mkdirSync(`${parent.directory}/thread`);
  Deno.writeTextFileSync(`${parent.directory}/thread/cgroup.type`, "threaded");
  const directory = `${parent.directory}/a/b`;
  const write = (resources: unknown) =>
    box.write((c) => {
      c.process = { ...c.process, terminal: false, args: ["sh", "-c", "sleep 100 & sleep 101 & wait"] };
      // In the host's pid namespace no first process takes the others with it.
      c.linux.namespaces = c.linux.namespaces.filter(({ type }: { type: string }) => type !== "pid");
      c.linux.cgroupsPath = `${parent.path}/a/b`;
      c.linux.resources = resources;
    });
  Deno.mkdirSync(`${parent.directory}/a`);
  try {
    await write({ memory: { limit: 64 << 20 } });
    const refused = await box.runk(["create", box.id]);
    const cannot = `cannot enter cgroupv2 \\"${parent.directory}\\" with domain controllers`;
    assert.ok(refused.stderr.includes(`${cannot} -- it is in domain threaded mode`), refused.stderr);
    await write({ pids: { limit: 20 } });
    await box.ok(["run", "--detach", box.id]);
    for (const path of ["/a", "/a/b"]) assert.equal(read(parent.directory + path, "cgroup.type"), "threaded");
    await until("both sleep", () => read(directory, "cgroup.threads").split("\n").length === 3);
    const pids = JSON.parse((await box.ok(["ps", "--format", "json", box.id])).stdout);
    assert.deepEqual(pids, read(directory, "cgroup.threads").split("\n").map(Number));
    const occupied = await box.runk(["create", `${box.id}-second`]);
    assert.match(occupied.stderr, /container's cgroup is not empty: 3 process\(es\) found/);
    await box.ok(["kill", box.id, "KILL"]);
    await until("no one is left", () => read(directory, "cgroup.threads") === "");
    await box.ok(["delete", box.id]);
  } finally {
    if (exists(directory)) Deno.removeSync(directory);
  }
});

test(
  "a container with its own cgroup namespace and a writable mount owns its cgroup, and divides it",
  NEEDS,
  async () => {
    const script = `cd /sys/fs/cgroup && mkdir inner && echo 0 >inner/cgroup.procs && cat /proc/self/cgroup &&
    echo +pids >cgroup.subtree_control && ls inner/pids.max; rmdir /sys/fs/cgroup/none 2>/dev/null; sleep 1000`;
    await using box = await Box.create({
      script,
      config: (c: Config) => {
        c.root.readonly = false;
        c.linux.namespaces.push({ type: "user" });
        c.linux.uidMappings = c.linux.gidMappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
        c.mounts = c.mounts.filter(({ destination }: { destination: string }) => destination !== "/sys/fs/cgroup");
        c.mounts.push({
          destination: "/sys/fs/cgroup",
          type: "cgroup",
          source: "cgroup",
          options: ["nosuid", "noexec", "nodev", "rw"],
        });
      },
    });
    await Deno.chown(box.rootfs, 100000, 100000);
    const directory = `${ROOT}/${box.id}`;
    await box.ok(["create", "--pid-file", "pid", box.id]);
    for (const file of [".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]) {
      assert.equal(Deno.statSync(`${directory}/${file}`).uid, 100000, file);
    }
    assert.equal(Deno.statSync(`${directory}/memory.max`).uid, 0, "limits stay the host's");
    await box.ok(["start", box.id]);
    await until("the container has divided its cgroup", () => exists(`${directory}/inner/pids.max`));
    // No process may be born in the container's own cgroup any more: exec goes where its first process is.
    await box.ok(["exec", "--detach", "--pid-file", "exec", box.id, "sleep", "1000"]);
    const pid = await Deno.readTextFile(`${box.directory}/exec`);
    assert.equal((await Deno.readTextFile(`/proc/${pid}/cgroup`)).trim(), `0::/${box.id}/inner`);
    await box.ok(["delete", "--force", box.id]);
    assert.ok(!exists(directory), "with the cgroups below it");
  },
);

test(
  "pause stops every process and resume lets them go on; a frozen cgroup takes no new container",
  NEEDS,
  async () => {
    await using box = await Box.create({
      script: "while :; do echo . >>/tmp/ticks; sleep 0.1; done",
      config: (c: Config) => {
        c.root.readonly = false;
        c.linux.cgroupsPath = `/${newName(c)}`;
      },
    });
    const config = JSON.parse(await Deno.readTextFile(`${box.directory}/config.json`));
    const directory = ROOT + config.linux.cgroupsPath;
    const ticks = () => (exists(`${box.rootfs}/tmp/ticks`) ? Deno.statSync(`${box.rootfs}/tmp/ticks`).size : 0);
    await box.ok(["run", "--detach", box.id]);
    await until("it ticks", () => ticks() > 1);
    await box.ok(["pause", box.id]);
    assert.match(read(directory, "cgroup.events"), /frozen 1/);
    assert.equal((await box.state()).status, "paused");
    const before = ticks();
    await box.ok(["resume", box.id]);
    await until("it ticks again", () => ticks() > before);
    await box.ok(["pause", box.id]);
    await box.ok(["delete", "--force", box.id]);
    Deno.mkdirSync(directory);
    Deno.writeTextFileSync(`${directory}/cgroup.freeze`, "1");
    const refused = await box.runk(["create", box.id]);
    assert.match(refused.stderr, /container's cgroup unexpectedly frozen/);
    Deno.removeSync(directory);
  },
);

let names = 0;
const newName = (_: Config) => `runk-test-${Deno.pid}-frozen-${++names}`;

test("a process that joins a user namespace by path is in the container's cgroup", NEEDS, async () => {
  await using owner = await Box.create({
    script: "sleep 1000",
    config: (c: Config) => {
      c.linux.namespaces.push({ type: "user" });
      c.linux.uidMappings = c.linux.gidMappings = [{ containerID: 0, hostID: 200000, size: 65536 }];
    },
  });
  await Deno.chown(owner.rootfs, 200000, 200000);
  await owner.ok(["create", "--pid-file", "pid", owner.id]);
  const pid = await Deno.readTextFile(`${owner.directory}/pid`);
  await using box = await Box.create({
    script: "cat /proc/self/cgroup",
    config: (c: Config) => {
      c.linux.namespaces = c.linux.namespaces.filter(({ type }: { type: string }) => type !== "cgroup");
      c.linux.namespaces.push({ type: "user", path: `/proc/${pid}/ns/user` });
      c.linux.resources = { pids: { limit: 1 } };
    },
  });
  await Deno.chown(box.rootfs, 200000, 200000);
  assert.equal((await box.ok(["run", box.id])).stdout.trim(), `0::/${box.id}`);
  await owner.ok(["delete", "--force", owner.id]);
});

test(
  "running out of memory is an event, and killing a container of the host's pid namespace ends all",
  NEEDS,
  async () => {
    await using box = await Box.create({
      script:
        "sleep 1000 & while ! test -e /tmp/go; do sleep 0.1; done; head -c 80m /dev/zero | tail >/dev/null; sleep 1000",
      config: (c: Config) => {
        c.root.readonly = false;
        c.linux.namespaces = c.linux.namespaces.filter(({ type }: { type: string }) => type !== "pid");
        c.linux.resources = { memory: { limit: 24 << 20, swap: 24 << 20 } };
      },
    });
    await box.ok(["run", "--detach", box.id]);
    const events = box.runk(["events", "--interval", "2s", box.id]);
    const directory = `${ROOT}/${box.id}`;
    // Events are heard from when their watch is there: one that inotify has on the file.
    await until("someone watches", async () => await isWatched(`${directory}/memory.events`));
    await Deno.writeTextFile(`${box.rootfs}/tmp/go`, "");
    await until("memory ran out", () => /oom_kill [1-9]/.test(read(directory, "memory.events")));
    assert.ok(read(directory, "cgroup.procs").split("\n").length >= 2);
    await box.ok(["kill", box.id, "KILL"]);
    await until("all are gone", () => read(directory, "cgroup.procs") === "");
    const { stdout, status } = await events;
    assert.equal(status, 0);
    assert.match(stdout, /^\{"type":"oom","id":"[^"]+"\}$/m);
    await box.ok(["delete", box.id]);
  },
);

/** Whether some process has an inotify watch on a file. */
async function isWatched(path: string): Promise<boolean> {
  const inode = Deno.statSync(path).ino!.toString(16);
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      for (const fd of Deno.readDirSync(`/proc/${name}/fdinfo`)) {
        if (
          Deno.readTextFileSync(`/proc/${name}/fdinfo/${fd.name}`).includes(`inotify wd:`) &&
          Deno.readTextFileSync(`/proc/${name}/fdinfo/${fd.name}`).includes(` ino:${inode} `)
        ) return true;
      }
    } catch {
      // gone
    }
  }
  return false;
}

test(
  "the device filter that an unused cgroup had is replaced, and is in force",
  NEEDS,
  async () => {
    await using box = await Box.create({
      script: "head -c 1 /dev/urandom >/dev/null && echo read",
      config: (c: Config) => (c.linux.cgroupsPath = `/runk-test-${Deno.pid}-reused`),
    });
    const directory = `${ROOT}/runk-test-${Deno.pid}-reused`;
    // --keep leaves the cgroup, with its filter, for the next container that is made in it.
    await box.ok(["run", "--keep", box.id]);
    assert.ok(exists(directory));
    const again = `${box.id}-again`;
    assert.equal((await box.ok(["run", "--keep", again])).stdout, "read\n");
    await box.ok(["delete", again]);
    await box.ok(["delete", box.id]);
    assert.ok(!exists(directory));
  },
);
