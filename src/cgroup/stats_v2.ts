/**
 * Statistics from the files of a v2 cgroup, in the terms that runc and its clients keep from v1: times in nanoseconds,
 * swap together with memory. Source: Documentation/admin-guide/cgroup-v2.rst, Documentation/accounting/psi.rst.
 */
import { E } from "../abi/errno.ts";
import { RunkError } from "../errors.ts";
import { exists, readIfThere } from "../files.ts";
import { SortedMap } from "../spec/json.ts";
import type { BlkioEntry, CgroupStats, MemoryEntry, Pressure, PressureStats } from "./stats.ts";

const UNLIMITED = 2n ** 64n - 1n;
const MICROSECOND = 1000n;

/** Reads a file of the cgroup; undefined when the kernel (or the cgroup, its controller being off) has none. */
type Read = (file: string) => string | undefined;

/** @throws {RunkError} when the cgroup is gone, or a file cannot be read */
export function readStatsV2(directory: string): CgroupStats {
  if (!exists(directory)) throw new RunkError(`the container's cgroup ${directory} is gone`);
  return statsV2((file) => readFile(`${directory}/${file}`), hugePageSizes(directory));
}

/** The statistics that files make. Pure but for `read`; `pageSizes` are those of hugetlb.SIZE.* files. */
export function statsV2(read: Read, pageSizes: readonly string[]): CgroupStats {
  return {
    cpu: cpuStats(read),
    cpuset: {
      cpu_exclusive: 0,
      mem_hardwall: 0,
      mem_exclusive: 0,
      memory_migrate: 0,
      memory_spread_page: 0,
      memory_spread_slab: 0,
      memory_pressure: 0,
      sched_load_balance: 0,
      sched_relax_domain_level: 0,
    },
    memory: memoryStats(read),
    pids: { current: unlessZero(number(read("pids.current"))), limit: pidsLimit(read("pids.max")) },
    blkio: { ...ioStats(read("io.stat") ?? ""), psi: pressure(read("io.pressure")) },
    hugetlb: new SortedMap(Object.fromEntries(pageSizes.map((size) => [size, hugetlbStats(read, size)]))),
  };
}

const number = (text: string | undefined): bigint | undefined => {
  const word = text?.trim();
  return word === undefined || word === "" ? undefined : word === "max" ? UNLIMITED : BigInt(word);
};
const unlessZero = (value: bigint | undefined) => (value === 0n ? undefined : value);

const pidsLimit = (text: string | undefined) => {
  const limit = number(text);
  return limit === UNLIMITED ? undefined : unlessZero(limit);
};

/** Lines of a name and a number. */
function flatKeyed(text: string | undefined): Map<string, bigint> {
  const lines = (text ?? "").split("\n").map((line) => line.split(" ")).filter(([name, value]) => name && value);
  return new Map(lines.map(([name, value]) => [name!, BigInt(value!)]));
}

function cpuStats(read: Read): CgroupStats["cpu"] {
  const stat = flatKeyed(read("cpu.stat"));
  const nanoseconds = (key: string) => (stat.get(key) ?? 0n) * MICROSECOND;
  return {
    usage: {
      total: unlessZero(nanoseconds("usage_usec")),
      kernel: nanoseconds("system_usec"),
      user: nanoseconds("user_usec"),
    },
    throttling: {
      periods: unlessZero(stat.get("nr_periods")),
      throttledPeriods: unlessZero(stat.get("nr_throttled")),
      throttledTime: unlessZero(nanoseconds("throttled_usec")),
    },
    psi: pressure(read("cpu.pressure")),
  };
}

function memoryStats(read: Read): CgroupStats["memory"] {
  const raw = flatKeyed(read("memory.stat"));
  const [usage, swap] = [memoryEntry(read, "memory"), memoryEntry(read, "memory.swap")];
  const none: MemoryEntry = { limit: 0n, failcnt: 0n };
  return {
    cache: unlessZero(raw.get("file")),
    usage: usage ?? none,
    swap: swap === undefined ? none : {
      ...swap,
      usage: unlessZero((swap.usage ?? 0n) + (usage?.usage ?? 0n)),
      limit: swap.limit === UNLIMITED ? UNLIMITED : min(swap.limit + (usage?.limit ?? 0n), UNLIMITED),
    },
    kernel: none,
    kernelTCP: none,
    raw: raw.size === 0 ? undefined : new SortedMap(Object.fromEntries(raw)),
    psi: pressure(read("memory.pressure")),
  };
}

