/**
 * The process that exec runs: from the bundle's config and the command line, or from a file; and what both take from the
 * container itself. The container's part comes from its record, written when it was made: whoever changes the bundle
 * later cannot take anything from a process of a file, nor give it more.
 */
import type { Capabilities, Linux, Process, Spec } from "../spec/schema.ts";
import type { StateRecord } from "../state/record.ts";

/** What the command line changes in the container's own process. */
export interface ProcessChanges {
  readonly args: readonly string[];
  readonly cwd?: string | undefined;
  readonly env: readonly string[];
  readonly tty: boolean;
  readonly user?: { readonly uid: number; readonly gid: number | undefined } | undefined;
  readonly additionalGids: readonly number[];
  readonly capabilities: readonly string[];
  readonly noNewPrivileges?: boolean | undefined;
  readonly selinuxLabel?: string | undefined;
  readonly apparmorProfile?: string | undefined;
}

const PER_LINUX32 = 8;

/** The parts of linux that every process of a container has. */
export type Domains = Pick<Linux, "memoryPolicy" | "personality">;

/** The process that `exec ID ARGS` runs: the container's own, changed by flags. */
export function changedProcess(spec: Spec, changes: ProcessChanges): Process {
  const base = spec.process ?? {};
  const { user, capabilities, noNewPrivileges, selinuxLabel, apparmorProfile, cwd } = changes;
  const ids = {
    ...base.user,
    ...(user === undefined ? {} : { uid: user.uid }),
    ...(user?.gid === undefined ? {} : { gid: user.gid }),
    additionalGids: [...(base.user?.additionalGids ?? []), ...changes.additionalGids],
  };
  return {
    ...base,
    args: [...changes.args],
    env: [...(base.env ?? []), ...changes.env],
    terminal: changes.tty,
    user: ids,
    ...given({ cwd, noNewPrivileges, selinuxLabel, apparmorProfile }),
    ...given({ capabilities: withCapabilities(base.capabilities, capabilities) }),
  } as Process;
}

/** More capabilities. A process that has no list keeps all there are: nothing can be added. */
function withCapabilities(own: Capabilities | undefined, more: readonly string[]): Capabilities | undefined {
  if (own === undefined || more.length === 0) return own;
  const add = (set: readonly string[] | undefined) => [...new Set([...(set ?? []), ...more])];
  return {
    ...own,
    bounding: add(own.bounding),
    effective: add(own.effective),
    permitted: add(own.permitted),
    // Ambient ones need an inheritable set to be in.
    ...((own.inheritable?.length ?? 0) > 0 ? { ambient: add(own.ambient) } : {}),
  };
}

/** What a process of this container is completed with. */
export interface Inherited {
  readonly process: Process;
  /** What every process of the container has. */
  readonly domains: Domains;
}

/** A container's part, from its record. AppArmor profile, limits and "no new privileges" are not in it: runc's rule. */
export async function inherited(record: StateRecord): Promise<Inherited> {
  const { config } = record;
  const { capabilities, umask, personality } = config;
  const isRare = config.exec_cpu_affinity !== undefined || config.memory_policy !== undefined;
  const { execCPUAffinity, memoryPolicy } = isRare
    ? (await import("./rare_record.ts")).fromRareRecord(record)
    : {} as Pick<Process, "execCPUAffinity"> & Domains;
  const process = given({
    capabilities: capabilities && given({
      bounding: capabilities.Bounding,
      effective: capabilities.Effective,
      inheritable: capabilities.Inheritable,
      permitted: capabilities.Permitted,
      ambient: capabilities.Ambient,
    }),
    user: umask === undefined ? undefined : { umask },
    selinuxLabel: config.process_label,
    oomScoreAdj: config.oom_score_adj,
    scheduler: config.scheduler,
    ioPriority: config.io_priority,
    execCPUAffinity,
  });
  const domain = personality && (personality.domain === PER_LINUX32 ? "LINUX32" : "LINUX");
  return {
    process: process as Process,
    domains: given({ memoryPolicy, personality: domain && { domain } }) as Domains,
  };
}

/** A process with what it leaves out and takes from the container. */
export function completedProcess(process: Process, container: Inherited): Process {
  return { ...container.process, ...given(process), user: { ...container.process.user, ...process.user } } as Process;
}

/** The members that have a value: a key with undefined would hide what is spread before it. */
type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };
function given<T extends object>(members: T): Given<T> {
  const entries = Object.entries(members).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(entries) as Given<T>;
}
