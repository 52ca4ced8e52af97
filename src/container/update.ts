/** Changes the limits of a container. */
import { changeLimits, checkUsage } from "../cgroup/change.ts";
import { withWholePercents } from "../cgroup/quota.ts";
import { versionOf } from "../cgroup/paths.ts";
import { idleConflicts } from "../cgroup/v2.ts";
import { resourceWrites } from "../cgroup/writes.ts";
import { RunkError } from "../errors.ts";
import type { Resources } from "../spec/schema.ts";
import { recordResources, resourcesOf } from "../state/resources.ts";
import * as store from "../state/store.ts";
import { withContainer } from "./find.ts";
import { NOT_RUNNING } from "./kill.ts";
import { withLimits } from "./new_record.ts";
import type { Runtime } from "./runtime.ts";
import type { RdtSchemas } from "./update_rdt.ts";

/**
 * Changes what `wanted` has, and records it. When the kernel refuses a value, or the record cannot be written, all limits
 * stay as they were.
 * @throws {RunkError} when the container is not running, or naming the value that is refused
 */
export async function update(
  runtime: Runtime,
  id: string,
  wanted: Resources,
  rdtSchemas: RdtSchemas | undefined,
): Promise<void> {
  await withContainer(runtime, id, async ({ record, status }) => {
    if (status === "stopped") throw new RunkError(NOT_RUNNING);
    const { cgroups } = record.config;
    const merged = merge(resourcesOf(cgroups), wanted);
    const limits = cgroups.Systemd ? withWholePercents(merged) : merged;
    const paths = record.cgroup_paths ?? {};
    const version = versionOf(paths);
    const writes = resourceWrites(version, limits);
    checkUsage(paths, limits);
    if (version === "v2") idleConflicts(limits).forEach(runtime.warn);
    const undo: (() => void | Promise<void>)[] = [];
    try {
      const rdt = rdtSchemas && (await import("./update_rdt.ts")).changeRdt(record, rdtSchemas);
      if (rdt !== undefined) undo.unshift(rdt.undo);
      if (cgroups.Systemd) {
        const { changeContainerUnit } = await import("./systemd.ts");
        undo.unshift(() => changeContainerUnit(runtime, cgroups, resourcesOf(cgroups), version));
        await changeContainerUnit(runtime, cgroups, limits, version);
      }
      undo.unshift(changeLimits(paths, writes));
      store.save(runtime.root, withLimits(rdt?.record ?? record, recordResources(limits)));
    } catch (error) {
      // The error that led here says more than one of these would.
      for (const step of undo) await Promise.try(step).catch(() => {});
      throw error;
    }
  });
}

/**
 * runc's rules, by which each client's requests are made: most limits stay unless they are given; cpus, mems, burst,
 * idle, pids and unified, and the pair of quota and period, are left to the kernel as they are there unless given again.
 */
export function merge(old: Resources, wanted: Resources): Resources {
  const { memory = {}, cpu = {}, pids, blockIO = {}, unified } = wanted;
  // Lifting the limit needs the one on memory and swap lifted, too: not an older one written again.
  const swap = isUnlimited(memory.limit) && memory.swap === undefined ? { swap: 0 } : {};
  const quota = isSet(cpu.quota) ? { quota: cpu.quota } : isSet(cpu.period) ? pick(old.cpu, "quota") : {};
  const period = isSet(cpu.period) ? { period: cpu.period } : isSet(cpu.quota) ? pick(old.cpu, "period") : {};
  return {
    ...pick(old, "hugepageLimits", "network", "rdma"),
    memory: {
      ...old.memory,
      ...pick(memory, "limit", "reservation", "swap", "checkBeforeUpdate"),
      ...swap,
    },
    cpu: {
      // An idle cgroup has no shares of its own.
      ...(cpu.idle !== undefined ? {} : pick(old.cpu, "shares")),
      ...pick(old.cpu, "realtimeRuntime", "realtimePeriod"),
      ...pick(cpu, "shares", "realtimeRuntime", "realtimePeriod", "burst", "cpus", "mems", "idle"),
      ...quota,
      ...period,
    },
    ...(pids === undefined ? {} : { pids }),
    blockIO: {
      ...old.blockIO,
      ...pick(blockIO, "weight", "leafWeight"),
      ...merged("weightDevice", old, blockIO),
      ...merged("throttleReadBpsDevice", old, blockIO),
      ...merged("throttleWriteBpsDevice", old, blockIO),
      ...merged("throttleReadIOPSDevice", old, blockIO),
      ...merged("throttleWriteIOPSDevice", old, blockIO),
    },
    ...(unified === undefined ? {} : { unified }),
  };
}

type BlockIO = NonNullable<Resources["blockIO"]>;
type DeviceList = "weightDevice" | `throttle${"Read" | "Write"}${"Bps" | "IOPS"}Device`;

/** A list of devices, where new entries stand for old ones of the same device. */
function merged(key: DeviceList, { blockIO: old = {} }: Resources, wanted: BlockIO): Partial<BlockIO> {
  const devices = new Map<string, object>();
  for (const device of [...old[key] ?? [], ...wanted[key] ?? []]) {
    const name = `${device.major}:${device.minor}`;
    devices.set(name, { ...devices.get(name), ...device });
  }
  return devices.size === 0 ? {} : { [key]: [...devices.values()] };
}

const isSet = (value: number | bigint | undefined) => value !== undefined && BigInt(value) !== 0n;
const isUnlimited = (value: number | bigint | undefined) => value !== undefined && BigInt(value) === -1n;

/** The members that an object has of those named. */
function pick<T extends object, K extends keyof T>(object: T | undefined, ...keys: K[]): { [P in K]?: T[P] } {
  const result: { [P in K]?: T[P] } = {};
  for (const key of keys) if (object?.[key] !== undefined) result[key] = object[key];
  return result;
}
