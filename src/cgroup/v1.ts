/**
 * linux.resources -> what to write into which file of the v1 controllers, in order. Pure.
 * Source: Documentation/admin-guide/cgroup-v1, and runc for what absent and zero values mean.
 */
import { E } from "../abi/errno.ts";
import { RunkError } from "../errors.ts";
import type { Resources } from "../spec/schema.ts";
import type { CgroupWrite } from "./writes.ts";

const at = "/linux/resources";

/**
 * Every value of `resources` that v1 has a file for.
 * @throws {RunkError} for `unified`, which only cgroup v2 has
 */
export function writesV1(resources: Resources): CgroupWrite[] {
  if (resources.unified !== undefined && Object.keys(resources.unified).length > 0) {
    throw new RunkError(
      `${at}/unified: invalid configuration: this host has cgroup v1; the unified resources need cgroup v2`,
    );
  }
  return [
    ...cpuset(resources),
    ...memory(resources),
    ...cpu(resources),
    ...pids(resources),
    ...blkio(resources),
    ...hugetlb(resources),
    ...network(resources),
    ...rdma(resources),
  ];
}

const isSet = (value: number | bigint | undefined): value is number | bigint =>
  value !== undefined && BigInt(value) !== 0n;

function cpuset({ cpu }: Resources): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  if (cpu?.cpus) writes.push({ controller: "cpuset", file: "cpuset.cpus", value: cpu.cpus, path: `${at}/cpu/cpus` });
  if (cpu?.mems) writes.push({ controller: "cpuset", file: "cpuset.mems", value: cpu.mems, path: `${at}/cpu/mems` });
  return writes;
}

function memory({ memory }: Resources): CgroupWrite[] {
  if (memory === undefined) return [];
  const writes: CgroupWrite[] = [];
  const write = (file: string, value: number | bigint, key: string, more: Partial<CgroupWrite> = {}) =>
    writes.push({ controller: "memory", file, value: String(value), path: `${at}/memory/${key}`, ...more });
  // Memory before memory+swap: a new cgroup's limits are infinite, and swap must never be below memory.
  if (isSet(memory.limit)) {
    const isUnlimited = BigInt(memory.limit) === -1n;
    write("memory.limit_in_bytes", memory.limit, "limit", {
      ...(isSet(memory.swap) || isUnlimited ? { retryOn: [E.INVAL] } : {}),
      // What CPUs hold in reserve counts as used until they give it back.
      patientOn: [E.BUSY],
    });
  }
  if (isSet(memory.swap)) write("memory.memsw.limit_in_bytes", memory.swap, "swap");
  else if (memory.limit !== undefined && BigInt(memory.limit) === -1n) {
    write("memory.memsw.limit_in_bytes", -1, "limit", { tolerate: [E.NOENT] });
  }
  if (isSet(memory.reservation)) write("memory.soft_limit_in_bytes", memory.reservation, "reservation");
  if (memory.disableOOMKiller) write("memory.oom_control", 1, "disableOOMKiller");
  if (memory.swappiness !== undefined && BigInt(memory.swappiness) !== 2n ** 64n - 1n) {
    if (BigInt(memory.swappiness) > 100n) {
      throw new RunkError(
        `${at}/memory/swappiness: invalid memory swappiness value: ${memory.swappiness} (valid range is 0-100)`,
      );
    }
    write("memory.swappiness", memory.swappiness, "swappiness");
  }
  return writes;
}

function cpu({ cpu }: Resources): CgroupWrite[] {
  if (cpu === undefined) return [];
  const writes: CgroupWrite[] = [];
  const write = (file: string, value: number | bigint, key: string, more: Partial<CgroupWrite> = {}) =>
    writes.push({ controller: "cpu", file, value: String(value), path: `${at}/cpu/${key}`, ...more });
  if (isSet(cpu.shares)) write("cpu.shares", checkedShares(cpu.shares), "shares");
  // A period can be wrong for the quota that still is, and right for the one that comes; the same for burst and real time.
  const whenQuota = isSet(cpu.quota) ? { retryOn: [E.INVAL] } : {};
  if (isSet(cpu.period)) write("cpu.cfs_period_us", cpu.period, "period", whenQuota);
  if (cpu.burst !== undefined) write("cpu.cfs_burst_us", cpu.burst, "burst", { tolerate: [E.NOENT], ...whenQuota });
  if (isSet(cpu.quota)) write("cpu.cfs_quota_us", cpu.quota, "quota");
  if (cpu.idle !== undefined) write("cpu.idle", cpu.idle, "idle");
  const whenRuntime = isSet(cpu.realtimeRuntime) ? { retryOn: [E.INVAL] } : {};
  if (isSet(cpu.realtimePeriod)) write("cpu.rt_period_us", cpu.realtimePeriod, "realtimePeriod", whenRuntime);
  if (isSet(cpu.realtimeRuntime)) write("cpu.rt_runtime_us", cpu.realtimeRuntime, "realtimeRuntime");
  return writes;
}

