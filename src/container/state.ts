/** What `state` and `list` say of a container. */
import { RunkError } from "../errors.ts";
import { isAbsent, readIfThere } from "../files.ts";
import { SortedMap } from "../spec/json.ts";
import { annotations, bundleOf, type StateRecord } from "../state/record.ts";
import { type Status, statusOf } from "../state/status.ts";
import { ids as idsBelow, load, owner } from "../state/load.ts";
import { find } from "./find.ts";
import type { Runtime } from "./runtime.ts";

/** The keys in runc's order. */
export interface ContainerState {
  readonly ociVersion: string;
  readonly id: string;
  /** 0 for a container that has stopped. */
  readonly pid: number;
  readonly status: Status;
  readonly bundle: string;
  readonly rootfs: string;
  readonly created: string;
  readonly annotations: SortedMap | undefined;
  readonly owner: string;
}

/** @throws {RunkError} "container does not exist" */
export function state(runtime: Pick<Runtime, "root">, id: string): ContainerState {
  const { record, status } = find(runtime, id);
  return describe(record, status, "");
}

function describe(record: StateRecord, status: Status, owner: string): ContainerState {
  const own = annotations(record);
  return {
    ociVersion: record.config.version ?? "",
    id: record.id,
    pid: status === "stopped" ? 0 : record.init_process_pid,
    status,
    bundle: bundleOf(record),
    rootfs: record.config.rootfs,
    created: record.created,
    annotations: Object.keys(own).length === 0 ? undefined : new SortedMap(own),
    owner,
  };
}

export interface Listing {
  readonly containers: readonly ContainerState[];
  /** Containers that could not be loaded, in a line each. */
  readonly failures: readonly string[];
}

/**
 * All containers under the root.
 * @param mayBeMissing a root that does not exist holds no containers; else it is an error
 */
export function list({ root }: Pick<Runtime, "root">, { mayBeMissing }: { mayBeMissing: boolean }): Listing {
  const ids = idsBelow(root);
  if (ids === undefined) {
    if (mayBeMissing) return { containers: [], failures: [] };
    throw new RunkError(`open ${root}: no such file or directory`);
  }
  const users = userNames();
  const containers: ContainerState[] = [];
  const failures: string[] = [];
  for (const id of ids) {
    try {
      const record = load(root, id);
      const uid = owner(root, id);
      containers.push(describe(record, statusOf(root, record), users.get(uid) ?? `#${uid}`));
    } catch (error) {
      // Deleted while we were looking.
      if (isAbsent(error)) continue;
      failures.push(`load container ${id}: ${error instanceof Error ? error.message : error}`);
    }
  }
  return { containers, failures };
}

function userNames(): Map<number, string> {
  const result = new Map<number, string>();
  // A host without users has only numbers.
  const passwd = readIfThere("/etc/passwd") ?? "";
  for (const line of passwd.split("\n")) {
    const [name, , uid] = line.split(":");
    if (name && uid !== undefined && !result.has(Number(uid))) result.set(Number(uid), name);
  }
  return result;
}
