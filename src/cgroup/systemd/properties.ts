/**
 * linux.resources -> properties of a systemd unit, the same values that are written into the cgroup's files: systemd
 * writes its own again whenever its configuration is loaded anew. Pure.
 * Source: systemd.resource-control(5), org.freedesktop.systemd1(5); runc for the conversions.
 */
import { parseIdList } from "../../spec/id_list.ts";
import type { Resources } from "../../spec/schema.ts";
import { quotaPerSecond } from "../quota.ts";
import { type DeviceAccess, deviceAccess, deviceRules } from "../devices.ts";
import type { CgroupVersion } from "../paths.ts";
import { cpuWeight, ioWeight, isIdleFile, isIdleValue, swapMax } from "../v2.ts";
import type { Value, Variant } from "./dbus.ts";

export type Property = readonly [name: string, value: Variant];
type Integer = number | bigint;

/** What properties depend on besides the resources. */
export interface SystemdFacts {
  /** Of systemd: 252. */
  readonly version: number;
  readonly cgroups: CgroupVersion;
  /** Text of /proc/devices: which drivers have which major numbers. */
  readonly devices: string;
}

const INFINITY = 2n ** 64n - 1n;
const DEFAULT_PERIOD = 100_000n;
/** Since which version systemd has which property. */
const SINCE = { CPUQuotaPeriodUSec: 242, AllowedCPUs: 244, idleWeight: 252 } as const;

const property = (name: string, type: string, value: Value): Property => [name, { type, value }];
const isSet = (value: Integer | undefined): value is Integer => value !== undefined && BigInt(value) !== 0n;
const limit = (value: Integer): bigint => (BigInt(value) < 0n ? INFINITY : BigInt(value));

/** Properties of limits and devices. */
export function resourceProperties(resources: Resources, facts: SystemdFacts): Property[] {
  return [
    ...deviceProperties(deviceAccess(deviceRules(resources)), facts.devices),
    ...limitProperties(resources, facts),
  ];
}

/** Properties of limits alone: those that `update` may change. */
export function limitProperties(resources: Resources, facts: SystemdFacts): Property[] {
  const own = facts.cgroups === "v2" ? v2(resources, facts) : v1(resources);
  const all = [
    ...own,
    ...quota(resources.cpu?.quota ?? 0, resources.cpu?.period ?? 0, facts.version),
    ...cpuset(resources.cpu, facts),
    ...(resources.pids?.limit === undefined ? [] : [property("TasksMax", "t", tasks(resources.pids.limit))]),
    ...(facts.cgroups === "v2" ? unified(resources.unified ?? {}, facts) : []),
  ];
  // Of a property that is given twice, the later value holds.
  return [...new Map(all.map((each) => [each[0], each])).values()];
}

const tasks = (value: Integer): bigint => (BigInt(value) === 0n ? 1n : limit(value));

function v1({ memory, cpu, blockIO }: Resources): Property[] {
  const result: Property[] = [];
  if (isSet(memory?.limit)) result.push(property("MemoryLimit", "t", limit(memory.limit)));
  if (isSet(cpu?.shares)) result.push(property("CPUShares", "t", BigInt(cpu.shares)));
  if (isSet(blockIO?.weight)) result.push(property("BlockIOWeight", "t", BigInt(blockIO.weight)));
  return result;
}

function v2({ memory, cpu, blockIO }: Resources, { version }: SystemdFacts): Property[] {
  const result: Property[] = [];
  if (isSet(memory?.limit)) result.push(property("MemoryMax", "t", limit(memory.limit)));
  const swap = swapMax(memory?.swap ?? 0, memory?.limit ?? 0);
  if (swap !== undefined) result.push(property("MemorySwapMax", "t", max(swap)));
  if (isSet(memory?.reservation)) result.push(property("MemoryLow", "t", limit(memory.reservation)));
  const isIdle = isIdleValue(cpu?.idle);
  // A weight of 0 is systemd's word for idle.
  if (isIdle && version >= SINCE.idleWeight) result.push(property("CPUWeight", "t", 0n));
  else if (isSet(cpu?.shares) && !isIdle) result.push(property("CPUWeight", "t", BigInt(cpuWeight(cpu.shares))));
  return [...result, ...io(blockIO)];
}

const max = (text: string): bigint => (text === "max" ? INFINITY : BigInt(text));

function io(blockIO: Resources["blockIO"]): Property[] {
  if (blockIO === undefined) return [];
  const result: Property[] = [];
  const device = (major: Integer, minor: Integer) => `/dev/block/${major}:${minor}`;
  if (isSet(blockIO.weight)) result.push(property("IOWeight", "t", BigInt(ioWeight(blockIO.weight))));
  const weights = (blockIO.weightDevice ?? []).filter(({ weight }) => isSet(weight));
  if (weights.length > 0) {
    const list = weights.map(({ major, minor, weight }) => [device(major, minor), BigInt(ioWeight(weight!))]);
    result.push(property("IODeviceWeight", "a(st)", list));
  }
  const throttles = {
    throttleReadBpsDevice: "IOReadBandwidthMax",
    throttleWriteBpsDevice: "IOWriteBandwidthMax",
    throttleReadIOPSDevice: "IOReadIOPSMax",
    throttleWriteIOPSDevice: "IOWriteIOPSMax",
  } as const;
  for (const [key, name] of Object.entries(throttles) as [keyof typeof throttles, string][]) {
    const list = blockIO[key] ?? [];
    if (list.length === 0) continue;
    const rates = list.map(({ major, minor, rate }) => [device(major, minor), isSet(rate) ? BigInt(rate) : INFINITY]);
    result.push(property(name, "a(st)", rates));
  }
  return result;
}

