/** What an update makes of the limits that there are, and how limits are recorded. */
import assert from "node:assert/strict";
import { merge } from "../../../src/container/update.ts";
import type { Resources } from "../../../src/spec/schema.ts";
import { recordResources, resourcesOf } from "../../../src/state/resources.ts";
import { test } from "../../support/test.ts";

const OLD: Resources = {
  memory: { limit: 100, swap: 200, reservation: 50, swappiness: 10, disableOOMKiller: true },
  cpu: {
    shares: 512,
    quota: 5000,
    period: 10000,
    burst: 7,
    cpus: "0",
    mems: "0",
    realtimePeriod: 9,
    realtimeRuntime: 8,
  },
  pids: { limit: 30 },
  blockIO: { weight: 100, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 5 }, { major: 8, minor: 1, rate: 6 }] },
  hugepageLimits: [{ pageSize: "2MB", limit: 3 }],
  network: { classID: 4 },
};

test("limits that are not given stay, but for those that runc leaves to the kernel", [], () => {
  assert.deepEqual(merge(OLD, {}), {
    hugepageLimits: OLD.hugepageLimits,
    network: OLD.network,
    memory: OLD.memory,
    cpu: { shares: 512, realtimePeriod: 9, realtimeRuntime: 8 },
    blockIO: OLD.blockIO,
  });
});

test("quota and period go together: one alone keeps the other as it was", [], () => {
  const cpu = (wanted: Resources["cpu"]) => merge(OLD, { cpu: wanted }).cpu;
  assert.deepEqual([cpu({ quota: 1 })?.quota, cpu({ quota: 1 })?.period], [1, 10000]);
  assert.deepEqual([cpu({ period: 2 })?.quota, cpu({ period: 2 })?.period], [5000, 2]);
  assert.deepEqual([cpu({ quota: 1, period: 2 })?.quota, cpu({ quota: 1, period: 2 })?.period], [1, 2]);
  assert.deepEqual([cpu({ shares: 2 })?.quota, cpu({ shares: 2 })?.period], [undefined, undefined]);
});

test("lifting the memory limit does not write an older limit on swap again", [], () => {
  assert.equal(merge(OLD, { memory: { limit: -1 } }).memory?.swap, 0);
  assert.equal(merge(OLD, { memory: { limit: -1, swap: 300 } }).memory?.swap, 300);
  assert.equal(merge(OLD, { memory: { limit: 150 } }).memory?.swap, 200);
});

test("an idle container's shares are not written again", [], () => {
  assert.equal(merge(OLD, { cpu: { idle: 1 } }).cpu?.shares, undefined);
  assert.equal(merge(OLD, { cpu: { idle: 0, shares: 5 } }).cpu?.shares, 5);
});

test("a device's throttle takes the place of its older one; those of others stay", [], () => {
  const { blockIO } = merge(OLD, {
    blockIO: { throttleReadBpsDevice: [{ major: 8, minor: 1, rate: 9 }, { major: 8, minor: 2, rate: 7 }] },
  });
  assert.deepEqual(blockIO?.throttleReadBpsDevice, [
    { major: 8, minor: 0, rate: 5 },
    { major: 8, minor: 1, rate: 9 },
    { major: 8, minor: 2, rate: 7 },
  ]);
  const weights = merge({ blockIO: { weightDevice: [{ major: 8, minor: 0, weight: 1, leafWeight: 2 }] } }, {
    blockIO: { weightDevice: [{ major: 8, minor: 0, weight: 3 }] },
  });
  assert.deepEqual(weights.blockIO?.weightDevice, [{ major: 8, minor: 0, weight: 3, leafWeight: 2 }]);
});

test("devices, huge pages, network and rdma are not changed by an update", [], () => {
  const merged = merge(OLD, {
    devices: [{ allow: true, access: "rwm" }],
    hugepageLimits: [{ pageSize: "1GB", limit: 1 }],
    network: { classID: 99 },
    rdma: { mlx5_0: { hcaHandles: 1 } },
  });
  assert.deepEqual([merged.devices, merged.hugepageLimits, merged.network, merged.rdma], [
    undefined,
    OLD.hugepageLimits,
    OLD.network,
    undefined,
  ]);
});

test("limits come back from their record as they were", [], () => {
  const all: Resources = {
    ...OLD,
    memory: { ...OLD.memory, limit: 9223372036854771712n, checkBeforeUpdate: true },
    cpu: { ...OLD.cpu, idle: 0 },
    rdma: { mlx5_0: { hcaHandles: 1 } },
    network: { classID: 4, priorities: [{ name: "eth0", priority: 1 }] },
    unified: { "memory.high": "5" },
  };
  const { memory, cpu, pids, blockIO, hugepageLimits, network, rdma, unified } = resourcesOf(recordResources(all));
  assert.deepEqual({ memory, cpu, pids, blockIO, hugepageLimits, network, rdma, unified }, all);
});
