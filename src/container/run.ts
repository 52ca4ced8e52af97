/** create and start in one; in the foreground also the wait for its end, and its removal. */
import type { SignalPipe } from "../../ffi/signals.ts";
import { consoleSocket, type ForegroundIo, pipes } from "../process/stdio.ts";
import { becomeSubreaper } from "../process/subreaper.ts";
import { hostRoot } from "../plan/recipe.ts";
import { create, type Prepared } from "./create.ts";
import type { NotifySocket } from "../process/notify_socket.ts";
import type { Stream } from "../process/pump.ts";
import type { StateRecord } from "../state/record.ts";
import type { Runtime } from "./runtime.ts";
import type { Notify } from "./service_manager.ts";

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
  const readiness = new Readiness(prepared);
  try {
    const record = await create(runtime, prepared, { inputs, meanwhile: () => readiness.listen() });
    const { startedOrDestroyed } = await import("./foreground.ts");
    await startedOrDestroyed(runtime, record);
    await readiness.pass(runtime, record);
  } finally {
    readiness.close();
    close();
  }
}

/** What the service has to say to a service manager; nothing without one. */
class Readiness {
  readonly #notify: Notify | undefined;
  #socket: NotifySocket | undefined;

  constructor({ notify }: Prepared) {
    this.#notify = notify;
  }

  /** Before the service runs. */
  async listen(): Promise<void> {
    if (this.#notify !== undefined) this.#socket = (await import("./service_manager.ts")).listen(this.#notify);
  }

  /** Waits until the service is ready, and tells so. */
  async pass(runtime: Runtime, record: StateRecord): Promise<void> {
    if (this.#socket === undefined) return;
    await (await import("./service_manager.ts")).passReadiness(runtime, record, this.#socket, this.#notify!);
  }

  /** The same as work beside other work. */
  async streams(runtime: Runtime): Promise<Stream[]> {
    if (this.#socket === undefined) return [];
    return [(await import("./service_manager.ts")).readyStream(runtime, this.#socket, this.#notify!)];
  }

  close(): void {
    this.#socket?.[Symbol.dispose]();
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
  const readiness = new Readiness(prepared);
  try {
    if (options.subreaper) becomeSubreaper();
    // The kernel takes longer to make the container than it takes to load what comes after.
    const meanwhile = async () => {
      foreground = await import("./foreground.ts");
      // A hook may hang: with hooks, signals end this process as long as there is no program to pass them on to.
      if (spec.hooks === undefined) signals = foreground.catchSignals();
      await readiness.listen();
    };
    const record = await create(runtime, prepared, { inputs: io.inputs, meanwhile, ready: io.ready });
    const beside = await readiness.streams(runtime);
    return await foreground!.attendToEnd(runtime, record, io, { keep: options.keep, isTerminal, signals, beside });
  } finally {
    readiness.close();
    io.close();
  }
}
