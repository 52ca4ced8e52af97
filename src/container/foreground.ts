/** The life of a container from its first instruction to its removal, for a command that stays with it. */
import type { SignalPipe } from "../../ffi/signals.ts";
import { attend, catchSignals } from "../process/attend.ts";
import type { ForegroundIo } from "../process/stdio.ts";
import type { Stream } from "../process/pump.ts";
import type { StateRecord } from "../state/record.ts";
import * as store from "../state/store.ts";
import { destroy } from "./destroy.ts";
import type { Runtime } from "./runtime.ts";

export interface AttendOptions {
  /** Do not delete the container at its end. */
  readonly keep: boolean;
  readonly isTerminal: boolean;
  /** Signals that are caught already. */
  readonly signals: SignalPipe | undefined;
  /** Work beside the container's streams, while it runs. */
  readonly beside: readonly Stream[];
  /** A container that was restored has its poststart hooks behind it. */
  readonly isRestored?: boolean;
}

export { catchSignals };

/** Runs the poststart hooks of a new container, stays with the program to its end and deletes the container; returns the exit status. */
export async function attendToEnd(
  runtime: Runtime,
  record: StateRecord,
  io: ForegroundIo,
  { keep, isTerminal, signals: caught, beside, isRestored }: AttendOptions,
): Promise<number> {
  using signals = caught ?? catchSignals();
  if (!isRestored) await startedOrDestroyed(runtime, record);
  const { poll } = runtime;
  const streams = io.connect();
  const status = await attend({
    pid: record.init_process_pid,
    poll,
    signals,
    ...streams,
    input: [...streams.input, ...beside],
    interruptEnds: isTerminal,
  });
  io.close();
  if (status === undefined) return 0;
  if (!keep) await deleteQuietly(runtime, record);
  return status;
}

/** The poststart hooks of a container that runs; if one fails, there is no container. */
export async function startedOrDestroyed(runtime: Runtime, record: StateRecord): Promise<void> {
  if ((record.config.Hooks?.["poststart"] ?? []).length === 0) return;
  try {
    const { poststart } = await import("./start.ts");
    await poststart(runtime, record);
  } catch (error) {
    await deleteQuietly(runtime, record);
    throw error;
  }
}

/** The program has ended: what goes wrong now is worth a warning, not the program's exit status. */
async function deleteQuietly(runtime: Runtime, record: StateRecord): Promise<void> {
  try {
    using lock = await store.lock(runtime.root, record.id);
    // A checkpoint, or someone else, has done so already.
    if (lock.isCurrent()) await destroy(runtime, record);
  } catch (error) {
    runtime.warn(error instanceof Error ? error.message : String(error));
  }
}
