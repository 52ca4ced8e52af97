/** update: flags, JSON, the rules of what is written, and that a failure changes nothing. */
import assert from "node:assert/strict";
import { Box, RUNK } from "../support/box.ts";
import { blockDevice, cgroupPaths, isV2, readCgroup } from "../support/cgroups.ts";
import { exists, test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroups"] as const;
const MIB = 1048576;

const limited = (script = "sleep 1000") =>
  Box.create({
    script,
    config: (c) => (c.linux.resources = {
      devices: [{ allow: false, access: "rwm" }],
      memory: { limit: 64 * MIB, swap: 96 * MIB, reservation: 32 * MIB },
      cpu: { shares: 512, quota: 50000, period: 100000, cpus: "0-1" },
      pids: { limit: 100 },
    }),
  });

const FILES: Readonly<Record<string, string>> = isV2
  ? {
    "":
      "memory.max memory.swap.max memory.low cpu.weight cpu.max cpu.max.burst cpu.idle cpuset.cpus cpuset.mems pids.max",
  }
  : {
    memory: "memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes",
    cpu: "cpu.shares cpu.cfs_quota_us cpu.cfs_period_us cpu.cfs_burst_us cpu.idle cpu.rt_runtime_us",
    cpuset: "cpuset.cpus cpuset.mems",
    pids: "pids.max",
    blkio: "blkio.bfq.weight",
  };
const MEMORY = isV2 ? "memory.max" : "memory.limit";
const NO_MEMORY_LIMIT = isV2 ? "max" : "9223372036854771712";

/** What the kernel has, by the files' names. */
function limits(box: Box): Record<string, string> {
  const paths = cgroupPaths(box);
  const pairs = Object.entries(FILES).flatMap(([controller, names]) =>
    names.split(" ").map((file) => [file.replace("_in_bytes", ""), readCgroup(paths, controller, file)])
  );
  if (isV2) pairs.push(["weight", weightV2(paths[""]!)]);
  return Object.fromEntries(pairs);
}

/** The file's name depends on the kernel. */
function weightV2(directory: string): string {
  const isBfq = exists(`${directory}/io.bfq.weight`);
  return `${isBfq ? "bfq" : "io"} ${readCgroup({ "": directory }, "", isBfq ? "io.bfq.weight" : "io.weight")}`;
}

const record = (box: Box) => JSON.parse(Deno.readTextFileSync(`${box.root}/${box.id}/state.json`)).config.cgroups;

type Changes = readonly (readonly [flags: readonly string[], changed: Readonly<Record<string, string>>])[];

const CHANGES_V1: Changes = [
  [["--memory", "50m"], { "memory.limit": String(50 * MIB) }],
  [["--memory-swap=80 MiB"], { "memory.memsw.limit": String(80 * MIB) }],
  [["--memory", "100M", "--memory-swap", "200M"], {
    "memory.limit": String(100 * MIB),
    "memory.memsw.limit": String(200 * MIB),
  }],
  [["--memory", "20m", "--memory-swap", "30m"], {
    "memory.limit": String(20 * MIB),
    "memory.memsw.limit": String(30 * MIB),
  }],
  [["--memory-reservation", "10485760"], { "memory.soft_limit": String(10 * MIB) }],
  [["--cpu-share", "2048"], { "cpu.shares": "2048" }],
  [["--cpu-quota", "70000"], { "cpu.cfs_quota_us": "70000" }],
  [["--cpu-period", "200000"], { "cpu.cfs_period_us": "200000" }],
  [["--cpu-quota", "-1", "--cpu-period", "100000"], { "cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000" }],
  [["--cpu-quota", "50000", "--cpu-burst", "20000"], { "cpu.cfs_quota_us": "50000", "cpu.cfs_burst_us": "20000" }],
  [["--cpuset-cpus", "1"], { "cpuset.cpus": "1" }],
  [["--cpuset-mems", "0"], {}],
  [["--pids-limit", "10"], { "pids.max": "10" }],
  [["--pids-limit", "-1"], { "pids.max": "max" }],
  [["--blkio-weight", "500"], { "blkio.bfq.weight": "500" }],
  [["--memory", "-1"], { "memory.limit": NO_MEMORY_LIMIT, "memory.memsw.limit": NO_MEMORY_LIMIT }],
  [["--cpu-idle", "1"], { "cpu.idle": "1", "cpu.shares": "3" }],
];

/** v2 limits swap apart from memory: the limit of both together stays, as runc has it. */
const CHANGES_V2: Changes = [
  [["--memory", "50m"], { "memory.max": String(50 * MIB), "memory.swap.max": String(46 * MIB) }],
  [["--memory-swap=80 MiB"], { "memory.swap.max": String(30 * MIB) }],
  [["--memory", "100M", "--memory-swap", "200M"], {
    "memory.max": String(100 * MIB),
    "memory.swap.max": String(100 * MIB),
  }],
  [["--memory", "20m", "--memory-swap", "30m"], {
    "memory.max": String(20 * MIB),
    "memory.swap.max": String(10 * MIB),
  }],
  [["--memory-reservation", "10485760"], { "memory.low": String(10 * MIB) }],
  [["--cpu-share", "2048"], { "cpu.weight": "174" }],
  [["--cpu-quota", "70000"], { "cpu.max": "70000 100000" }],
  [["--cpu-period", "200000"], { "cpu.max": "70000 200000" }],
  [["--cpu-quota", "-1", "--cpu-period", "100000"], { "cpu.max": "max 100000" }],
  [["--cpu-quota", "50000", "--cpu-burst", "20000"], { "cpu.max": "50000 100000", "cpu.max.burst": "20000" }],
  [["--cpuset-cpus", "1"], { "cpuset.cpus": "1" }],
  [["--cpuset-mems", "0"], { "cpuset.mems": "0" }],
  [["--pids-limit", "10"], { "pids.max": "10" }],
  [["--pids-limit", "-1"], { "pids.max": "max" }],
  [["--memory", "-1"], { "memory.max": NO_MEMORY_LIMIT, "memory.swap.max": "max" }],
  [["--cpu-idle", "1"], { "cpu.idle": "1", "cpu.weight": "0" }],
];

test("update changes each limit by its flag, and only that", NEEDS, async () => {
  await using box = await limited();
  await box.ok(["run", "-d", box.id]);
  let expected = limits(box);
  for (const [flags, changed] of isV2 ? CHANGES_V2 : CHANGES_V1) {
    await box.ok(["update", ...flags, box.id]);
    expected = { ...expected, ...changed };
    // An idle cgroup's shares are the kernel's own affair.
    for (const name of ["cpu.shares", "cpu.weight"]) {
      if (changed["cpu.idle"] !== undefined && name in expected) expected[name] = limits(box)[name]!;
    }
    assert.deepEqual(limits(box), expected, flags.join(" "));
  }
  if (!isV2) return;
  await box.ok(["update", "--blkio-weight", "500", box.id]);
  assert.match(limits(box)["weight"]!, /^bfq default 500|^io default 4950/);
});

test("update takes JSON from a file or from standard input, and ignores other flags then", NEEDS, async () => {
  await using box = await limited();
  await box.ok(["run", "-d", box.id]);
  const resources = JSON.stringify({ memory: { limit: 40 * MIB }, pids: { limit: 30 }, cpu: { shares: 100 } });
  await box.ok(["update", "--resources", "-", "--cpu-share", "999", box.id], { stdin: resources });
  assert.equal(limits(box)[MEMORY], String(40 * MIB));
  assert.equal(limits(box)["pids.max"], "30");
  assert.equal(limits(box)[isV2 ? "cpu.weight" : "cpu.shares"], isV2 ? "17" : "100");
  await Deno.writeTextFile(`${box.directory}/more.json`, '{"memory":{"limit":-1},"pids":{"limit":40}}');
  await box.ok(["update", "-r", "more.json", box.id]);
  assert.equal(limits(box)[MEMORY], NO_MEMORY_LIMIT);
  assert.equal(limits(box)["pids.max"], "40");
  await box.ok(["update", "-r", "-", box.id], { stdin: '{"PIDS":{"Limit":50}}' });
  assert.equal(limits(box)["pids.max"], "50", "names are known as Go's programs know them");
  const { status, stderr } = await box.runk(["update", "-r", "nowhere.json", box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /open nowhere\.json: no such file or directory/);
  const wrong = await box.runk(["update", "-r", "-", box.id], { stdin: '{"memory":{"limit":"lots"}}' });
  assert.match(wrong.stderr, /standard input is wrong at one place: \/memory\/limit: expected .*, got string/);
  assert.match((await box.runk(["update", "-r", "-", box.id], { stdin: "no" })).stderr, /standard input is not JSON/);
});

test(
  "update records what it changed under runc's names, to the last digit, and keeps the rest of the record",
  NEEDS,
  async () => {
    await using box = await limited();
    await box.ok(["run", "-d", box.id]);
    const before = record(box);
    assert.deepEqual(
      [before.memory, before.memory_swap, before.cpu_shares, before.cpu_quota, before.cpuset_cpus, before.pids_limit],
      [64 * MIB, 96 * MIB, 512, 50000, "0-1", 100],
    );
    await box.ok(["update", "--memory", "50m", "--cpu-period", "200000", box.id]);
    const after = record(box);
    assert.deepEqual(
      [after.memory, after.memory_swap, after.cpu_shares, after.cpu_quota, after.cpu_period],
      [50 * MIB, 96 * MIB, 512, 50000, 200000],
    );
    // Left to the kernel unless given again, as runc does.
    assert.deepEqual([after.cpuset_cpus, after.pids_limit], [undefined, undefined]);
    assert.deepEqual([after.name, after.Systemd], [before.name, before.Systemd]);
    assert.equal(limits(box)["cpuset.cpus"], "0-1");
    await box.ok(["update", "-r", "-", box.id], {
      stdin: '{"memory":{"limit":9007199254740993,"swap":9007199254740993}}',
    });
    assert.match(Deno.readTextFileSync(`${box.root}/${box.id}/state.json`), /"memory":9007199254740993[,}]/);
    assert.equal((await box.state()).status, "running");
  },
);

type Refused = readonly (readonly [flags: readonly string[], message: RegExp])[];

const REFUSED_V1: Refused = [
  [
    ["--memory", "50m", "--cpu-share", "100", "--cpu-quota", "1"],
    /failed to write "1": write \/\S+cpu\.cfs_quota_us: invalid argument/,
  ],
  [["--memory", "100m", "--memory-swap", "150m", "--cpuset-cpus", "999"], /write \/\S+cpuset\.cpus: /],
  [["--memory", "200m"], /write \/\S+memory\.limit_in_bytes: invalid argument/],
  [
    ["--memory", "20m", "--memory-swap", "30m", "--pids-limit", "5", "--cpu-period", "1"],
    /write \/\S+cpu\.cfs_period_us/,
  ],
  [["--cpu-share", "1"], /the minimum allowed cpu-shares is 2/],
];

const REFUSED_V2: Refused = [
  [
    ["--memory", "50m", "--cpu-share", "100", "--cpu-quota", "1"],
    /failed to write "1 100000": write \/\S+cpu\.max: invalid argument/,
  ],
  [["--memory", "100m", "--memory-swap", "150m", "--cpuset-cpus", "999"], /write \/\S+cpuset\.cpus: /],
  [["--memory", "200m"], /memory\+swap limit should be >= memory limit/],
  [["--memory", "20m", "--memory-swap", "30m", "--pids-limit", "5", "--cpu-period", "1"], /write \/\S+cpu\.max/],
];

test("when the kernel refuses a value, every limit and the record stay as they were", NEEDS, async () => {
  await using box = await limited();
  await box.ok(["run", "-d", box.id]);
  const [before, recorded] = [limits(box), record(box)];
  for (const [flags, message] of isV2 ? REFUSED_V2 : REFUSED_V1) {
    const { status, stderr } = await box.runk(["update", ...flags, box.id]);
    assert.equal(status, 1, flags.join(" "));
    assert.match(stderr.replaceAll('\\"', '"'), message);
    assert.deepEqual(limits(box), before, flags.join(" "));
    assert.deepEqual(record(box), recorded);
  }
});

test("within one controller, too, what was written before a refused value is set back", NEEDS, async () => {
  const disk = blockDevice();
  if (disk === undefined) return console.log("skipped: this machine has no block device");
  const { major, minor } = disk;
  await using box = await limited();
  await box.ok(["run", "-d", box.id]);
  const paths = cgroupPaths(box);
  const blkio = () =>
    isV2
      ? [weightV2(paths[""]!), readCgroup(paths, "", "io.max")]
      : ["bfq.weight", "bfq.weight_device", "throttle.read_bps_device", "throttle.write_bps_device"].map((name) =>
        readCgroup(paths, "blkio", `blkio.${name}`)
      );
  const update = (blockIO: unknown) => box.runk(["update", "-r", "-", box.id], { stdin: JSON.stringify({ blockIO }) });
  const first = await update({ throttleReadBpsDevice: [{ major, minor, rate: 5 * MIB }] });
  assert.equal(first.status, 0, first.stderr);
  const before = blkio();
  const { status, stderr } = await update({
    weight: 700,
    // On v2 a weight for one disk takes a scheduler that the disk need not have.
    weightDevice: isV2 ? [] : [{ major, minor, weight: 600 }],
    throttleReadBpsDevice: [{ major, minor, rate: MIB }],
    throttleWriteBpsDevice: [{ major, minor, rate: MIB }],
    throttleWriteIOPSDevice: [{ major: 4000, minor: 7, rate: 1 }],
  });
  assert.equal(status, 1);
  assert.match(
    stderr,
    isV2 ? /write \/\S+io\.max: no such device/ : /write \/\S+blkio\.throttle\.write_iops_device: no such device/,
  );
  assert.deepEqual(blkio(), before);
});

test("a memory limit below what is in use is refused with what is in use", NEEDS, async () => {
  await using box = await Box.create({
    script: "dd if=/dev/zero of=/dev/shm/full bs=1M count=30 && echo > /tmp/ready; sleep 1000",
    config: (c) => {
      c.root.readonly = false;
      // Without swap, what is in a tmpfs cannot go anywhere.
      c.linux.resources.memory = { limit: 64 * MIB, swap: 64 * MIB, ...(isV2 ? {} : { swappiness: 0 }) };
      c.linux.resources.cpu = {};
    },
  });
  await box.ok(["run", "-d", box.id]);
  await until("memory is in use", () => Deno.stat(`${box.rootfs}/tmp/ready`).then(() => true, () => false));
  // v2 would make room by killing, so it is only refused there when that is asked for.
  const memory = { limit: 10 * MIB, swap: 10 * MIB, checkBeforeUpdate: isV2 };
  const { status, stderr } = await box.runk(["update", "-r", "-", box.id], { stdin: JSON.stringify({ memory }) });
  assert.equal(status, 1);
  assert.match(
    stderr,
    isV2
      ? /rejecting memory\+swap limit 10485760 <= usage 3\d{7}/
      : /unable to set memory limit to 10485760 \(current usage: 3\d{7}, peak usage: \d{8}\)/,
  );
  assert.equal(limits(box)[MEMORY], String(64 * MIB));
});

test("wrong values of flags are named with the flag, in runc's words", NEEDS, async () => {
  await using box = await limited();
  await box.ok(["run", "-d", box.id]);
  const wrong: [flags: string[], message: RegExp][] = [
    [["--memory", "lots"], /invalid value for memory: invalid size: "lots"/],
    [["--cpu-share", "-5"], /invalid value for cpu-share: strconv\.ParseUint: parsing "-5": invalid syntax/],
    [["--cpu-quota", "x"], /invalid value for cpu-quota: strconv\.ParseInt: parsing "x": invalid syntax/],
    [["--cpu-idle", "9223372036854775808"], /invalid value for cpu-idle: .*value out of range/],
    [["--l3-cache-schema", "L3:0=f"], /Intel RDT\/CAT: l3 cache schema is not enabled/],
    [["--mem-bw-schema", "MB:0=20"], /Intel RDT\/MBA: memory bandwidth schema is not enabled/],
  ];
  for (const [flags, message] of wrong) {
    const { status, stderr } = await box.runk(["update", ...flags, box.id]);
    assert.equal(status, 1, flags.join(" "));
    assert.match(stderr.replaceAll('\\"', '"'), message);
  }
  const { stderr } = await box.ok(["update", "--kernel-memory", "50m", box.id]);
  assert.match(stderr, /Kernel memory settings are ignored and will be removed/);
});

test("update works on a paused and on a created container, and not on a stopped one", NEEDS, async () => {
  await using box = await limited();
  await box.ok(["create", box.id]);
  await box.ok(["update", "--pids-limit", "50", box.id]);
  await box.ok(["start", box.id]);
  await box.ok(["pause", box.id]);
  await box.ok(["update", "--pids-limit", "60", box.id]);
  assert.equal(limits(box)["pids.max"], "60");
  await box.ok(["kill", box.id, "KILL"]);
  await until("the container is stopped", async () => (await box.state()).status === "stopped");
  const { status, stderr } = await box.runk(["update", "--pids-limit", "70", box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /container not running/);
});

test("a throttle of one disk is added to those that there are, and a container that runc made is updated", [
  ...NEEDS,
  "command:runc",
], async () => {
  const disk = blockDevice();
  if (disk === undefined) return console.log("skipped: this machine has no block device");
  const { major, minor } = disk;
  await using box = await limited();
  // Under runc's root, with runc's record.
  assert.equal((await box.other("runc", ["run", "-d", box.id])).status, 0);
  const runc = { root: `${box.directory}/other-state`, id: box.id };
  const update = (resources: unknown) =>
    box.other(RUNK, ["update", "-r", "-", box.id], {
      stdin: JSON.stringify(resources),
    });
  const done = await update({ blockIO: { throttleReadBpsDevice: [{ major, minor, rate: MIB }] } });
  assert.equal(done.status, 0, done.stderr);
  const paths = cgroupPaths(runc);
  if (isV2) assert.equal(readCgroup(paths, "", "io.max"), `${major}:${minor} rbps=${MIB} wbps=max riops=max wiops=max`);
  else assert.equal(readCgroup(paths, "blkio", "blkio.throttle.read_bps_device"), `${major}:${minor} ${MIB}`);
  assert.equal(readCgroup(paths, isV2 ? "" : "pids", "pids.max"), "100");
  const state = await box.other("runc", ["state", box.id]);
  assert.equal(JSON.parse(state.stdout).status, "running", "runc still reads its record");
});
