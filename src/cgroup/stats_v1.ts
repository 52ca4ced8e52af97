/** Statistics from the files of v1 controllers. Source: Documentation/admin-guide/cgroup-v1; which files, as runc. */
import { E } from "../abi/errno.ts";
import { readIfThere } from "../files.ts";
import { SortedMap } from "../spec/json.ts";
import type { CgroupPaths } from "./paths.ts";
import type { BlkioEntry, BlkioStats, CgroupStats, CpusetStats, CpuStats, MemoryEntry, MemoryStats } from "./stats.ts";

/** USER_HZ is 100 on every machine that runk runs on. */
const NANOSECONDS_PER_TICK = 10_000_000n;

/** @throws {RunkError} when a file that there must be cannot be read */
export function readStatsV1(paths: CgroupPaths): CgroupStats {
  return {
    cpu: cpu(paths),
    cpuset: cpuset(paths["cpuset"]),
    memory: memory(paths["memory"]),
    pids: pids(paths["pids"]),
    blkio: blkio(paths["blkio"]),
    hugetlb: new SortedMap(hugetlb(paths["hugetlb"])),
  };
}

function cpu({ cpu, cpuacct }: CgroupPaths): CpuStats {
  const throttled = keyed(cpu, "cpu.stat");
  const throttling = {
    periods: orAbsent(throttled?.get("nr_periods")),
    throttledPeriods: orAbsent(throttled?.get("nr_throttled")),
    throttledTime: orAbsent(throttled?.get("throttled_time")),
  };
  return { usage: cpuUsage(cpuacct), throttling: isAllAbsent(throttling) ? undefined : throttling };
}

function cpuUsage(directory: string | undefined): CpuStats["usage"] {
  const ticks = keyed(directory, "cpuacct.stat");
  if (ticks === undefined) return undefined;
  const list = (text: string | undefined) => {
    const values = words(text).map(BigInt);
    return values.length === 0 ? undefined : values;
  };
  // "cpu user system", then a line for each CPU.
  const modes = lines(read(directory, "cpuacct.usage_all")).slice(1).map(words);
  return {
    total: orAbsent(number(directory, "cpuacct.usage")),
    percpu: list(read(directory, "cpuacct.usage_percpu")),
    percpu_kernel: list(modes.map(([, , system]) => system).join(" ")),
    percpu_user: list(modes.map(([, user]) => user).join(" ")),
    kernel: (ticks.get("system") ?? 0n) * NANOSECONDS_PER_TICK,
    user: (ticks.get("user") ?? 0n) * NANOSECONDS_PER_TICK,
  };
}

function cpuset(directory: string | undefined): CpusetStats {
  const flag = (name: string) => Number(number(directory, `cpuset.${name}`) ?? 0n);
  return {
    cpus: parseList(read(directory, "cpuset.cpus")),
    cpu_exclusive: flag("cpu_exclusive"),
    mems: parseList(read(directory, "cpuset.mems")),
    mem_hardwall: flag("mem_hardwall"),
    mem_exclusive: flag("mem_exclusive"),
    memory_migrate: flag("memory_migrate"),
    memory_spread_page: flag("memory_spread_page"),
    memory_spread_slab: flag("memory_spread_slab"),
    memory_pressure: flag("memory_pressure"),
    sched_load_balance: flag("sched_load_balance"),
    sched_relax_domain_level: flag("sched_relax_domain_level"),
  };
}

function memory(directory: string | undefined): MemoryStats {
  const raw = keyed(directory, "memory.stat");
  return {
    cache: orAbsent(raw?.get("cache")),
    usage: memoryEntry(directory, "memory"),
    swap: memoryEntry(directory, "memory.memsw"),
    kernel: memoryEntry(directory, "memory.kmem"),
    kernelTCP: memoryEntry(directory, "memory.kmem.tcp"),
    raw: raw === undefined || raw.size === 0 ? undefined : new SortedMap(Object.fromEntries(raw)),
  };
}

/** Swap and kernel memory are not counted on every kernel. */
function memoryEntry(directory: string | undefined, prefix: string): MemoryEntry | undefined {
  const value = (name: string) => number(directory, `${prefix}.${name}`);
  const usage = value("usage_in_bytes");
  if (usage === undefined) return undefined;
  const limit = value("limit_in_bytes") ?? 0n;
  const [max, failcnt] = [value("max_usage_in_bytes") ?? 0n, value("failcnt") ?? 0n];
  const isZero = limit === 0n && usage === 0n && max === 0n && failcnt === 0n;
  return isZero ? undefined : { limit, usage: orAbsent(usage), max: orAbsent(max), failcnt };
}

function pids(directory: string | undefined): CgroupStats["pids"] {
  const limit = read(directory, "pids.max")?.trim();
  return {
    current: orAbsent(number(directory, "pids.current")),
    limit: limit === undefined || limit === "max" ? undefined : orAbsent(BigInt(limit)),
  };
}