const min = (a: bigint, b: bigint) => (a < b ? a : b);

function memoryEntry(read: Read, prefix: string): MemoryEntry | undefined {
  const usage = number(read(`${prefix}.current`));
  if (usage === undefined) return undefined;
  return {
    limit: number(read(`${prefix}.max`)) ?? UNLIMITED,
    usage: unlessZero(usage),
    max: unlessZero(number(read(`${prefix}.peak`))),
    failcnt: 0n,
  };
}

/** Which of io.stat's counters has which name on v1. */
const IO_COUNTERS = {
  rbytes: ["ioServiceBytesRecursive", "Read"],
  wbytes: ["ioServiceBytesRecursive", "Write"],
  rios: ["ioServicedRecursive", "Read"],
  wios: ["ioServicedRecursive", "Write"],
} as const;

/** Lines like `8:0 rbytes=90112 wbytes=0 rios=22 wios=0 dbytes=0 dios=0`. */
function ioStats(text: string): CgroupStats["blkio"] {
  const lists: Record<"ioServiceBytesRecursive" | "ioServicedRecursive", BlkioEntry[]> = {
    ioServiceBytesRecursive: [],
    ioServicedRecursive: [],
  };
  for (const line of text.split("\n")) {
    const device = /^(\d+):(\d+) /.exec(line);
    if (device === null) continue;
    for (const [, name, value] of line.matchAll(/(\w+)=(\d+)/g)) {
      if (!(name! in IO_COUNTERS)) continue;
      const [list, op] = IO_COUNTERS[name as keyof typeof IO_COUNTERS];
      const [major, minor] = [Number(device[1]), Number(device[2])];
      lists[list].push({ major: major || undefined, minor: minor || undefined, op, value: unlessZero(BigInt(value!)) });
    }
  }
  const { ioServiceBytesRecursive: bytes, ioServicedRecursive: count } = lists;
  return {
    ioServiceBytesRecursive: bytes.length === 0 ? undefined : bytes,
    ioServicedRecursive: count.length === 0 ? undefined : count,
  };
}

/** Reserved pages, where the kernel counts them; `max` of the events is how often the limit was hit. */
function hugetlbStats(read: Read, size: string): { usage?: bigint | undefined; failcnt: bigint } {
  const reserved = number(read(`hugetlb.${size}.rsvd.current`));
  const usage = reserved ?? number(read(`hugetlb.${size}.current`));
  return { usage: unlessZero(usage), failcnt: flatKeyed(read(`hugetlb.${size}.events`)).get("max") ?? 0n };
}

/** `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`. */
export function pressure(text: string | undefined): PressureStats | undefined {
  if (text === undefined) return undefined;
  const line = (kind: string): Pressure | undefined => {
    const match = new RegExp(`^${kind} avg10=(\\S+) avg60=(\\S+) avg300=(\\S+) total=(\\d+)`, "m").exec(text);
    if (match === null) return undefined;
    const [, avg10, avg60, avg300, total] = match;
    return { avg10: Number(avg10), avg60: Number(avg60), avg300: Number(avg300), total: BigInt(total!) };
  };
  const [some, full] = [line("some"), line("full")];
  return some === undefined && full === undefined ? undefined : { some, full };
}

/** "2MB", "1GB": those of which the cgroup has files. */
function hugePageSizes(directory: string): string[] {
  const sizes = [...Deno.readDirSync(directory)].map(({ name }) => /^hugetlb\.([^.]+)\.current$/.exec(name)?.[1]);
  return sizes.filter((size) => size !== undefined).sort();
}

/** Without pressure accounting its files are there, and cannot be opened. */
const readFile = (path: string) => readIfThere(path, [E.OPNOTSUPP]);
