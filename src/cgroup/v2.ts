/**
 * linux.resources -> what to write into which file of a v2 cgroup, in order; values that the specification gives in v1's
 * terms are converted as runc converts them. Pure.
 * Source: Documentation/admin-guide/cgroup-v2.rst, runc (docs/cgroup-v2.md).
 */
import { E } from "../abi/errno.ts";
import { RunkError } from "../errors.ts";
import type { Resources } from "../spec/schema.ts";
import type { CgroupWrite } from "./writes.ts";

const at = "/linux/resources";
type Integer = number | bigint;
type Writer = (file: string, value: Integer | string, key: string, more?: Partial<CgroupWrite>) => void;

/**
 * Every value of `resources` that v2 has a file for; `unified` comes last, and what it names is written only as it says.
 * @throws {RunkError} naming the config path, for values that contradict each other
 */
export function writesV2(resources: Resources): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const writer = (controller: string, part: string): Writer => (file, value, key, more = {}) =>
    writes.push({ controller, file, value: String(value), path: `${at}/${part}${key && `/${key}`}`, ...more });
  pids(resources, writer("pids", "pids"));
  memory(resources, writer("memory", "memory"));
  io(resources, writer("io", "blockIO"));
  cpu(resources, writer("cpu", "cpu"));
  cpuset(resources, writer("cpuset", "cpu"));
  hugetlb(resources, writer("hugetlb", "hugepageLimits"));
  rdma(resources, writer("rdma", "rdma"));
  const last = unified(resources);
  // A file with a line for each device keeps the lines that `unified` does not have.
  const replaced = new Set(last.map(({ file }) => file).filter((file) => !file.startsWith("io.")));
  if (isIdleFile(resources.unified ?? {})) replaced.add("cpu.weight");
  return [...writes.filter(({ file }) => !replaced.has(file)), ...last];
}

/** Places in the config whose values v2 has no file for. */
export function unsupportedV2({ memory, cpu, blockIO, network }: Resources): string[] {
  const all: Readonly<Record<string, unknown>> = {
    "memory/swappiness": memory?.swappiness !== undefined && BigInt(memory.swappiness) !== 2n ** 64n - 1n,
    "memory/disableOOMKiller": memory?.disableOOMKiller,
    "cpu/realtimeRuntime": isSet(cpu?.realtimeRuntime),
    "cpu/realtimePeriod": isSet(cpu?.realtimePeriod),
    "blockIO/leafWeight": isSet(blockIO?.leafWeight),
    "network/classID": isSet(network?.classID),
    "network/priorities": network?.priorities?.length,
  };
  return Object.keys(all).filter((key) => all[key]).map((key) => `${at}/${key}`);
}

/** Warnings of weights that are left out: the kernel takes none for an idle cgroup. */
export function idleConflicts({ cpu, unified = {} }: Resources): string[] {
  const paths = [
    ...(isIdleValue(cpu?.idle) && isSet(cpu?.shares) ? ["cpu/shares"] : []),
    ...(isIdleFile(unified) && unified["cpu.weight"] !== undefined ? ["unified/cpu.weight"] : []),
  ];
  return paths.map((path) => `unable to apply both cpu.weight and cpu.idle, ignoring cpu.weight [${at}/${path}]`);
}

const isSet = (value: Integer | undefined): value is Integer => value !== undefined && BigInt(value) !== 0n;
/** runc's reading of a limit: -1 is none, 0 is not given. */
const limit = (value: Integer): string => (BigInt(value) < 0n ? "max" : String(value));

function pids({ pids }: Resources, write: Writer): void {
  if (pids?.limit === undefined) return;
  const value = BigInt(pids.limit);
  write("pids.max", value > 0n ? value : value === 0n ? 1 : "max", "limit");
}

function memory({ memory }: Resources, write: Writer): void {
  if (memory === undefined) return;
  const swap = swapMax(memory.swap ?? 0, memory.limit ?? 0);
  if (swap !== undefined) {
    // Without swap accounting there is no file, and no swap to limit.
    const absent = swap === "max" || swap === "0" ? { tolerate: [E.NOENT] } : {};
    write("memory.swap.max", swap, isSet(memory.swap) ? "swap" : "limit", absent);
  }
  if (isSet(memory.limit)) write("memory.max", limit(memory.limit), "limit");
  if (isSet(memory.reservation)) write("memory.low", limit(memory.reservation), "reservation");
}

/**
 * memory.swap.max for v1's limit of memory and swap together; undefined when it is not given.
 * @throws {RunkError} when the two do not go together
 */
export function swapMax(swap: Integer, memory: Integer): string | undefined {
  const [both, alone] = [BigInt(swap), BigInt(memory)];
  if (both === 0n) return alone === -1n ? "max" : undefined;
  if (both === -1n) return "max";
  if (alone === 0n || alone === -1n) {
    throw new RunkError(`${at}/memory/swap: unable to set swap limit without memory limit`);
  }
  if (both < alone) throw new RunkError(`${at}/memory/swap: memory+swap limit should be >= memory limit`);
  return String(both - alone);
}

const [SHARES_MIN, SHARES_MAX, WEIGHT_MAX] = [2, 262144, 10000] as const;