function quota(quota: Integer, period: Integer, version: number): Property[] {
  if (!isSet(quota) && !isSet(period)) return [];
  const result: Property[] = [];
  if (isSet(period) && version >= SINCE.CPUQuotaPeriodUSec) {
    result.push(property("CPUQuotaPeriodUSec", "t", BigInt(period)));
  }
  return [...result, property("CPUQuotaPerSecUSec", "t", quotaPerSecond(quota, period) ?? INFINITY)];
}

function cpuset(cpu: Resources["cpu"], { version, cgroups }: SystemdFacts): Property[] {
  if (cgroups !== "v2" || version < SINCE.AllowedCPUs) return [];
  const result: Property[] = [];
  if (cpu?.cpus) result.push(property("AllowedCPUs", "ay", bitMask(cpu.cpus)));
  if (cpu?.mems) result.push(property("AllowedMemoryNodes", "ay", bitMask(cpu.mems)));
  return result.filter(([, { value }]) => (value as number[]).length > 0);
}

/** "0-2,8" -> [7, 1]: a bit for each number, the lowest first; none for a list that there cannot be. */
export function bitMask(list: string): number[] {
  const bytes: number[] = [];
  for (const id of idsOf(list)) {
    while (bytes.length <= id >> 3) bytes.push(0);
    bytes[id >> 3]! |= 1 << (id & 7);
  }
  return bytes;
}

/** What the kernel will refuse is refused by the kernel, in its own words. */
function idsOf(list: string): number[] {
  try {
    return parseIdList(list);
  } catch {
    return [];
  }
}

/** Files of `unified` that systemd has a property for; the others it leaves alone. */
function unified(files: Readonly<Record<string, string>>, facts: SystemdFacts): Property[] {
  const plain: Readonly<Record<string, string>> = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
  };
  return Object.entries(files).flatMap(([file, value]): Property[] => {
    const text = value.trim();
    if (file.startsWith("cpu.") && isIdleFile(files) && facts.version >= SINCE.idleWeight) {
      if (file === "cpu.idle") return [property("CPUWeight", "t", 0n)];
      if (file === "cpu.weight") return [];
    }
    // What the kernel will refuse is refused by the kernel, in its own words.
    if (plain[file] !== undefined) return /^(max|\d+)$/.test(text) ? [property(plain[file], "t", max(text))] : [];
    if (file === "cpuset.cpus") return cpuset({ cpus: text }, facts);
    if (file === "cpuset.mems") return cpuset({ mems: text }, facts);
    const parts = /^(max|\d+)(?: (\d+))?$/.exec(text);
    if (file === "cpu.max" && parts !== null) {
      return quota(parts[1] === "max" ? -1 : BigInt(parts[1]!), BigInt(parts[2] ?? DEFAULT_PERIOD), facts.version);
    }
    return [];
  });
}

/**
 * Devices in systemd's words: paths, groups of drivers from /proc/devices, "char-*". What it has no words for (one minor
 * number of every driver, all but some devices) is left to the filter that replaces systemd's own.
 */
function deviceProperties({ allowsAll, exceptions }: DeviceAccess, devices: string): Property[] {
  if (allowsAll && exceptions.length === 0) {
    return [property("DevicePolicy", "s", "auto"), property("DeviceAllow", "a(ss)", [])];
  }
  const list: [path: string, access: string][] = [];
  for (const { type, major, minor, access } of allowsAll ? [] : exceptions) {
    const kind = type === "b" ? "block" : "char";
    const path = BigInt(major) === -1n
      ? (BigInt(minor) === -1n ? `${kind}-*` : undefined)
      : BigInt(minor) === -1n
      ? driverGroup(devices, kind, major)
      : `/dev/${kind}/${major}:${minor}`;
    if (path !== undefined) list.push([path, access]);
  }
  return [property("DevicePolicy", "s", "strict"), property("DeviceAllow", "a(ss)", list)];
}

/** "char-pts" for 136: the driver of a major number, of /proc/devices. */
function driverGroup(devices: string, kind: "char" | "block", major: Integer): string | undefined {
  const [characters = "", blocks = ""] = devices.split("Block devices:");
  const name = new RegExp(`^\\s*${major} (.+)$`, "m").exec(kind === "char" ? characters : blocks)?.[1];
  return name === undefined ? undefined : `${kind}-${name}`;
}
