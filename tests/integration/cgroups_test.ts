/** cgroup v1: where a container's cgroups are, what limits are in the kernel, what is refused, and what is left. */
import assert from "node:assert/strict";
import { Box, type BoxOptions, RUNK } from "../support/box.ts";
import { cgroupPaths, ForeignCgroup, members, move, type Paths, readCgroup } from "../support/cgroups.ts";
import { exists, test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroup1"] as const;
const RUNC = [...NEEDS, "command:runc"] as const;
const DENY_ALL = { allow: false, access: "rwm" };

type Resources = Record<string, unknown>;

const boxWith = (resources: Resources, options: BoxOptions = {}) =>
  Box.create({
    script: "sleep 1000",
    ...options,
    config: (c) => {
      c.linux.resources = { devices: [DENY_ALL], ...resources };
      options.config?.(c);
    },
  });

/** The number of some block device, "major:minor". */
function blockDevice(): string | undefined {
  const [first] = [...Deno.readDirSync("/sys/block")].map(({ name }) => name).sort();
  return first === undefined ? undefined : Deno.readTextFileSync(`/sys/block/${first}/dev`).trim();
}

/** Under runc, too: its paths for the same container. */
async function runcPaths(box: Box): Promise<Paths> {
  const { status, stderr } = await box.other("runc", ["create", `${box.id}-runc`]);
  assert.equal(status, 0, stderr);
  return cgroupPaths({ root: `${box.directory}/other-state`, id: `${box.id}-runc` });
}

test("every limit is in the kernel as the config has it, and as runc sets it", RUNC, async () => {
  const device = blockDevice();
  const [major, minor] = (device ?? "0:0").split(":").map(Number) as [number, number];
  // Gone from kernels since 5.0, with the scheduler that had it.
  const hasLeafWeight = exists("/sys/fs/cgroup/blkio/blkio.leaf_weight");
  console.log("skipped: rdma: it takes an adapter; the values are in tests/unit/cgroup/v1_test.ts");
  const throttle = (rate: number) => (device === undefined ? [] : [{ major, minor, rate }]);
  await using box = await boxWith({
    memory: {
      limit: 67108864,
      swap: 100663296,
      reservation: 33554432,
      swappiness: 30,
      disableOOMKiller: true,
      useHierarchy: true,
      checkBeforeUpdate: true,
    },
    cpu: { shares: 512, quota: 50000, period: 200000, cpus: "0", mems: "0" },
    pids: { limit: 100 },
    blockIO: {
      weight: 300,
      ...(hasLeafWeight ? { leafWeight: 350 } : {}),
      weightDevice: device === undefined ? [] : [{ major, minor, weight: 400 }],
      throttleReadBpsDevice: throttle(1048576),
      throttleWriteBpsDevice: throttle(2097152),
      throttleReadIOPSDevice: throttle(300),
      throttleWriteIOPSDevice: throttle(400),
    },
  });
  const expected: [controller: string, file: string, value: string][] = [
    ["memory", "memory.limit_in_bytes", "67108864"],
    ["memory", "memory.memsw.limit_in_bytes", "100663296"],
    ["memory", "memory.soft_limit_in_bytes", "33554432"],
    ["memory", "memory.swappiness", "30"],
    ["memory", "memory.use_hierarchy", "1"],
    ["cpu", "cpu.shares", "512"],
    ["cpu", "cpu.cfs_quota_us", "50000"],
    ["cpu", "cpu.cfs_period_us", "200000"],
    ["cpuset", "cpuset.cpus", "0"],
    ["cpuset", "cpuset.mems", "0"],
    ["pids", "pids.max", "100"],
    ["blkio", "blkio.bfq.weight", "300"],
    ["blkio", "blkio.leaf_weight", "350"],
    ["blkio", "blkio.bfq.weight_device", `default 300\n${device} 400`],
    ["blkio", "blkio.throttle.read_bps_device", `${device} 1048576`],
    ["blkio", "blkio.throttle.write_bps_device", `${device} 2097152`],
    ["blkio", "blkio.throttle.read_iops_device", `${device} 300`],
    ["blkio", "blkio.throttle.write_iops_device", `${device} 400`],
  ];
  await box.ok(["create", box.id]);
  const [own, runc] = [cgroupPaths(box), await runcPaths(box)];
  for (const [controller, file, value] of expected) {
    if (!exists(`${own[controller]}/${file}`) || (device === undefined && file.endsWith("_device"))) {
      console.log(`skipped: ${file}: this kernel has none`);
      continue;
    }
    assert.equal(readCgroup(own, controller, file), value, file);
    assert.equal(readCgroup(runc, controller, file), value, `${file} under runc`);
  }
  assert.match(readCgroup(own, "memory", "memory.oom_control"), /^oom_kill_disable 1$/m);
});

test("an idle cgroup, a burst and a time for real-time processes are set", NEEDS, async () => {
  const root = "/sys/fs/cgroup/cpu";
  const hasRealTime = exists(`${root}/cpu.rt_runtime_us`) &&
    Number(Deno.readTextFileSync(`${root}/cpu.rt_runtime_us`)) > 0;
  if (!hasRealTime) console.log("skipped: real time: this kernel gives cgroups none");
  await using box = await boxWith({
    cpu: {
      idle: 1,
      quota: 50000,
      burst: 10000,
      ...(hasRealTime ? { realtimePeriod: 500000, realtimeRuntime: 5000 } : {}),
    },
  }, { config: (c) => (c.linux.cgroupsPath = `/runk-test-${Deno.pid}-realtime`) });
  await box.ok(["create", box.id]);
  const paths = cgroupPaths(box);
  assert.equal(readCgroup(paths, "cpu", "cpu.idle"), "1");
  assert.equal(readCgroup(paths, "cpu", "cpu.cfs_burst_us"), "10000");
  if (!hasRealTime) return;
  assert.equal(readCgroup(paths, "cpu", "cpu.rt_period_us"), "500000");
  assert.equal(readCgroup(paths, "cpu", "cpu.rt_runtime_us"), "5000");
});

/** Controllers that this machine may have, mounted where only the script sees it, and what runk makes of their limits. */
test(
  "limits of controllers that are seldom mounted are set: net_cls, net_prio, hugetlb, perf_event",
  RUNC,
  async () => {
    await using box = await Box.create({ script: "sleep 1000" });
    const script = `
    for c in net_cls net_prio hugetlb perf_event; do
      mkdir -p ${box.directory}/$c && mount -t cgroup -o $c none ${box.directory}/$c && echo "mounted $c"
    done
    "$@" && for file in $FILES; do echo "$file=$(cat ${box.directory}/$file | tr '\\n' ' ')"; done
    "$RUNK" --root ${box.root} delete -f ${box.id}
    for c in net_cls net_prio hugetlb perf_event; do umount ${box.directory}/$c; done`;
    const known = Deno.readTextFileSync("/proc/cgroups").split("\n").filter((line) => line.endsWith("1")).map((line) =>
      line.split("\t")[0]!
    );
    const pageSize = [...Deno.readDirSync("/sys/kernel/mm/hugepages")].map(({ name }) => name)[0]?.match(/\d+/)?.[0];
    const size = `${Number(pageSize ?? 0) / 1024}MB`;
    const missing = ["net_cls", "net_prio", "hugetlb", "perf_event"].filter((name) => !known.includes(name));
    for (const name of missing) console.log(`skipped: ${name}: this kernel has none`);
    const has = (name: string) => !missing.includes(name);
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sleep", "1000"];
      c.linux.resources.network = {
        ...(has("net_cls") ? { classID: 1048577 } : {}),
        ...(has("net_prio") ? { priorities: [{ name: "lo", priority: 5 }] } : {}),
      };
      if (has("hugetlb")) c.linux.resources.hugepageLimits = [{ pageSize: size, limit: 4194304 }];
    });
    const files = {
      ...(has("net_cls") ? { [`net_cls/${box.id}/net_cls.classid`]: "1048577" } : {}),
      ...(has("net_prio") ? { [`net_prio/${box.id}/net_prio.ifpriomap`]: "lo 5" } : {}),
      ...(has("hugetlb")
        ? {
          [`hugetlb/${box.id}/hugetlb.${size}.limit_in_bytes`]: "4194304",
          [`hugetlb/${box.id}/hugetlb.${size}.rsvd.limit_in_bytes`]: "4194304",
        }
        : {}),
    };
    const { code, stdout, stderr } = await new Deno.Command("unshare", {
      args: ["--mount", "sh", "-c", script, "sh", RUNK, "--root", box.root, "create", box.id],
      cwd: box.directory,
      env: { RUNK, FILES: Object.keys(files).join(" ") },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)) as [string, string];
    assert.equal(code, 0, err);
    for (const [file, value] of Object.entries(files)) {
      const line = out.split("\n").find((line) => line.startsWith(`${file}=`));
      assert.ok(line?.slice(file.length + 1).startsWith(value), `${file}: ${line} ${err}`);
    }
  },
);