const COUNTED = { ioServicedRecursive: "io_serviced", ioServiceBytesRecursive: "io_service_bytes" } as const;
const DETAILED = {
  sectorsRecursive: "sectors",
  ioServiceTimeRecursive: "io_service_time",
  ioWaitTimeRecursive: "io_wait_time",
  ioMergedRecursive: "io_merged",
  ioQueueRecursive: "io_queued",
  ioTimeRecursive: "time",
  ...COUNTED,
} as const;
type BlkioKey = Exclude<keyof BlkioStats, "psi">;

/** Which of these files there are depends on the I/O scheduler and the kernel: the first whole group is taken. */
const BLKIO_GROUPS: readonly Partial<Record<BlkioKey, string>>[] = [
  named("blkio.bfq.", DETAILED, "_recursive"),
  named("blkio.bfq.", COUNTED, "_recursive"),
  named("blkio.", DETAILED, "_recursive"),
  named("blkio.throttle.", COUNTED, "_recursive"),
  named("blkio.throttle.", COUNTED, ""),
];

function named(prefix: string, names: Partial<Record<BlkioKey, string>>, suffix: string) {
  return Object.fromEntries(Object.entries(names).map(([key, name]) => [key, prefix + name + suffix]));
}

function blkio(directory: string | undefined): BlkioStats {
  for (const group of BLKIO_GROUPS) {
    const entries = Object.entries(group).map(([key, file]) => [key, blkioEntries(read(directory, file))] as const);
    // A group without a single entry says nothing; the next one may.
    if (entries.every(([, list]) => list !== undefined && list.length > 0)) return inOrder(Object.fromEntries(entries));
  }
  return {};
}

const inOrder = (stats: Partial<Record<BlkioKey, readonly BlkioEntry[]>>): BlkioStats => ({
  ioServiceBytesRecursive: stats.ioServiceBytesRecursive,
  ioServicedRecursive: stats.ioServicedRecursive,
  ioQueueRecursive: stats.ioQueueRecursive,
  ioServiceTimeRecursive: stats.ioServiceTimeRecursive,
  ioWaitTimeRecursive: stats.ioWaitTimeRecursive,
  ioMergedRecursive: stats.ioMergedRecursive,
  ioTimeRecursive: stats.ioTimeRecursive,
  sectorsRecursive: stats.sectorsRecursive,
});

/** "8:0 Read 4096" or "8:0 4096"; the line for all devices together is left out. */
function blkioEntries(text: string | undefined): BlkioEntry[] | undefined {
  if (text === undefined) return undefined;
  return lines(text).flatMap((line) => {
    const match = /^(\d+):(\d+)(?: (\D\S*))? (\d+)$/.exec(line);
    if (match === null) return [];
    const [, major, minor, op, value] = match;
    return [{
      major: Number(major) || undefined,
      minor: Number(minor) || undefined,
      op,
      value: orAbsent(BigInt(value!)),
    }];
  });
}

/** What the controller counts, by page size. Reservations are what limits work on; older kernels have usage only. */
function hugetlb(directory: string | undefined): Record<string, object> {
  if (directory === undefined) return {};
  const result: Record<string, object> = {};
  for (const { name } of Deno.readDirSync(directory)) {
    const size = /^hugetlb\.([^.]+)\.usage_in_bytes$/.exec(name)?.[1];
    if (size === undefined) continue;
    const rsvd = `hugetlb.${size}.rsvd`;
    const prefix = number(directory, `${rsvd}.usage_in_bytes`) === undefined ? `hugetlb.${size}` : rsvd;
    result[size] = {
      usage: orAbsent(number(directory, `${prefix}.usage_in_bytes`)),
      max: orAbsent(number(directory, `${prefix}.max_usage_in_bytes`)),
      failcnt: number(directory, `${prefix}.failcnt`) ?? 0n,
    };
  }
  return result;
}

/** A file's text; undefined where there is no such file or cgroup, or nothing that it could show (EOPNOTSUPP). */
const read = (directory: string | undefined, name: string) =>
  directory === undefined ? undefined : readIfThere(`${directory}/${name}`, [E.OPNOTSUPP]);

const lines = (text: string | undefined) => (text ?? "").split("\n").filter((line) => line !== "");
const words = (text: string | undefined) => (text ?? "").split(/\s+/).filter((word) => word !== "");

function number(directory: string | undefined, name: string): bigint | undefined {
  const text = read(directory, name)?.trim();
  return text === undefined || text === "" ? undefined : BigInt(text);
}

/** Lines of a name and a number. */
function keyed(directory: string | undefined, name: string): Map<string, bigint> | undefined {
  const text = read(directory, name);
  return text === undefined ? undefined : new Map(
    lines(text).map((line) => {
      const [key, value] = words(line);
      return [key!, BigInt(value ?? 0)];
    }),
  );
}

/** "0-2,5": [0, 1, 2, 5]. */
function parseList(text: string | undefined): number[] | undefined {
  const list = (text ?? "").trim().split(",").filter((part) => part !== "").flatMap((part) => {
    const [first, last = first] = part.split("-").map(Number) as [number, number?];
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  return list.length === 0 ? undefined : list;
}

/** Go leaves zeros out of JSON. */
const orAbsent = (value: bigint | undefined) => (value === 0n ? undefined : value);
const isAllAbsent = (object: object) => Object.values(object).every((value) => value === undefined);