/** cpu.weight for v1's shares: a curve through 2 -> 1, 1024 -> 100 and 262144 -> 10000; 0 for none. */
export function cpuWeight(shares: Integer): number {
  const value = Number(shares);
  if (value === 0) return 0;
  if (value <= SHARES_MIN) return 1;
  if (value >= SHARES_MAX) return WEIGHT_MAX;
  const l = Math.log2(value);
  return Math.ceil(10 ** ((l * l + 125 * l) / 612 - 7 / 34));
}

function cpu({ cpu }: Resources, write: Writer): void {
  if (cpu === undefined) return;
  if (cpu.idle !== undefined) write("cpu.idle", cpu.idle, "idle");
  if (isSet(cpu.shares) && !isIdleValue(cpu.idle)) write("cpu.weight", cpuWeight(cpu.shares), "shares");
  const hasMax = isSet(cpu.quota) || isSet(cpu.period);
  if (cpu.burst !== undefined) {
    // A burst can be too large for the quota that still is, and right for the one that comes.
    write("cpu.max.burst", cpu.burst, "burst", { tolerate: [E.NOENT], ...(hasMax ? { retryOn: [E.INVAL] } : {}) });
  }
  if (hasMax) write("cpu.max", cpuMax(cpu.quota ?? 0, cpu.period ?? 0), isSet(cpu.quota) ? "quota" : "period");
}

const DEFAULT_PERIOD = 100000;

/** cpu.max for a quota (none unless positive) in a period (0 for the default one), both in microseconds. */
export const cpuMax = (quota: Integer, period: Integer): string =>
  `${BigInt(quota) > 0n ? quota : "max"} ${isSet(period) ? period : DEFAULT_PERIOD}`;

function cpuset({ cpu }: Resources, write: Writer): void {
  if (cpu?.cpus) write("cpuset.cpus", cpu.cpus, "cpus");
  if (cpu?.mems) write("cpuset.mems", cpu.mems, "mems");
}

/** io.weight, 1 to 10000, for v1's 10 to 1000. */
export const ioWeight = (weight: Integer): number => 1 + Math.floor(((Number(weight) - 10) * 9999) / 990);

function io({ blockIO }: Resources, write: Writer): void {
  if (blockIO === undefined) return;
  // The BFQ scheduler has a file of its own, with v1's range.
  const weigh = (weight: Integer, device: string, key: string) =>
    write("io.bfq.weight", `${device}${weight}`, key, {
      otherFile: "io.weight",
      otherValue: `${device}${ioWeight(weight)}`,
    });
  if (isSet(blockIO.weight)) weigh(blockIO.weight, "", "weight");
  blockIO.weightDevice?.forEach(({ major, minor, weight }, i) => {
    if (isSet(weight)) weigh(weight, `${major}:${minor} `, `weightDevice/${i}/weight`);
  });
  const throttles = {
    throttleReadBpsDevice: "rbps",
    throttleWriteBpsDevice: "wbps",
    throttleReadIOPSDevice: "riops",
    throttleWriteIOPSDevice: "wiops",
  } as const;
  for (const [key, name] of Object.entries(throttles) as [keyof typeof throttles, string][]) {
    blockIO[key]?.forEach(({ major, minor, rate }, i) =>
      write("io.max", `${major}:${minor} ${name}=${isSet(rate) ? rate : "max"}`, `${key}/${i}`)
    );
  }
}

function hugetlb({ hugepageLimits }: Resources, write: Writer): void {
  hugepageLimits?.forEach(({ pageSize, limit }, i) => {
    write(`hugetlb.${pageSize}.max`, limit, String(i));
    write(`hugetlb.${pageSize}.rsvd.max`, limit, String(i), { tolerate: [E.NOENT] });
  });
}

function rdma({ rdma }: Resources, write: Writer): void {
  for (const [device, { hcaHandles, hcaObjects }] of Object.entries(rdma ?? {})) {
    write("rdma.max", `${device} hca_handle=${hcaHandles ?? "max"} hca_object=${hcaObjects ?? "max"}`, device);
  }
}

/** Whether a value for cpu.idle makes a cgroup idle. */
export const isIdleValue = (idle: Integer | undefined): boolean => idle !== undefined && BigInt(idle) === 1n;
/** Whether what is written to a cgroup makes it idle. */
export const isIdleFile = (files: Readonly<Record<string, string>>): boolean => files["cpu.idle"]?.trim() === "1";

/** A value of several lines is written line by line: the kernel takes one at a time. */
function unified({ unified }: Resources): CgroupWrite[] {
  return Object.entries(unified ?? {}).flatMap(([file, value]) => {
    if (file === "cpu.weight" && isIdleFile(unified!)) return [];
    const path = `${at}/unified/${file.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    if (file.includes("/") || file === "" || file === "." || file === "..") {
      throw new RunkError(`${path}: unified resource ${JSON.stringify(file)} must be a file name (no slashes)`);
    }
    const controller = file.slice(0, Math.max(0, file.indexOf(".")));
    return value.split("\n").filter((line, i) => line !== "" || i === 0).map((value) => ({
      controller,
      file,
      value,
      path,
    }));
  });
}
