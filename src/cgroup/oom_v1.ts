/** Out-of-memory events of a v1 memory cgroup. Source: cgroup-v1/memory.rst, section 9. */
import { call, tryCall } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { cstring, Memory } from "../../ffi/memory.ts";
import { O } from "../abi/arch.ts";
import { AT_FDCWD, EFD } from "../abi/flags.ts";
import { RunkError } from "../errors.ts";
import { exists } from "../files.ts";
import type { OomWatch } from "./oom.ts";

/**
 * The kernel counts into an eventfd: once each time memory runs out, and once when the cgroup is removed.
 * @throws {RunkError} when there is no memory cgroup, or it is gone
 */
export function watchOomV1(directory: string | undefined): OomWatch {
  if (directory === undefined) throw new RunkError("the memory cgroup controller is not mounted");
  const path = `${directory}/memory.oom_control`;
  const event = new Fd(call("eventfd2", 0, EFD.CLOEXEC | EFD.NONBLOCK));
  try {
    // The kernel keeps its own hold on the file.
    using control = new Fd(call("openat", AT_FDCWD, cstring(path), O[arch].CLOEXEC, 0));
    const registration = `${event.number} ${control.number}`;
    Deno.writeTextFileSync(`${directory}/cgroup.event_control`, registration, { create: false });
  } catch (error) {
    event.close();
    throw new RunkError(`cannot watch ${path}`, { cause: error });
  }
  const counter = new Memory(8);
  return {
    fd: event.number,
    read: () => {
      const isRead = tryCall("read", event.number, counter, 8) === 8;
      const ended = !exists(path);
      const count = isRead ? Number(counter.view.getBigUint64(0, true)) : 0;
      // The last count is the removal's.
      return { count: ended ? Math.max(count - 1, 0) : count, ended };
    },
    [Symbol.dispose]: () => event.close(),
  };
}
