/** A container's record with its status, for commands on existing containers. */
import { RunkError } from "../errors.ts";
import type { StateRecord } from "../state/record.ts";
import { type Status, statusOf } from "../state/status.ts";
import { load } from "../state/load.ts";
import * as store from "../state/store.ts";
import type { Runtime } from "./runtime.ts";

export interface Found {
  readonly record: StateRecord;
  readonly status: Status;
}

/** @throws {RunkError} "container does not exist" */
export function find({ root }: Pick<Runtime, "root">, id: string): Found {
  const record = load(root, id);
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
