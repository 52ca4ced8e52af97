/** create and start in one; in the foreground also the wait for its end, and its removal. */
import type { SignalPipe } from "../../ffi/signals.ts";
import { consoleSocket, type ForegroundIo, pipes } from "../process/stdio.ts";
import { becomeSubreaper } from "../process/subreaper.ts";
import { hostRoot } from "../plan/recipe.ts";
import { create, type Prepared } from "./create.ts";
import type { Runtime } from "./runtime.ts";

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
    const { startedOrDestroyed } = await import("./foreground.ts");
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
  const { spec } = prepared;
  const isTerminal = prepared.request.stdio === "terminal";
  const io = isTerminal
    ? (await import("../process/terminal.ts")).terminal()
    : pipes({ uid: hostRoot(spec, "uid"), gid: hostRoot(spec, "gid") });
  let foreground: typeof import("./foreground.ts") | undefined;
  let signals: SignalPipe | undefined;
  try {
    if (options.subreaper) becomeSubreaper();
    // The kernel takes longer to make the container than it takes to load what comes after.
    const meanwhile = async () => {
      foreground = await import("./foreground.ts");
      // A hook may hang: with hooks, signals end this process as long as there is no program to pass them on to.
      if (spec.hooks === undefined) signals = foreground.catchSignals();
    };
    const record = await create(runtime, prepared, { inputs: io.inputs, meanwhile, ready: io.ready });
    return await foreground!.attendToEnd(runtime, record, io, { keep: options.keep, isTerminal, signals });
  } finally {
    io.close();
  }
}
