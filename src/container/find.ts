/** A container's record with its status, for commands on existing containers. */
import { pidfdOpen } from "../../ffi/process.ts";
import type { Fd } from "../../ffi/fd.ts";
import { RunkError, SysError } from "../errors.ts";
import type { StateRecord } from "../state/record.ts";
import { isAlive, type Status, statusOf } from "../state/status.ts";
import * as store from "../state/store.ts";
import type { Runtime } from "./runtime.ts";

export interface Found {
  readonly record: StateRecord;
  readonly status: Status;
}

/** @throws {RunkError} "container does not exist" */
export function find({ root }: Pick<Runtime, "root">, id: string): Found {
  const record = store.load(root, id);
  return { record, status: statusOf(root, record) };
}

/**
 * Runs `work` while no other command changes the container; the record is read under the lock.
 * @throws {RunkError} when the container does not exist
 */
export async function withContainer<T>(
  runtime: Runtime,
  id: string,
  work: (found: Found) => Promise<T> | T,
): Promise<T> {
  using lock = await store.lock(runtime.root, id);
  if (!lock.isCurrent()) throw new RunkError(store.DOES_NOT_EXIST);
  return await work(find(runtime, id));
}

/** A pidfd of the container's first process; undefined when it is gone. The start time guards against a reused pid. */
export function openInit(record: StateRecord): Fd | undefined {
  let pidfd: Fd;
  try {
    pidfd = pidfdOpen(record.init_process_pid);
  } catch (error) {
    if (error instanceof SysError) return undefined;
    throw error;
  }
  // The pidfd holds whoever has the pid now; if that is the recorded process, it stays that one.
  if (isAlive(record)) return pidfd;
  pidfd.close();
  return undefined;
}
