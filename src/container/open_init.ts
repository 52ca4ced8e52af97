/** The first process of a container, held so that its pid cannot come to mean another. */
import { pidfdOpen } from "../../ffi/process.ts";
import type { Fd } from "../../ffi/fd.ts";
import { SysError } from "../errors.ts";
import type { StateRecord } from "../state/record.ts";
import { isAlive } from "../state/status.ts";

/** A pidfd of the container's first process; undefined when it is gone. The start time guards against a reused pid. */
export function openInit(record: StateRecord): Fd | undefined {
  let pidfd: Fd;
  try {
    pidfd = pidfdOpen(record.init_process_pid);
  } catch (error) {
    if (error instanceof SysError) return undefined;
    throw error;
  }
  // The pidfd holds whoever has the pid now; if that is the recorded process, it stays that one.
  if (isAlive(record)) return pidfd;
  pidfd.close();
  return undefined;
}
