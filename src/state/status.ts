/** What state a container is in, by runc's rules, and which commands that allows. */
import { isFrozen } from "../cgroup/freezer.ts";
import { exists, readIfThere } from "../files.ts";
import { fifoOf } from "./store.ts";
import type { StateRecord } from "./record.ts";

export type Status = "created" | "running" | "paused" | "stopped";

/**
 * The status, by the first rule that holds: its cgroup is frozen; its process is gone (or another has its pid, or it is
 * dead and not yet collected); the start gate is still there; else it runs.
 */
export function statusOf(root: string, record: StateRecord): Status {
  if (isFrozen(record.cgroup_paths)) return "paused";
  if (!isAlive(record)) return "stopped";
  return exists(fifoOf(root, record.id)) ? "created" : "running";
}

/** The first process of the container is there and alive. */
export function isAlive({ init_process_pid, init_process_start }: StateRecord): boolean {
  const stat = processStat(init_process_pid);
  return stat !== undefined && stat.start === init_process_start && stat.state !== "Z" && stat.state !== "X";
}

/** State letter and start time (clock ticks after boot) of a process; undefined when there is none. Source: proc(5). */
export function processStat(pid: number): { state: string; start: number } | undefined {
  if (pid <= 0) return undefined;
  const text = readIfThere(`/proc/${pid}/stat`);
  // The command's name may hold anything, parentheses and blanks included.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  if (fields === undefined) return undefined;
  const [state, start] = [fields[0], Number(fields[19])];
  return state === undefined || !Number.isInteger(start) ? undefined : { state, start };
}
