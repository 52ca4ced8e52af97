/** What state.json says of a new container. */
import { call } from "../../ffi/call.ts";
import { Memory } from "../../ffi/memory.ts";
import { NAMESPACES } from "../abi/flags.ts";
import { cgroupPaths } from "../cgroup/paths.ts";
import { type CreateRequest, namespacesOf, rootfsPath } from "../plan/recipe.ts";
import { HOOK_KINDS } from "../spec/hook_kinds.ts";
import { OCI_VERSION } from "../spec/version.ts";
import type { Hook, IdMappings, Spec } from "../spec/schema.ts";
import {
  type AttributesRecord,
  type HookRecord,
  type RareRecord,
  RECORD_VERSION,
  type StateRecord,
} from "../state/record.ts";
import type { ResourcesRecord } from "../state/resources.ts";

const NANOSECONDS = 1e9;
/** runc's names of namespaces. */
const NAMES = {
  user: "NEWUSER",
  pid: "NEWPID",
  ipc: "NEWIPC",
  uts: "NEWUTS",
  network: "NEWNET",
  cgroup: "NEWCGROUP",
  time: "NEWTIME",
  mount: "NEWNS",
} as const;

/** The record before there is a process. */
export function newRecord(
  spec: Spec,
  request: CreateRequest,
  { rare, configFile, isMisspelt }: {
    readonly rare: RareRecord | undefined;
    readonly configFile: string | undefined;
    readonly isMisspelt?: boolean;
  },
): StateRecord {
  const namespaces = [...namespacesOf(spec).values()];
  const paths = cgroupPaths(request.cgroups);
  const { linux } = spec;
  const hasUserNamespace = namespaces.some(({ type }) => type === "user");
  return {
    id: request.id,
    init_process_pid: 0,
    init_process_start: 0,
    created: now(),
    config: {
      no_pivot_root: request.noPivot,
      rootfs: rootfsPath({ spec, request }),
      readonlyfs: spec.root?.readonly ?? false,
      hostname: spec.hostname ?? "",
      namespaces: namespaces.map(({ type, path }) => ({ type: NAMES[type], path: path ?? "" })),
      uid_mappings: hasUserNamespace ? mappings(linux?.uidMappings) : null,
      gid_mappings: hasUserNamespace ? mappings(linux?.gidMappings) : null,
      cgroups: {
        name: linux?.cgroupsPath ? "" : request.id,
        path: linux?.cgroupsPath ?? "",
        // Not null: runc takes a config without any resources for a broken one.
        devices: [],
        Systemd: false,
        Rootless: false,
      },
      Hooks: Object.fromEntries(
        HOOK_KINDS.filter((kind) => spec.hooks?.[kind] !== undefined)
          .map((kind) => [kind, spec.hooks![kind]!.map(hookRecord)]),
      ),
      version: OCI_VERSION,
      labels: [
        ...Object.entries(spec.annotations ?? {}).map(([key, value]) => `${key}=${value}`),
        `bundle=${request.bundle}`,
      ],
      no_new_keyring: request.noNewKeyring,
      ...attributes(spec),
      ...rare?.config,
    },
    ...(rare?.intel_rdt_path === undefined ? {} : { intel_rdt_path: rare.intel_rdt_path }),
    ...(rare?.intel_rdt_mon_path === undefined ? {} : { intel_rdt_mon_path: rare.intel_rdt_mon_path }),
    rootless: false,
    cgroup_paths: paths,
    namespace_paths: {},
    runk: {
      version: RECORD_VERSION,
      ...(configFile === undefined ? {} : { config: configFile }),
      ...(isMisspelt ? { misspelt: true } : {}),
    },
  };
}

const PERSONALITIES: Readonly<Record<string, number>> = { LINUX: 0, LINUX32: 8 };

/** What exec takes from the container, however its bundle may change. */
function attributes({ process = {}, linux = {} }: Spec): AttributesRecord {
  const { capabilities: sets, scheduler, ioPriority, oomScoreAdj, user } = process;
  const capabilities = sets && {
    Bounding: sets.bounding,
    Effective: sets.effective,
    Inheritable: sets.inheritable,
    Permitted: sets.permitted,
    Ambient: sets.ambient,
  };
  const { personality, mountLabel } = linux;
  const domain = personality && { domain: PERSONALITIES[personality.domain] };
  const members = {
    capabilities,
    umask: user?.umask,
    oom_score_adj: oomScoreAdj,
    process_label: process.selinuxLabel || undefined,
    mount_label: mountLabel || undefined,
    no_new_privileges: process.noNewPrivileges || undefined,
    scheduler,
    io_priority: ioPriority,
    personality: domain,
  };
  // JSON leaves out what is undefined.
  return members as AttributesRecord;
}

/** The record with its process. @param start when it started: field 22 of its stat */
export const withProcess = (record: StateRecord, pid: number, start: number): StateRecord => ({
  ...record,
  init_process_pid: pid,
  init_process_start: start,
  namespace_paths: Object.fromEntries(
    Object.entries(NAMESPACES).map((
      [type, { file }],
    ) => [NAMES[type as keyof typeof NAMES], `/proc/${pid}/ns/${file}`]),
  ),
});

/** The record of a container whose maker may not have all rights over cgroups. */
export const asRootless = (record: StateRecord): StateRecord => ({
  ...record,
  rootless: true,
  config: { ...record.config, rootless_cgroups: true, cgroups: { ...record.config.cgroups, Rootless: true } },
});

/** The record with its limits. */
export const withLimits = (record: StateRecord, limits: ResourcesRecord): StateRecord => ({
  ...record,
  config: { ...record.config, cgroups: { ...record.config.cgroups, ...limits } },
});

const CLOCK_REALTIME = 0;

/** RFC 3339 in UTC with nanoseconds, as Go writes it: without the fraction's trailing zeros. */
function now(): string {
  const time = new Memory(16);
  call("clock_gettime", CLOCK_REALTIME, time);
  const [seconds, nanoseconds] = [time.view.getBigInt64(0, true), time.view.getBigInt64(8, true)];
  const fraction = String(nanoseconds).padStart(9, "0").replace(/0+$/, "");
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}${fraction === "" ? "" : "." + fraction}Z`;
}

const mappings = (list: IdMappings | undefined) =>
  list?.map(({ containerID, hostID, size }) => ({ container_id: containerID, host_id: hostID, size })) ?? null;

/** A hook as state.json has it: the timeout in nanoseconds. */
export const hookRecord = ({ path, args, env, timeout }: Hook): HookRecord => ({
  path,
  args: args ?? null,
  env: env ?? null,
  dir: "",
  timeout: timeout === undefined ? null : timeout * NANOSECONDS,
});
