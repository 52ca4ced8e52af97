/** create and start in one; in the foreground also the wait for its end, and its removal. */
import { consoleSocket, type ForegroundIo, pipes, terminal } from "../process/stdio.ts";
import { attend, becomeSubreaper, catchSignals } from "../process/attend.ts";
import { hostRoot, type Stdio } from "../plan/recipe.ts";
import type { Spec } from "../spec/schema.ts";
import type { StateRecord } from "../state/record.ts";
import { create, type CreateOptions } from "./create.ts";
import { destroy } from "./delete.ts";
import type { Runtime } from "./runtime.ts";
import { poststart } from "./start.ts";
import * as store from "../state/store.ts";

export type RunOptions =
  & Pick<CreateOptions, "id" | "bundle" | "noPivot" | "noNewKeyring" | "preserveFds" | "pidFile">
  & {
    readonly consoleSocket: string;
  };

/** The streams of a container that no one attends. */
export function detachedStdio(
  spec: Spec,
  socketPath: string,
): { stdio: Stdio; inputs: ForegroundIo["inputs"]; close(): void } {
  if (!spec.process?.terminal) return { stdio: "inherit", inputs: {}, close: () => {} };
  const socket = consoleSocket(socketPath);
  return { stdio: "terminal", inputs: { console: socket }, close: () => socket.close() };
}

/** `run --detach`: returns when the program runs. */
export async function runDetached(runtime: Runtime, spec: Spec, options: RunOptions): Promise<void> {
  const { stdio, inputs, close } = detachedStdio(spec, options.consoleSocket);
  try {
    const record = await create(runtime, spec, { ...options, stdio, inputs, gate: "none" });
    await startedOrDestroyed(runtime, record);
  } finally {
    close();
  }
}

/**
 * `run`: returns the program's exit status when it has ended; the container is deleted then unless `keep` is set.
 * @param subreaper collect the container's orphans, too
 */
export async function runForeground(
  runtime: Runtime,
  spec: Spec,
  options: RunOptions & { keep: boolean; subreaper: boolean },
): Promise<number> {
  if (options.subreaper) becomeSubreaper();
  using signals = catchSignals();
  const isTerminal = spec.process?.terminal ?? false;
  const io = isTerminal ? terminal() : pipes({ uid: hostRoot(spec, "uid"), gid: hostRoot(spec, "gid") });
  try {
    const stdio = isTerminal ? "terminal" : "pipes";
    const record = await create(runtime, spec, { ...options, stdio, inputs: io.inputs, gate: "none" });
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
