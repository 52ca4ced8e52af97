/** linux.resources as writes into the files of v1 controllers. */
import assert from "node:assert/strict";
import { writesV1 } from "../../../src/cgroup/v1.ts";
import type { Resources } from "../../../src/spec/schema.ts";
import { test } from "../../support/test.ts";

const writes = (resources: Resources) => writesV1(resources).map(({ file, value }) => `${file}=${value}`);

test("every field has its file, each is written once, and each write says where it comes from", [], () => {
  const all = writesV1({
    memory: { limit: 2n ** 62n, reservation: 1024, swap: -1, swappiness: 0, disableOOMKiller: true },
    cpu: {
      shares: 512,
      quota: 50000,
      burst: 1000,
      period: 100000,
      realtimeRuntime: 5000,
      realtimePeriod: 500000,
      cpus: "0-3",
      mems: "0",
      idle: 0,
    },
    pids: { limit: 10 },
    blockIO: {
      weight: 100,
      leafWeight: 200,
      weightDevice: [{ major: 8, minor: 0, weight: 300, leafWeight: 400 }],
      throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 2n ** 64n - 1n }],
      throttleWriteBpsDevice: [{ major: 8, minor: 1, rate: 2 }],
      throttleReadIOPSDevice: [{ major: 8, minor: 2, rate: 3 }],
      throttleWriteIOPSDevice: [{ major: 8, minor: 3, rate: 4 }],
    },
    hugepageLimits: [{ pageSize: "2MB", limit: 2097152 }],
    network: { classID: 1048577, priorities: [{ name: "eth0", priority: 5 }] },
    rdma: { mlx5_1: { hcaHandles: 2, hcaObjects: 2000 }, mlx4_0: { hcaObjects: 7 } },
  });
  assert.deepEqual(all.map(({ controller, file, value }) => `${controller}: ${file}=${value}`), [
    "cpuset: cpuset.cpus=0-3",
    "cpuset: cpuset.mems=0",
    "memory: memory.limit_in_bytes=4611686018427387904",
    "memory: memory.memsw.limit_in_bytes=-1",
    "memory: memory.soft_limit_in_bytes=1024",
    "memory: memory.oom_control=1",
    "memory: memory.swappiness=0",
    "cpu: cpu.shares=512",
    "cpu: cpu.cfs_period_us=100000",
    "cpu: cpu.cfs_burst_us=1000",
    "cpu: cpu.cfs_quota_us=50000",
    "cpu: cpu.idle=0",
    "cpu: cpu.rt_period_us=500000",
    "cpu: cpu.rt_runtime_us=5000",
    "pids: pids.max=10",
    "blkio: blkio.weight=100",
    "blkio: blkio.leaf_weight=200",
    "blkio: blkio.weight_device=8:0 300",
    "blkio: blkio.leaf_weight_device=8:0 400",
    "blkio: blkio.throttle.read_bps_device=8:0 18446744073709551615",
    "blkio: blkio.throttle.write_bps_device=8:1 2",
    "blkio: blkio.throttle.read_iops_device=8:2 3",
    "blkio: blkio.throttle.write_iops_device=8:3 4",
    "hugetlb: hugetlb.2MB.limit_in_bytes=2097152",
    "hugetlb: hugetlb.2MB.rsvd.limit_in_bytes=2097152",
    "net_cls: net_cls.classid=1048577",
    "net_prio: net_prio.ifpriomap=eth0 5",
    "rdma: rdma.max=mlx5_1 hca_handle=2 hca_object=2000",
    "rdma: rdma.max=mlx4_0 hca_object=7",
  ]);
  for (const { path } of all) assert.match(path, /^\/linux\/resources\//);
});

test("zero means unset, but for those fields where it means something", [], () => {
  assert.deepEqual(
    writes({
      memory: { limit: 0, reservation: 0, swap: 0, disableOOMKiller: false },
      cpu: { shares: 0, quota: 0, period: 0, realtimePeriod: 0, realtimeRuntime: 0, cpus: "", mems: "" },
      blockIO: { weight: 0, leafWeight: 0 },
      network: { classID: 0 },
    }),
    [],
  );
  assert.deepEqual(writes({ cpu: { burst: 0, idle: 0 }, pids: { limit: 0 } }), [
    "cpu.cfs_burst_us=0",
    "cpu.idle=0",
    "pids.max=1",
  ]);
  assert.deepEqual(writes({ pids: { limit: -1 } }), ["pids.max=max"]);
});

test("lifting the limit on memory lifts the one on memory and swap", [], () => {
  assert.deepEqual(writes({ memory: { limit: -1 } }), ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]);
  assert.deepEqual(writes({ memory: { limit: -1, swap: 4096 } }).length, 2);
});

test("what only a later value makes right is tried again, and only then", [], () => {
  const retried = (resources: Resources) =>
    writesV1(resources).filter(({ retryOn }) => retryOn).map(({ file }) => file);
  assert.deepEqual(retried({ cpu: { period: 1000, burst: 5 }, memory: { limit: 5 } }), []);
  assert.deepEqual(retried({ cpu: { period: 1000, burst: 5, quota: 7 }, memory: { limit: 5, swap: 6 } }), [
    "memory.limit_in_bytes",
    "cpu.cfs_period_us",
    "cpu.cfs_burst_us",
  ]);
  assert.deepEqual(retried({ cpu: { realtimePeriod: 1, realtimeRuntime: 1 } }), ["cpu.rt_period_us"]);
});

test("values that the kernel would change, or has no file for, are refused with their place", [], () => {
  assert.throws(
    () => writes({ cpu: { shares: 1 } }),
    /minimum allowed cpu-shares is 2 \[config.json \/linux\/resources\/cpu\/shares\]/,
  );
  assert.throws(() => writes({ cpu: { shares: 262145 } }), /maximum allowed cpu-shares is 262144/);
  assert.throws(() => writes({ memory: { swappiness: 101 } }), /invalid memory swappiness value: 101/);
  assert.deepEqual(writes({ memory: { swappiness: 2n ** 64n - 1n } }), [], "-1 as Go writes it: unset");
  assert.throws(() => writes({ unified: { "memory.high": "5" } }), /unified.*cgroup v2/);
  assert.deepEqual(writes({ unified: {} }), []);
});
