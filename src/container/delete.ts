/** Removes what a container leaves: processes, cgroups, its record; then the poststop hooks run. */
import { pidfdSignal } from "../../ffi/process.ts";
import { SIG } from "../abi/names.ts";
import { thaw } from "../cgroup/freezer.ts";
import { killAll } from "../cgroup/processes.ts";
import { RunkError, SysError } from "../errors.ts";
import type { StateRecord } from "../state/record.ts";
import { loadIntent } from "../state/load.ts";
import * as store from "../state/store.ts";
import { destroy, removeShares } from "./destroy.ts";
import { find } from "./find.ts";
import { openInit } from "./open_init.ts";
import { removeContainerCgroups } from "./remove_cgroups.ts";
import type { Runtime } from "./runtime.ts";

const KILL_PATIENCE = 10_000;

/**
 * Deletes a stopped or created container; with `force` any.
 * @throws {RunkError} when it does not exist (not with force), runs (not with force), or will not die
 */
export async function deleteContainer(runtime: Runtime, id: string, { force }: { force: boolean }): Promise<void> {
  store.checkId(id);
  let lock: store.Lock;
  try {
    lock = await store.lock(runtime.root, id);
  } catch (error) {
    if (force && error instanceof RunkError && error.message === store.DOES_NOT_EXIST) return;
    throw error;
  }
  using held = lock;
  if (!held.isCurrent()) {
    if (force) return;
    throw new RunkError(store.DOES_NOT_EXIST);
  }
  let found;
  try {
    found = find(runtime, id);
  } catch (error) {
    return await deleteRemains(runtime, id, force, error);
  }
  const { record, status } = found;
  if (!force && status !== "stopped" && status !== "created") {
    throw new RunkError(`cannot delete container ${id} that is not stopped: ${status}`);
  }
  if (force || status === "created") await killInit(runtime, record);
  await destroy(runtime, record);
}

/** A directory without a good record: left by a create that was killed, or damaged. Removed in any case, as runc does. */
async function deleteRemains(runtime: Runtime, id: string, force: boolean, error: unknown): Promise<void> {
  const isMissing = error instanceof RunkError && error.message === store.DOES_NOT_EXIST;
  if (!isMissing && !force) throw error;
  const intent = loadIntent(runtime.root, id);
  if (intent !== undefined) {
    await killAll(intent.cgroup_paths);
    await removeContainerCgroups(runtime, intent);
    await removeShares(intent);
  }
  store.remove(runtime.root, id);
  if (!force) throw error;
}

/** Kills the first process and waits for its end. */
async function killInit({ poll }: Runtime, record: StateRecord): Promise<void> {
  using init = openInit(record);
  if (init === undefined) return;
  try {
    pidfdSignal(init, SIG.KILL);
  } catch (error) {
    if (error instanceof SysError && error.code === "ESRCH") return;
    throw error;
  }
  thaw(record.cgroup_paths);
  const [ended] = await poll([{ fd: init.number }], KILL_PATIENCE);
  if (!ended) throw new RunkError("container init still running");
}