test("access to devices is what runc makes of the same rules", RUNC, async () => {
  const list = (paths: Paths) => readCgroup(paths, "devices", "devices.list").split("\n").sort();
  const rules: [name: string, devices: unknown[] | undefined][] = [
    ["none", undefined],
    ["deny all", [DENY_ALL]],
    ["allow all", [{ allow: true, access: "rwm" }]],
    ["two", [DENY_ALL, { allow: true, type: "c", major: 1, minor: 3, access: "r" }, {
      allow: true,
      type: "b",
      major: 7,
      access: "rw",
    }]],
    ["one twice and taken back", [
      DENY_ALL,
      { allow: true, type: "c", major: 10, minor: 229, access: "rw" },
      { allow: true, type: "c", major: 10, minor: 229, access: "m" },
      { allow: false, type: "c", major: 10, minor: 229, access: "w" },
    ]],
    ["all but one", [{ allow: true, access: "rwm" }, {
      allow: false,
      type: "c",
      major: 10,
      minor: 229,
      access: "rwm",
    }]],
  ];
  await using box = await boxWith({});
  for (const [name, devices] of rules) {
    await box.write((c) => {
      c.process.terminal = false;
      c.linux.resources.devices = devices;
    });
    await box.ok(["create", box.id]);
    assert.deepEqual(list(cgroupPaths(box)), list(await runcPaths(box)), name);
    await box.ok(["delete", "--force", box.id]);
    await box.other("runc", ["delete", "-f", `${box.id}-runc`]);
  }
});

