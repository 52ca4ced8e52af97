/** restore; in the foreground also the wait for the container's end, and its removal. */
import { hostRoot } from "../plan/recipe.ts";
import { pipes } from "../process/stdio.ts";
import { becomeSubreaper } from "../process/subreaper.ts";
import { attendToEnd, catchSignals } from "./foreground.ts";
import { type PreparedRestore, restore } from "./restore.ts";
import { detachedStdio } from "./run.ts";
import type { Runtime } from "./runtime.ts";
import { announceRestored } from "./service_manager.ts";

/** `restore --detach`: returns when the container runs. */
export async function restoreDetached(runtime: Runtime, prepared: PreparedRestore, socketPath: string): Promise<void> {
  const { inputs, close } = detachedStdio(prepared.request.stdio === "terminal", socketPath);
  try {
    const record = await restore(runtime, prepared, { inputs });
    const { notify } = prepared;
    if (notify !== undefined) await announceRestored(runtime, notify, record.init_process_pid);
  } finally {
    close();
  }
}

/** `restore`: returns the program's exit status when it has ended. */
export async function restoreForeground(
  runtime: Runtime,
  prepared: PreparedRestore,
  options: { subreaper: boolean },
): Promise<number> {
  const { spec, notify, request } = prepared;
  const isTerminal = request.stdio === "terminal";
  const io = isTerminal
    ? (await import("../process/terminal.ts")).terminal()
    : pipes({ uid: hostRoot(spec, "uid"), gid: hostRoot(spec, "gid") });
  try {
    if (options.subreaper) becomeSubreaper();
    const signals = catchSignals();
    const record = await restore(runtime, prepared, { inputs: io.inputs, ready: io.ready });
    // This process is what the service manager watches: it ends when the container does.
    if (notify !== undefined) await announceRestored(runtime, notify, Deno.pid);
    return await attendToEnd(runtime, record, io, {
      keep: false,
      isTerminal,
      signals,
      beside: [],
      isRestored: true,
    });
  } finally {
    io.close();
  }
}
