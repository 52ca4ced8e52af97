/** Sends a signal to a container's first process. */
import { pidfdSignal } from "../../ffi/process.ts";
import { SIG } from "../abi/names.ts";
import { thaw } from "../cgroup/freezer.ts";
import { hasProcessList, killAll } from "../cgroup/processes.ts";
import { RunkError, SysError } from "../errors.ts";
import { hasPrivateNamespace } from "../state/record.ts";
import { find } from "./find.ts";
import { openInit } from "./open_init.ts";
import type { Runtime } from "./runtime.ts";

export const NOT_RUNNING = "container not running";

/**
 * Sends `signal` (a number). SIGKILL to a container without a pid namespace of its own kills all its processes: the end
 * of the first would not end the others.
 * @throws {RunkError} "container not running" when its process is gone
 */
export async function kill(runtime: Runtime, id: string, signal: number): Promise<void> {
  const { record } = find(runtime, id);
  if (signal === SIG.KILL && !hasPrivateNamespace(record, "NEWPID") && hasProcessList(record.cgroup_paths)) {
    return await killAll(record.cgroup_paths);
  }
  using init = openInit(record);
  if (init === undefined) throw new RunkError(NOT_RUNNING);
  try {
    pidfdSignal(init, signal);
  } catch (error) {
    if (error instanceof SysError && error.code === "ESRCH") throw new RunkError(NOT_RUNNING);
    throw new RunkError("unable to signal init", { cause: error });
  }
  // In a frozen v1 cgroup a process dies only when it is thawed.
  if (signal === SIG.KILL) thaw(record.cgroup_paths);
}
