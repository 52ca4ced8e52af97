/** Limits between the names of config.json and those of runc's state.json ("config.cgroups"). Pure. */
import type { Resources } from "../spec/schema.ts";

type Integer = number | bigint;
type BlockIO = NonNullable<Resources["blockIO"]>;

/** What state.json says of limits; absent and 0 both stand for a limit that is not set. */
export interface ResourcesRecord {
  readonly memory?: Integer | undefined;
  readonly memory_reservation?: Integer | undefined;
  readonly memory_swap?: Integer | undefined;
  readonly memory_swappiness?: Integer | undefined;
  readonly memory_check_before_update?: boolean | undefined;
  readonly oom_kill_disable?: boolean | undefined;
  readonly cpu_shares?: Integer | undefined;
  readonly cpu_quota?: Integer | undefined;
  readonly cpu_burst?: Integer | undefined;
  readonly cpu_period?: Integer | undefined;
  readonly cpu_rt_quota?: Integer | undefined;
  readonly cpu_rt_period?: Integer | undefined;
  readonly cpuset_cpus?: string | undefined;
  readonly cpuset_mems?: string | undefined;
  readonly cpu_idle?: Integer | undefined;
  readonly pids_limit?: Integer | undefined;
  readonly blkio_weight?: number | undefined;
  readonly blkio_leaf_weight?: number | undefined;
  readonly blkio_weight_device?: BlockIO["weightDevice"] | undefined;
  readonly blkio_throttle_read_bps_device?: BlockIO["throttleReadBpsDevice"] | undefined;
  readonly blkio_throttle_write_bps_device?: BlockIO["throttleWriteBpsDevice"] | undefined;
  readonly blkio_throttle_read_iops_device?: BlockIO["throttleReadIOPSDevice"] | undefined;
  readonly blkio_throttle_write_iops_device?: BlockIO["throttleWriteIOPSDevice"] | undefined;
  readonly hugetlb_limit?: readonly { readonly page_size: string; readonly limit: Integer }[] | undefined;
  readonly net_cls_classid_u?: number | undefined;
  readonly net_prio_ifpriomap?: readonly { readonly interface: string; readonly priority: number }[] | undefined;
  readonly rdma?:
    | Readonly<Record<string, { readonly hca_handles?: number; readonly hca_objects?: number }>>
    | undefined;
  readonly unified?: Readonly<Record<string, string>> | undefined;
}

/** Limits of a config as they are recorded, those that are not set as undefined; device rules are not among them. */
export function recordResources(resources: Resources): ResourcesRecord {
  const { memory, cpu, pids, blockIO, hugepageLimits, network, rdma, unified } = resources;
  return {
    memory: memory?.limit,
    memory_reservation: memory?.reservation,
    memory_swap: memory?.swap,
    memory_swappiness: memory?.swappiness,
    memory_check_before_update: memory?.checkBeforeUpdate,
    oom_kill_disable: memory?.disableOOMKiller,
    cpu_shares: cpu?.shares,
    cpu_quota: cpu?.quota,
    cpu_burst: cpu?.burst,
    cpu_period: cpu?.period,
    cpu_rt_quota: cpu?.realtimeRuntime,
    cpu_rt_period: cpu?.realtimePeriod,
    cpuset_cpus: cpu?.cpus,
    cpuset_mems: cpu?.mems,
    cpu_idle: cpu?.idle,
    pids_limit: pids?.limit,
    blkio_weight: blockIO?.weight,
    blkio_leaf_weight: blockIO?.leafWeight,
    // runc's own spelling there is leafWeight, too.
    blkio_weight_device: blockIO?.weightDevice,
    blkio_throttle_read_bps_device: blockIO?.throttleReadBpsDevice,
    blkio_throttle_write_bps_device: blockIO?.throttleWriteBpsDevice,
    blkio_throttle_read_iops_device: blockIO?.throttleReadIOPSDevice,
    blkio_throttle_write_iops_device: blockIO?.throttleWriteIOPSDevice,
    hugetlb_limit: hugepageLimits?.map(({ pageSize, limit }) => ({ page_size: pageSize, limit })),
    net_cls_classid_u: network?.classID,
    net_prio_ifpriomap: network?.priorities?.map(({ name, priority }) => ({ interface: name, priority })),
    rdma: rdma &&
      mapValues(rdma, ({ hcaHandles, hcaObjects }) => given({ hca_handles: hcaHandles, hca_objects: hcaObjects })),
    unified,
  };
}

/** The limits that a record holds, as a config would have them. */
export function resourcesOf(record: ResourcesRecord): Resources {
  return given({
    memory: given({
      limit: set(record.memory),
      reservation: set(record.memory_reservation),
      swap: set(record.memory_swap),
      swappiness: record.memory_swappiness,
      checkBeforeUpdate: record.memory_check_before_update,
      disableOOMKiller: record.oom_kill_disable,
    }),
    cpu: given({
      shares: set(record.cpu_shares),
      quota: set(record.cpu_quota),
      burst: record.cpu_burst,
      period: set(record.cpu_period),
      realtimeRuntime: set(record.cpu_rt_quota),
      realtimePeriod: set(record.cpu_rt_period),
      cpus: record.cpuset_cpus || undefined,
      mems: record.cpuset_mems || undefined,
      idle: record.cpu_idle,
    }),
    // Older runc writes 0 where there is no limit.
    pids: given({ limit: set(record.pids_limit) }),
    blockIO: given({
      weight: set(record.blkio_weight),
      leafWeight: set(record.blkio_leaf_weight),
      weightDevice: record.blkio_weight_device,
      throttleReadBpsDevice: record.blkio_throttle_read_bps_device,
      throttleWriteBpsDevice: record.blkio_throttle_write_bps_device,
      throttleReadIOPSDevice: record.blkio_throttle_read_iops_device,
      throttleWriteIOPSDevice: record.blkio_throttle_write_iops_device,
    }),
    hugepageLimits: record.hugetlb_limit?.map(({ page_size, limit }) => ({ pageSize: page_size, limit })),
    network: given({
      classID: set(record.net_cls_classid_u),
      priorities: record.net_prio_ifpriomap?.map(({ interface: name, priority }) => ({ name, priority })),
    }),
    rdma: record.rdma &&
      mapValues(
        record.rdma,
        ({ hca_handles, hca_objects }) => given({ hcaHandles: hca_handles, hcaObjects: hca_objects }),
      ),
    unified: record.unified && { ...record.unified },
  });
}

const set = <T extends Integer>(value: T | undefined): T | undefined =>
  value === undefined || BigInt(value) === 0n ? undefined : value;

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the members that are undefined. */
export const given = <T extends object>(members: T): Given<T> =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Given<T>;

const mapValues = <A, B>(record: Readonly<Record<string, A>>, map: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
