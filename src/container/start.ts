/** Lets a created container run its program. */
import { call, tryCall } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { cstring, Memory } from "../../ffi/memory.ts";
import { AT_FDCWD } from "../abi/flags.ts";
import { O } from "../abi/arch.ts";
import { RunkError } from "../errors.ts";
import { annotations, bundleOf, type StateRecord } from "../state/record.ts";
import * as store from "../state/store.ts";
import { withContainer } from "./find.ts";
import { openInit } from "./open_init.ts";
import { kill } from "./kill.ts";
import type { NotifySocket } from "../process/notify_socket.ts";
import type { Runtime } from "./runtime.ts";
import { SIG } from "../abi/names.ts";

/**
 * @param notifySocket the service manager's socket: start then ends when the service is ready, or has ended
 * @throws {RunkError} unless the container is in state created
 */
export async function start(runtime: Runtime, id: string, notifySocket?: string): Promise<void> {
  if (notifySocket === undefined) return await open(runtime, id);
  const { listenIfMade, passReadiness } = await import("./service_manager.ts");
  const notify = { directory: `${store.directoryOf(runtime.root, id)}/notify`, host: notifySocket };
  let record: StateRecord | undefined;
  let socket: NotifySocket | undefined;
  try {
    await open(runtime, id, (found) => {
      record = found;
      socket = listenIfMade(notify);
    });
    // Without the lock: whoever waits for a service must not keep others from ending it.
    if (socket !== undefined) await passReadiness(runtime, record!, socket, notify);
  } finally {
    socket?.[Symbol.dispose]();
  }
}

/** Lets the program run, and the poststart hooks. @param before called when all is well, right before */
async function open(runtime: Runtime, id: string, before: (record: StateRecord) => void = () => {}): Promise<void> {
  await withContainer(runtime, id, async ({ record, status }) => {
    if (status === "stopped") throw new RunkError("cannot start a container that has stopped");
    if (status === "running") throw new RunkError("cannot start an already running container");
    if (status !== "created") throw new RunkError(`cannot start a container in the ${status} state`);
    before(record);
    await openGate(runtime, record);
    await poststart(runtime, record);
  });
}

/** Opens the start gate to read: the container's process, which opens it to write, goes on and says so with a byte. */
async function openGate({ root, poll }: Runtime, record: StateRecord): Promise<void> {
  using init = openInit(record);
  if (init === undefined) throw new RunkError("cannot start a container that has stopped");
  const path = store.fifoOf(root, record.id);
  const { NONBLOCK, CLOEXEC } = O[arch];
  // Not blocking: if the process dies before it opens its end, there would be no one to wait for.
  using gate = new Fd(call("openat", AT_FDCWD, cstring(path), NONBLOCK | CLOEXEC, 0));
  const byte = new Memory(1);
  for (;;) {
    const [, hasEnded] = await poll([{ fd: gate.number }, { fd: init.number }], 100);
    if (tryCall("read", gate.number, byte, 1) > 0) break;
    if (hasEnded) {
      throw new RunkError(
        "exec fifo is empty: container init did not signal execve readiness (process died before writing, or fifo already consumed)",
      );
    }
  }
  store.removeFifo(root, record.id);
}

/** The poststart hooks; a failure ends the container, as in runc. */
export async function poststart(runtime: Runtime, record: StateRecord): Promise<void> {
  const hooks = record.config.Hooks?.["poststart"] ?? [];
  if (hooks.length === 0) return;
  const state = {
    id: record.id,
    status: "running",
    bundle: bundleOf(record),
    annotations: annotations(record),
  } as const;
  try {
    const { runHostHooks } = await import("./host_hooks.ts");
    await runHostHooks(runtime, "poststart", hooks, state, record.init_process_pid);
  } catch (error) {
    await kill(runtime, record.id, SIG.KILL).catch(() => {});
    throw error;
  }
}