const LEAST_SHARES = 2n;
const MOST_SHARES = 262144n;

/** The kernel would take the nearest value that it has, and say nothing. */
function checkedShares(shares: number | bigint): number | bigint {
  const wrong = (which: string, bound: bigint) =>
    new RunkError(`the ${which} allowed cpu-shares is ${bound} [config.json ${at}/cpu/shares]`);
  if (BigInt(shares) < LEAST_SHARES) throw wrong("minimum", LEAST_SHARES);
  if (BigInt(shares) > MOST_SHARES) throw wrong("maximum", MOST_SHARES);
  return shares;
}

function pids({ pids }: Resources): CgroupWrite[] {
  if (pids?.limit === undefined) return [];
  const limit = BigInt(pids.limit);
  const value = limit > 0n ? String(limit) : limit === 0n ? "1" : "max";
  return [{ controller: "pids", file: "pids.max", value, path: `${at}/pids/limit` }];
}

function blkio({ blockIO }: Resources): CgroupWrite[] {
  if (blockIO === undefined) return [];
  const writes: CgroupWrite[] = [];
  const write = (file: string, value: string, key: string, otherFile?: string) =>
    writes.push({
      controller: "blkio",
      file,
      value,
      path: `${at}/blockIO/${key}`,
      ...(otherFile === undefined ? {} : { otherFile }),
    });
  if (isSet(blockIO.weight)) write("blkio.weight", String(blockIO.weight), "weight", "blkio.bfq.weight");
  if (isSet(blockIO.leafWeight)) write("blkio.leaf_weight", String(blockIO.leafWeight), "leafWeight");
  blockIO.weightDevice?.forEach(({ major, minor, weight, leafWeight }, i) => {
    if (isSet(weight)) {
      const value = `${major}:${minor} ${weight}`;
      write("blkio.weight_device", value, `weightDevice/${i}/weight`, "blkio.bfq.weight_device");
    }
    if (isSet(leafWeight)) {
      write("blkio.leaf_weight_device", `${major}:${minor} ${leafWeight}`, `weightDevice/${i}/leafWeight`);
    }
  });
  const throttles = {
    throttleReadBpsDevice: "read_bps",
    throttleWriteBpsDevice: "write_bps",
    throttleReadIOPSDevice: "read_iops",
    throttleWriteIOPSDevice: "write_iops",
  } as const;
  for (const [key, name] of Object.entries(throttles) as [keyof typeof throttles, string][]) {
    blockIO[key]?.forEach(({ major, minor, rate }, i) =>
      write(`blkio.throttle.${name}_device`, `${major}:${minor} ${rate}`, `${key}/${i}`)
    );
  }
  return writes;
}

function hugetlb({ hugepageLimits }: Resources): CgroupWrite[] {
  return (hugepageLimits ?? []).flatMap(({ pageSize, limit }, i) => {
    const value = String(limit);
    const common = { controller: "hugetlb", value, path: `${at}/hugepageLimits/${i}` };
    return [
      { ...common, file: `hugetlb.${pageSize}.limit_in_bytes` },
      { ...common, file: `hugetlb.${pageSize}.rsvd.limit_in_bytes`, tolerate: [E.NOENT] },
    ];
  });
}

function network({ network }: Resources): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  if (isSet(network?.classID)) {
    writes.push({
      controller: "net_cls",
      file: "net_cls.classid",
      value: String(network.classID),
      path: `${at}/network/classID`,
    });
  }
  network?.priorities?.forEach(({ name, priority }, i) =>
    writes.push({
      controller: "net_prio",
      file: "net_prio.ifpriomap",
      value: `${name} ${priority}`,
      path: `${at}/network/priorities/${i}`,
    })
  );
  return writes;
}

function rdma({ rdma }: Resources): CgroupWrite[] {
  return Object.entries(rdma ?? {}).map(([device, { hcaHandles, hcaObjects }]) => ({
    controller: "rdma",
    file: "rdma.max",
    value: [
      device,
      ...(hcaHandles === undefined ? [] : [`hca_handle=${hcaHandles}`]),
      ...(hcaObjects === undefined ? [] : [`hca_object=${hcaObjects}`]),
    ].join(" "),
    path: `${at}/rdma/${device}`,
  }));
}
