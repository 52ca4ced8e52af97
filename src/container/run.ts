/** create and start in one; in the foreground also the wait for its end, and its removal. */
import { consoleSocket, type ForegroundIo, pipes, terminal } from "../process/stdio.ts";
import { attend, becomeSubreaper, catchSignals } from "../process/attend.ts";
import { hostRoot } from "../plan/recipe.ts";
import type { StateRecord } from "../state/record.ts";
import { create, type Prepared } from "./create.ts";
import { destroy } from "./delete.ts";
import type { Runtime } from "./runtime.ts";
import { poststart } from "./start.ts";
import * as store from "../state/store.ts";

/** The streams of a process that no one attends. */
export function detachedStdio(
  isTerminal: boolean,
  socketPath: string,
): { inputs: ForegroundIo["inputs"]; close(): void } {
  if (!isTerminal) return { inputs: {}, close: () => {} };
  const socket = consoleSocket(socketPath);
  return { inputs: { console: socket }, close: () => socket.close() };
}

/** `run --detach`: returns when the program runs. */
export async function runDetached(runtime: Runtime, prepared: Prepared, socketPath: string): Promise<void> {
  const { inputs, close } = detachedStdio(prepared.request.stdio === "terminal", socketPath);
  try {
    const record = await create(runtime, prepared, { inputs });
    await startedOrDestroyed(runtime, record);
  } finally {
    close();
  }
}

export interface ForegroundOptions {
  /** Do not delete the container at its end. */
  readonly keep: boolean;
  /** Collect the container's orphans, too. */
  readonly subreaper: boolean;
}

/** `run`: returns the program's exit status when it has ended. */
export async function runForeground(runtime: Runtime, prepared: Prepared, options: ForegroundOptions): Promise<number> {
  if (options.subreaper) becomeSubreaper();
  using signals = catchSignals();
  const { spec } = prepared;
  const isTerminal = prepared.request.stdio === "terminal";
  const io = isTerminal ? terminal() : pipes({ uid: hostRoot(spec, "uid"), gid: hostRoot(spec, "gid") });
  try {
    const record = await create(runtime, prepared, { inputs: io.inputs });
    await startedOrDestroyed(runtime, record);
    const status = await attend({ pid: record.init_process_pid, signals, ...io.connect(), interruptEnds: isTerminal });
    io.close();
    if (!options.keep) await deleteQuietly(runtime, record);
    return status;
  } finally {
    io.close();
  }
}

async function startedOrDestroyed(runtime: Runtime, record: StateRecord): Promise<void> {
  try {
    await poststart(runtime, record);
  } catch (error) {
    await deleteQuietly(runtime, record);
    throw error;
  }
}

/** The program has ended: what goes wrong now is worth a warning, not the program's exit status. */
async function deleteQuietly(runtime: Runtime, record: StateRecord): Promise<void> {
  try {
    using _lock = await store.lock(runtime.root, record.id);
    await destroy(runtime, record);
  } catch (error) {
    runtime.warn(error instanceof Error ? error.message : String(error));
  }
}
