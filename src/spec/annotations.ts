/**
 * The annotations by which users of crun ask for what config.json has no word for, as far as they concern processes.
 * Pure. Source: crun(1), "Extensions to OCI".
 */
import { wrong } from "./errors.ts";

const PREFIX = "run.oci.";
const CONTEXT_TYPES = ["context", "fscontext", "defcontext", "rootcontext"] as const;

export interface RuntimeAnnotations {
  /** The supplementary groups of the caller stay. */
  readonly keepsGroups?: boolean;
  /** Files that hooks write to, instead of being heard only when they fail. */
  readonly hookOutput?: { readonly stdout?: string; readonly stderr?: string };
  /** Socket that takes a pidfd of the container's process. */
  readonly pidfdReceiver?: string;
  /** Socket of the seccomp agent, for a profile that names none. */
  readonly seccompReceiver?: string;
  /** Which of SELinux's mount parameters linux.mountLabel is for. */
  readonly contextType?: (typeof CONTEXT_TYPES)[number];
  /** The container's cgroup below that of its systemd unit. */
  readonly subgroup?: string;
  /** Below the container's cgroup, the one that its process lives in and manages by itself. */
  readonly delegatedCgroup?: string;
}

/**
 * What a config's annotations ask for.
 * @param bundle what relative paths are relative to
 * @throws {RunkError} for a value that none of them can have
 */
export function runtimeAnnotations(annotations: Readonly<Record<string, unknown>>, bundle: string): RuntimeAnnotations {
  const path = (name: string) => {
    const text = value(name);
    return text === undefined || text.startsWith("/") ? text : `${bundle}/${text}`;
  };
  const value = (name: string) => {
    const text = annotations[PREFIX + name];
    // Whatever else it is, the schema refuses it.
    return typeof text === "string" ? text : undefined;
  };
  const groups = value("keep_original_groups");
  const [stdout, stderr, pidfdReceiver] = [path("hooks.stdout"), path("hooks.stderr"), path("pidfd_receiver")];
  const seccompReceiver = value("seccomp.receiver");
  const type = value("mount_context_type");
  const contextType = CONTEXT_TYPES.find((known) => known === type);
  if (type !== undefined && contextType === undefined) {
    refuse(
      "mount_context_type",
      `invalid mount context type ${JSON.stringify(type)}: one of ${CONTEXT_TYPES.join(", ")}`,
    );
  }
  if (seccompReceiver !== undefined && !seccompReceiver.startsWith("/")) {
    refuse("seccomp.receiver", `the seccomp receiver ${JSON.stringify(seccompReceiver)} is not an absolute path`);
  }
  const below = (name: string) => {
    const text = value(name);
    if (!text) return undefined;
    if (/(^|\/)\.{0,2}(\/|$)/.test(text) || text.includes("\0")) {
      refuse(name, `${JSON.stringify(text)} names no cgroup below another`);
    }
    return text;
  };
  const [subgroup, delegatedCgroup] = [below("systemd.subgroup"), below("delegate-cgroup")];
  return {
    ...(groups === undefined || groups === "0" ? {} : { keepsGroups: true }),
    ...(stdout === undefined && stderr === undefined
      ? {}
      : { hookOutput: { ...(stdout === undefined ? {} : { stdout }), ...(stderr === undefined ? {} : { stderr }) } }),
    ...(pidfdReceiver === undefined ? {} : { pidfdReceiver }),
    ...(seccompReceiver === undefined ? {} : { seccompReceiver }),
    ...(contextType === undefined ? {} : { contextType }),
    ...(subgroup === undefined ? {} : { subgroup }),
    ...(delegatedCgroup === undefined ? {} : { delegatedCgroup }),
  };
}

const refuse = (name: string, message: string): never => wrong(message, `/annotations/${PREFIX}${name}`);
