/** What a container uses, as `events` prints it: keys and their order are runc's, absent members are left out of JSON. */
import type { SortedMap } from "../spec/json.ts";
import { type CgroupPaths, versionOf } from "./paths.ts";

/** Bytes. A limit that there is not is 9223372036854771712 on v1, and 2^64-1 on v2. */
export interface MemoryEntry {
  readonly limit: bigint;
  readonly usage?: bigint | undefined;
  readonly max?: bigint | undefined;
  readonly failcnt: bigint;
}

export interface BlkioEntry {
  readonly major?: number | undefined;
  readonly minor?: number | undefined;
  readonly op?: string | undefined;
  readonly value?: bigint | undefined;
}

export interface Pressure {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  /** Microseconds. */
  readonly total: bigint;
}

export interface PressureStats {
  readonly some?: Pressure | undefined;
  readonly full?: Pressure | undefined;
}

export interface CpuStats {
  /** Nanoseconds. */
  readonly usage?: {
    readonly total?: bigint | undefined;
    readonly percpu?: readonly bigint[] | undefined;
    readonly percpu_kernel?: readonly bigint[] | undefined;
    readonly percpu_user?: readonly bigint[] | undefined;
    readonly kernel: bigint;
    readonly user: bigint;
  } | undefined;
  readonly throttling?: {
    readonly periods?: bigint | undefined;
    readonly throttledPeriods?: bigint | undefined;
    readonly throttledTime?: bigint | undefined;
  } | undefined;
  readonly psi?: PressureStats | undefined;
}

export interface CpusetStats {
  readonly cpus?: readonly number[] | undefined;
  readonly cpu_exclusive: number;
  readonly mems?: readonly number[] | undefined;
  readonly mem_hardwall: number;
  readonly mem_exclusive: number;
  readonly memory_migrate: number;
  readonly memory_spread_page: number;
  readonly memory_spread_slab: number;
  readonly memory_pressure: number;
  readonly sched_load_balance: number;
  readonly sched_relax_domain_level: number;
}

export interface MemoryStats {
  readonly cache?: bigint | undefined;
  readonly usage?: MemoryEntry | undefined;
  readonly swap?: MemoryEntry | undefined;
  readonly kernel?: MemoryEntry | undefined;
  readonly kernelTCP?: MemoryEntry | undefined;
  /** The lines of memory.stat. */
  readonly raw?: SortedMap | undefined;
  readonly psi?: PressureStats | undefined;
}

export interface PidsStats {
  readonly current?: bigint | undefined;
  /** Absent where there is none. */
  readonly limit?: bigint | undefined;
}

export interface BlkioStats {
  readonly ioServiceBytesRecursive?: readonly BlkioEntry[] | undefined;
  readonly ioServicedRecursive?: readonly BlkioEntry[] | undefined;
  readonly ioQueueRecursive?: readonly BlkioEntry[] | undefined;
  readonly ioServiceTimeRecursive?: readonly BlkioEntry[] | undefined;
  readonly ioWaitTimeRecursive?: readonly BlkioEntry[] | undefined;
  readonly ioMergedRecursive?: readonly BlkioEntry[] | undefined;
  readonly ioTimeRecursive?: readonly BlkioEntry[] | undefined;
  readonly sectorsRecursive?: readonly BlkioEntry[] | undefined;
  readonly psi?: PressureStats | undefined;
}

export interface CgroupStats {
  readonly cpu: CpuStats;
  readonly cpuset: CpusetStats;
  readonly memory: MemoryStats;
  readonly pids: PidsStats;
  readonly blkio: BlkioStats;
  /** Page size ("2MB") -> bytes. */
  readonly hugetlb: SortedMap;
}

/**
 * Reads a container's statistics. A file that the kernel lacks leaves its members out.
 * @throws {RunkError} when a file cannot be read, or the cgroup is gone
 */
export async function readStats(paths: CgroupPaths): Promise<CgroupStats> {
  return versionOf(paths) === "v2"
    ? (await import("./stats_v2.ts")).readStatsV2(paths[""]!)
    : (await import("./stats_v1.ts")).readStatsV1(paths);
}
