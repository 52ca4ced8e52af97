/** Out-of-memory events of a v2 cgroup: inotify on the files that the kernel marks as changed. */
import { call, tryCall } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { cstring, Memory } from "../../ffi/memory.ts";
import { O } from "../abi/arch.ts";
import { INOTIFY } from "../abi/flags.ts";
import { RunkError } from "../errors.ts";
import { readIfThere } from "../files.ts";
import type { OomWatch } from "./oom.ts";

const EVENTS_SIZE = 4096;

/** @throws {RunkError} when the cgroup is gone, or has no memory controller */
export function watchOomV2(directory: string): OomWatch {
  const { NONBLOCK, CLOEXEC } = O[arch];
  const watch = new Fd(call("inotify_init1", NONBLOCK | CLOEXEC));
  try {
    for (const file of ["memory.events", "cgroup.events"]) {
      call("inotify_add_watch", watch.number, cstring(`${directory}/${file}`), INOTIFY.MODIFY);
    }
  } catch (error) {
    watch.close();
    throw new RunkError(`cannot watch ${directory}/memory.events`, { cause: error });
  }
  const events = new Memory(EVENTS_SIZE);
  let seen = value(directory, "memory.events", "oom_kill") ?? 0;
  return {
    fd: watch.number,
    read: () => {
      while (tryCall("read", watch.number, events, EVENTS_SIZE) > 0);
      const kills = value(directory, "memory.events", "oom_kill");
      const count = Math.max((kills ?? seen) - seen, 0);
      seen += count;
      return { count, ended: kills === undefined || value(directory, "cgroup.events", "populated") !== 1 };
    },
    [Symbol.dispose]: () => watch.close(),
  };
}

/** A number from a file of names and numbers; undefined when the cgroup is gone. */
function value(directory: string, file: string, name: string): number | undefined {
  const text = readIfThere(`${directory}/${file}`);
  return text === undefined ? undefined : Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
}
