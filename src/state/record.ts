/**
 * The record of a container in state.json. Keys that runc's file has keep runc's names and meaning, so that either
 * program can list, inspect, signal and delete the other's containers. What only runk needs stands under "runk".
 */
import type { ResourcesRecord } from "./resources.ts";

import type { Linux, Process } from "../spec/schema.ts";

/** Version of the "runk" part; a reader refuses a newer one. */
export const RECORD_VERSION = 1;

export interface HookRecord {
  readonly path: string;
  readonly args?: readonly string[] | null;
  readonly env?: readonly string[] | null;
  readonly dir?: string;
  /** Nanoseconds. */
  readonly timeout?: number | null;
}

/** A bit mask as 64-bit words, least first. */
export type Mask = readonly (number | bigint)[];

export interface CapabilitiesRecord {
  readonly Bounding?: string[];
  readonly Effective?: string[];
  readonly Inheritable?: string[];
  readonly Permitted?: string[];
  readonly Ambient?: string[];
}

/** What exec takes from the container for a process that leaves it out. */
export interface AttributesRecord {
  readonly capabilities?: CapabilitiesRecord;
  readonly umask?: number;
  readonly oom_score_adj?: number;
  readonly process_label?: string;
  readonly mount_label?: string;
  readonly no_new_privileges?: boolean;
  readonly scheduler?: Process["scheduler"] & object;
  readonly io_priority?: Process["ioPriority"] & object;
  /** The number of an execution domain. */
  readonly personality?: { readonly domain: number };
}

/** What few configs have. */
export interface RareConfigRecord {
  readonly exec_cpu_affinity?: { readonly Initial?: Mask | null; readonly Final?: Mask | null };
  readonly memory_policy?: { readonly mode: number; readonly nodes?: Mask | null; readonly flags?: number };
  /** Of a container whose cgroups systemd makes. */
  readonly cgroups?: CgroupsRecord;
  readonly intel_rdt?: Omit<NonNullable<Linux["intelRdt"]>, "l3CacheSchema"> & { readonly l3_cache_schema?: string };
}

export interface RareRecord {
  readonly config: RareConfigRecord;
  /** Directories of the container's resctrl groups. */
  readonly intel_rdt_path?: string;
  readonly intel_rdt_mon_path?: string;
}

/** A container's place, and its limits. */
export interface CgroupsRecord extends ResourcesRecord {
  readonly name?: string;
  readonly path?: string;
  /** Systemd's slice. */
  readonly parent?: string;
  readonly scope_prefix?: string;
  readonly devices?: readonly unknown[] | null;
  readonly Systemd?: boolean;
  readonly Rootless?: boolean;
}

/** A seccomp profile as runc writes it; runk keeps its own in a file beside the record. */
export interface SeccompRecord {
  readonly default_action: number;
  readonly default_errno_ret?: number | null;
  readonly architectures?: readonly string[] | null;
  readonly flags?: readonly string[] | null;
  readonly listener_path?: string;
  readonly listener_metadata?: string;
  readonly syscalls?:
    | readonly {
      readonly name: string;
      readonly action: number;
      readonly errnoRet?: number | null;
      readonly args?:
        | readonly {
          readonly index: number;
          readonly value: number | bigint;
          readonly value_two?: number | bigint;
          readonly op: number;
        }[]
        | null;
    }[]
    | null;
}

/** The part of runc's "config" that later commands read. */
export interface ConfigRecord extends AttributesRecord, RareConfigRecord {
  readonly seccomp?: SeccompRecord | null;
  readonly rootfs: string;
  readonly no_pivot_root?: boolean;
  readonly readonlyfs?: boolean;
  readonly hostname?: string;
  readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
  readonly uid_mappings?:
    | readonly { readonly container_id: number; readonly host_id: number; readonly size: number }[]
    | null;
  readonly gid_mappings?:
    | readonly { readonly container_id: number; readonly host_id: number; readonly size: number }[]
    | null;
  readonly cgroups: CgroupsRecord;
  readonly Hooks?: Readonly<Record<string, readonly HookRecord[] | null>> | null;
  readonly version?: string;
  /** "key=value" of each annotation, then "bundle=" with its path. */
  readonly labels: readonly string[];
  readonly no_new_keyring?: boolean;
  /** What runc keeps of mounts, masked paths and devices. */
  readonly mounts?:
    | readonly { readonly source?: string; readonly destination?: string; readonly device?: string }[]
    | null;
  readonly mask_paths?: readonly string[] | null;
  readonly devices?: readonly { readonly path?: string }[] | null;
  readonly rootless_euid?: boolean;
  readonly rootless_cgroups?: boolean;
}

export interface StateRecord extends Omit<RareRecord, "config"> {
  readonly id: string;
  /** 0 while the process is being made. */
  readonly init_process_pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks after boot. With the pid it names one process for good. */
  readonly init_process_start: number;
  /** RFC 3339, UTC. */
  readonly created: string;
  readonly config: ConfigRecord;
  readonly rootless?: boolean;
  /** v1: controller -> directory; v2 (and the unified hierarchy of a hybrid host): under "". */
  readonly cgroup_paths?: Readonly<Record<string, string>>;
  readonly namespace_paths?: Readonly<Record<string, string>>;
  readonly external_descriptors?: readonly string[];
  /** Absent in a record that runc wrote. */
  readonly runk?: {
    readonly version: number;
    /** Path of the config, where it is not the bundle's config.json. */
    readonly config?: string;
    /** Names in the config have other letters than the specification's. */
    readonly misspelt?: boolean;
  };
}

/** The value of the first label with this key: runc's rule. Of the bundle's path, see bundleOf. */
export function label(record: StateRecord, key: string): string | undefined {
  const prefix = key + "=";
  return record.config.labels?.find((label) => label.startsWith(prefix))?.slice(prefix.length);
}

const BUNDLE = "bundle=";

/**
 * The container's bundle. The runtime's own label comes last: an annotation of that name leads nowhere else (as one would
 * lead runc's exec).
 */
export const bundleOf = ({ config: { labels } }: StateRecord): string =>
  labels?.findLast((label) => label.startsWith(BUNDLE))?.slice(BUNDLE.length) ?? "";

/** The annotations that the labels hold, without the bundle. */
export function annotations(record: StateRecord): Record<string, string> {
  const result = new Map<string, string>();
  for (const entry of record.config.labels ?? []) {
    const equals = entry.indexOf("=");
    const key = equals < 0 ? entry : entry.slice(0, equals);
    if (key !== "bundle" && !result.has(key)) result.set(key, equals < 0 ? "" : entry.slice(equals + 1));
  }
  return Object.fromEntries(result);
}

/** True when the container has its own namespace of this type (runc's names: NEWPID, ...). */
export const hasPrivateNamespace = ({ config }: StateRecord, type: string): boolean =>
  config.namespaces?.some((namespace) => namespace.type === type && !namespace.path) ?? false;