test("a device that is not allowed cannot be opened, one that is can", NEEDS, async () => {
  await using box = await boxWith({}, {
    script: "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg; head -c 1 /dev/zero | wc -c",
    config: (c) => {
      c.root.readonly = false;
      for (const set of ["bounding", "effective", "permitted"]) c.process.capabilities[set].push("CAP_MKNOD");
    },
  });
  const { stdout, stderr } = await box.runk(["run", box.id]);
  assert.match(stderr, /can't open '\/tmp\/kmsg': Operation not permitted/);
  assert.equal(stdout, "1\n");
});

test("a container starts under a memory limit of 256 kB", NEEDS, async () => {
  await using box = await boxWith({ memory: { limit: 262144 } }, {
    config: (c) => (c.process.args = ["sleep", "1000"]),
  });
  for (let i = 0; i < 5; i++) {
    await box.ok(["create", box.id]);
    assert.equal(readCgroup(cgroupPaths(box), "memory", "memory.limit_in_bytes"), "262144");
    await box.ok(["start", box.id]);
    assert.equal((await box.state()).status, "running");
    await box.ok(["delete", "--force", box.id]);
  }
});

test("a limit that the set-up itself does not fit into is named as the cause", NEEDS, async () => {
  await using box = await boxWith({ memory: { limit: 4096 } });
  const { status, stderr } = await box.runk(["create", box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /unable to set memory limit to 4096: device or resource busy/);
  assert.match(stderr, /\/linux\/resources\/memory\/limit\] \(current usage: \d+, peak usage: \d+\)/);
});

test("a set-up that is killed for want of memory says so", NEEDS, async () => {
  await using box = await boxWith({ memory: { limit: 4096 } }, {
    // Hooks find the limits in place, so they hold from the beginning.
    config: (c) => (c.hooks = { createRuntime: [{ path: "/bin/true" }] }),
  });
  const { status, stderr } = await box.runk(["create", box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /container init was OOM-killed \(memory limit too low\?\)/);
});

test("a value that the kernel refuses is named with its file, error and place in the config", NEEDS, async () => {
  const refused: [resources: Resources, message: RegExp][] = [
    [
      { cpu: { cpus: "9999" } },
      /failed to write "9999" to \/\S+\/cpuset\.cpus: .*\(E\w+\) \[config.json \/linux\/resources\/cpu\/cpus\]/,
    ],
    [
      { cpu: { mems: "nonsense" } },
      /"nonsense" to \/\S+\/cpuset\.mems: .*\(EINVAL\) \[config.json \/linux\/resources\/cpu\/mems\]/,
    ],
    [
      { cpu: { quota: 1 } },
      /"1" to \/\S+\/cpu\.cfs_quota_us: .*\(EINVAL\) \[config.json \/linux\/resources\/cpu\/quota\]/,
    ],
    [{ cpu: { shares: 1 } }, /the minimum allowed cpu-shares is 2/],
    [{ cpu: { shares: 300000 } }, /the maximum allowed cpu-shares is 262144/],
    [
      { memory: { limit: 67108864, swap: 1048576 } },
      /"1048576" to \/\S+memsw\.limit_in_bytes: .*\(EINVAL\) \[.*\/memory\/swap\]/,
    ],
    [{ memory: { swappiness: 101 } }, /invalid memory swappiness value: 101 \(valid range is 0-100\)/],
    [
      { blockIO: { throttleReadBpsDevice: [{ major: 4000, minor: 7, rate: 1 }] } },
      /"4000:7 1" to \/\S+read_bps_device: .*\(ENODEV\) \[.*\/throttleReadBpsDevice\/0\]/,
    ],
    [{ blockIO: { leafWeight: 100 } }, /"100" to \/\S+\/blkio\.leaf_weight: .*\(ENOENT\) \[.*\/blockIO\/leafWeight\]/],
    [{ rdma: { mlx5_0: { hcaHandles: 3 } } }, /rdma.*(?:is not mounted|ENODEV).*\[.*\/rdma\/mlx5_0\]/],
    [{ unified: { "memory.high": "1" } }, /unified.*need cgroup v2/],
    [{
      devices: [DENY_ALL, { allow: true, type: "c", major: 1, access: "rw" }, {
        allow: false,
        type: "c",
        major: 1,
        minor: 3,
        access: "r",
      }],
    }, /cannot punch hole in existing wildcard rule \[c 1:\* rw\]/],
  ];
  await using box = await boxWith({});
  for (const [resources, message] of refused) {
    await box.write((c) => {
      c.process.terminal = false;
      c.linux.resources = { devices: [DENY_ALL], ...resources };
    });
    const { status, stderr } = await box.runk(["create", box.id]);
    assert.equal(status, 1, JSON.stringify(resources));
    assert.match(stderr.replaceAll('\\"', '"'), message);
  }
});

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

const V1 = ["cpu", "memory", "devices", "freezer", "pids"];
const foreign = (name: string) => new ForeignCgroup(V1.map((controller) => `/sys/fs/cgroup/${controller}/${name}`));

test("an empty cgroup that is there already becomes the container's", NEEDS, async () => {
  const name = `runk-test-${Deno.pid}-there`;
  using _before = foreign(name);
  Deno.writeTextFileSync(`/sys/fs/cgroup/devices/${name}/devices.deny`, "a");
  await using box = await boxWith({ devices: [{ allow: true, access: "rwm" }] }, {
    config: (c) => (c.linux.cgroupsPath = `/${name}`),
  });
  await box.ok(["create", box.id]);
  assert.equal(readCgroup(cgroupPaths(box), "devices", "devices.list"), "a *:* rwm", "not what was left there");
  await box.ok(["delete", "--force", box.id]);
});

test("a cgroup with processes of others is refused, and neither they nor it are touched", NEEDS, async () => {
  const name = `runk-test-${Deno.pid}-occupied`;
  using cgroup = foreign(name);
  const other = new Deno.Command("sleep", { args: ["1000"] }).spawn();
  try {
    const devices = cgroup.directories[2]!;
    move(other.pid, devices);
    await using box = await boxWith({}, { config: (c) => (c.linux.cgroupsPath = `/${name}`) });
    const { status, stderr } = await box.runk(["create", box.id]);
    assert.equal(status, 1);
    assert.match(stderr, /container's cgroup is not empty: 1 process\(es\) found/);
    await box.ok(["delete", "--force", box.id]);
    assert.deepEqual(members(devices), [other.pid]);
    for (const directory of cgroup.directories) assert.ok(exists(directory), `${directory} is still there`);
  } finally {
    other.kill("SIGKILL");
    await other.status;
  }
});

test("a cgroup that is frozen is refused", NEEDS, async () => {
  const name = `runk-test-${Deno.pid}-frozen`;
  using _cgroup = foreign(name);
  Deno.writeTextFileSync(`/sys/fs/cgroup/freezer/${name}/freezer.state`, "FROZEN");
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
    move(other.pid, paths["pids"]!);
    const deleting = box.runk(["delete", "--force", box.id]);
    await until("the other cgroups are gone", () => !exists(paths["devices"]!));
    assert.ok(exists(paths["pids"]!));
    move(other.pid, "/sys/fs/cgroup/pids");
    assert.equal((await deleting).status, 0);
    assert.ok(!exists(paths["pids"]!));
  } finally {
    other.kill("SIGKILL");
    await other.status;
  }
});

test("a container whose cgroups were removed can be inspected, signalled and deleted", NEEDS, async () => {
  await using box = await boxWith({});
  await box.ok(["run", "-d", box.id]);
  const { pid } = await box.state();
  for (const [controller, directory] of Object.entries(cgroupPaths(box))) {
    if (!exists(directory)) continue;
    const root = directory.slice(0, directory.indexOf("/", "/sys/fs/cgroup/".length));
    for (const member of members(directory)) move(member, root);
    Deno.removeSync(directory);
    assert.ok(!exists(directory), controller);
  }
  assert.equal((await box.state()).status, "running");
  assert.equal((await box.ok(["ps", "--format", "json", box.id])).stdout, "null\n");
  assert.match((await box.runk(["pause", box.id])).stderr, /freezer\.state/);
  assert.match((await box.runk(["update", "--pids-limit", "5", box.id])).stderr, /pids\.max/);
  assert.match((await box.runk(["exec", box.id, "true"])).stderr, /cannot open \/\S+\/tasks/);
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
        `sed -n 's/.* \\(\\/sys\\/fs\\/cgroup\\/[^ ]*\\) .* - cgroup2\\{0,1\\} .*/\\1/p' /proc/self/mountinfo |
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
      const { devices } = cgroupPaths(box);
      await until("the bomb has gone off", () => members(devices!).length > 12);
      await box.ok(command === "kill" ? ["kill", box.id, "KILL"] : ["delete", "--force", box.id]);
      assert.deepEqual(exists(devices!) ? members(devices!) : [], []);
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
    const { devices } = cgroupPaths(box);
    assert.equal(members(devices!).length, 1);
    await box.ok(["delete", box.id]);
    assert.ok(!exists(devices!));
  },
);
