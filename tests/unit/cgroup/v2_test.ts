/** linux.resources -> files of cgroup v2, and back: statistics from such files. */
import assert from "node:assert/strict";
import {
  cpuMax,
  cpuWeight,
  idleConflicts,
  ioWeight,
  swapMax,
  unsupportedV2,
  writesV2,
} from "../../../src/cgroup/v2.ts";
import { pressure, statsV2 } from "../../../src/cgroup/stats_v2.ts";
import type { Resources } from "../../../src/spec/schema.ts";
import { formatJson } from "../../../src/spec/json.ts";
import { test } from "../../support/test.ts";

const lines = (resources: Resources) => writesV2(resources).map(({ file, value }) => `${file}=${value}`);

test("shares become weights along runc's curve", [], () => {
  const pairs = [[0, 0], [1, 1], [2, 1], [10, 4], [512, 59], [1024, 100], [2048, 174], [262144, 10000], [
    999999,
    10000,
  ]];
  for (const [shares, weight] of pairs) assert.equal(cpuWeight(shares!), weight, `of ${shares} shares`);
});

test("an idle cgroup has no weight, and who asks for both is told", [], () => {
  const both: Resources[] = [{ cpu: { idle: 1, shares: 512 } }, { unified: { "cpu.weight": "8", "cpu.idle": "1" } }];
  for (const resources of both) {
    assert.deepEqual(lines(resources), ["cpu.idle=1"]);
    assert.match(
      idleConflicts(resources).join(),
      /^unable to apply both cpu\.weight and cpu\.idle.*\[\/linux\/resources\//,
    );
  }
  assert.deepEqual(lines({ cpu: { shares: 512 }, unified: { "cpu.idle": "1" } }), ["cpu.idle=1"]);
  assert.deepEqual(lines({ cpu: { idle: 0, shares: 512 } }), ["cpu.idle=0", "cpu.weight=59"]);
  assert.deepEqual(idleConflicts({ cpu: { idle: 0, shares: 512 }, unified: { "cpu.weight": "8" } }), []);
});

test("io weights go from 10..1000 to 1..10000", [], () => {
  assert.deepEqual([10, 100, 500, 1000].map(ioWeight), [1, 910, 4950, 10000]);
});

test("swap is what v1's two limits leave, and -1 and 0 keep their meanings", [], () => {
  assert.equal(swapMax(0, 0), undefined);
  assert.equal(swapMax(0, 1 << 20), undefined);
  assert.equal(swapMax(0, -1), "max", "no limit on memory is none on swap");
  assert.equal(swapMax(-1, 1 << 20), "max");
  assert.equal(swapMax(3 << 20, 1 << 20), String(2 << 20));
  assert.equal(swapMax(1 << 20, 1 << 20), "0");
  assert.throws(() => swapMax(1 << 20, 0), /unable to set swap limit without memory limit/);
  assert.throws(() => swapMax(1 << 19, 1 << 20), /memory\+swap limit should be >= memory limit/);
});

test("quota and period are one file, and either may be missing", [], () => {
  assert.equal(cpuMax(50000, 0), "50000 100000");
  assert.equal(cpuMax(-1, 20000), "max 20000");
  assert.equal(cpuMax(0, 20000), "max 20000");
});

test("every field has its file, swap before memory, unified at the end", [], () => {
  assert.deepEqual(
    lines({
      unified: { "memory.high": "5000000", "io.max": "8:0 rbps=1\n8:16 rbps=2", "cgroup.max.depth": "3" },
      memory: { limit: 8000000, swap: 9000000, reservation: 4000000 },
      cpu: { shares: 1024, quota: 20000, period: 10000, burst: 500, cpus: "0-1", mems: "0", idle: 0 },
      pids: { limit: 20 },
      blockIO: { weight: 10, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1000 }] },
      hugepageLimits: [{ pageSize: "2MB", limit: 2n ** 64n - 1n }],
      rdma: { mlx4_0: { hcaHandles: 3 } },
    }),
    [
      "pids.max=20",
      "memory.swap.max=1000000",
      "memory.max=8000000",
      "memory.low=4000000",
      "io.bfq.weight=10",
      "io.max=8:0 rbps=1000",
      "cpu.idle=0",
      "cpu.weight=100",
      "cpu.max.burst=500",
      "cpu.max=20000 10000",
      "cpuset.cpus=0-1",
      "cpuset.mems=0",
      "hugetlb.2MB.max=18446744073709551615",
      "hugetlb.2MB.rsvd.max=18446744073709551615",
      "rdma.max=mlx4_0 hca_handle=3 hca_object=max",
      "memory.high=5000000",
      "io.max=8:0 rbps=1",
      "io.max=8:16 rbps=2",
      "cgroup.max.depth=3",
    ],
  );
});

test("unified wins over the field for the same file, which is then written once", [], () => {
  assert.deepEqual(lines({ pids: { limit: 10 }, unified: { "pids.max": "99" } }), ["pids.max=99"]);
  assert.throws(() => lines({ unified: { "a/b": "1" } }), /\/linux\/resources\/unified\/a~1b: .* must be a file name/);
});

test("pids 0 is one process, a negative limit none; an idle cgroup has no weight", [], () => {
  assert.deepEqual(lines({ pids: { limit: 0 } }), ["pids.max=1"]);
  assert.deepEqual(lines({ pids: { limit: -1 } }), ["pids.max=max"]);
  assert.deepEqual(lines({ cpu: { idle: 1, shares: 1024 } }), ["cpu.idle=1"]);
});

test("what v2 has no file for is named", [], () => {
  assert.deepEqual(unsupportedV2({ memory: { swappiness: 10, disableOOMKiller: true }, network: { classID: 1 } }), [
    "/linux/resources/memory/swappiness",
    "/linux/resources/memory/disableOOMKiller",
    "/linux/resources/network/classID",
  ]);
  assert.deepEqual(unsupportedV2({ memory: { disableOOMKiller: false, swappiness: 2n ** 64n - 1n } }), []);
});

const PRESSURE = "some avg10=1.50 avg60=0.00 avg300=0.10 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
const FILES: Record<string, string> = {
  "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 4\nnr_throttled 1\nthrottled_usec 70\n",
  "cpu.pressure": PRESSURE,
  "memory.current": "4096\n",
  "memory.max": "8192\n",
  "memory.peak": "6000\n",
  "memory.swap.current": "100\n",
  "memory.swap.max": "max\n",
  "memory.stat": "anon 1000\nfile 2000\n",
  "pids.current": "3\n",
  "pids.max": "max\n",
  "io.stat": "8:0 rbytes=90112 wbytes=0 rios=22 wios=1 dbytes=0 dios=0\n",
  "hugetlb.2MB.current": "0\n",
  "hugetlb.2MB.events": "max 2\n",
};

test("statistics have runc's keys: nanoseconds, memory with swap, reads and writes", [], () => {
  const stats = statsV2((file) => FILES[file], ["2MB"]);
  const { cpu, memory, pids, blkio, hugetlb } = JSON.parse(formatJson(stats));
  assert.deepEqual(cpu.usage, { total: 5000000, kernel: 2000000, user: 3000000 });
  assert.deepEqual(cpu.throttling, { periods: 4, throttledPeriods: 1, throttledTime: 70000 });
  assert.deepEqual(cpu.psi.some, { avg10: 1.5, avg60: 0, avg300: 0.1, total: 1234 });
  assert.equal(memory.cache, 2000);
  assert.deepEqual(memory.usage, { limit: 8192, usage: 4096, max: 6000, failcnt: 0 });
  assert.equal(memory.swap.usage, 4196);
  assert.match(formatJson(stats), /"swap":\{"limit":18446744073709551615,/);
  assert.deepEqual(memory.raw, { anon: 1000, file: 2000 });
  assert.deepEqual(pids, { current: 3 });
  assert.deepEqual(blkio.ioServiceBytesRecursive, [{ major: 8, op: "Read", value: 90112 }, { major: 8, op: "Write" }]);
  assert.deepEqual(hugetlb, { "2MB": { failcnt: 2 } });
});

test("a kernel without pressure accounting leaves it out", [], () => {
  assert.equal(pressure(undefined), undefined);
  assert.equal(statsV2(() => undefined, []).cpu.psi, undefined);
});
