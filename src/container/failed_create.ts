/** What is left to do and to say when a container could not be made. */
import { tryCall } from "../../ffi/call.ts";
import { reap } from "../../ffi/process.ts";
import type { Shortage } from "../cgroup/oom.ts";
import { RunkError } from "../errors.ts";
import { StepError } from "../init/drive.ts";
import * as store from "../state/store.ts";
import { type Remains, removeContainerCgroups } from "./remove_cgroups.ts";
import type { Runtime } from "./runtime.ts";

/** runc's words in front of a failed set-up, which clients show to users, and about memory, which often is the cause. */
export function explain(error: unknown, shortage: Shortage | undefined): unknown {
  if (!(error instanceof StepError)) return error;
  const isLimit = error.message.includes("unable to set memory limit");
  const cause = (shortage?.kills ?? 0) > 0
    ? "container init was OOM-killed (memory limit too low?)"
    : inContainer(error) + error.message + (isLimit && shortage !== undefined ? ` (${shortage.usage})` : "");
  return new RunkError(`unable to start container process: ${cause}`);
}

/** runc's words for what the container's own process fails at, and for hooks, which it has run for it. */
function inContainer({ failures: [first] }: StepError): string {
  const isHost = first === undefined || first.step.lane === "host" && !first.step.task.path?.startsWith("/hooks/");
  return isHost ? "" : "error during container init: ";
}

/** What the plan's own undo may have left: the ended process uncollected, the state directory, busy cgroups. */
export async function cleanUp(
  runtime: Runtime,
  id: string,
  children: readonly number[],
  remains: Remains,
): Promise<void> {
  for (const child of children.filter((pid) => pid > 0)) {
    tryCall("kill", child, 9);
    reap(child, { block: true });
  }
  try {
    await removeContainerCgroups(runtime, remains);
  } catch (error) {
    runtime.warn(String(error instanceof Error ? error.message : error));
  }
  store.remove(runtime.root, id);
}

/** The pid file of a process that failed right after it was written, and its draft when the executor died over it. */
export function removePidFile(path: string, pid: number, error: unknown): void {
  const slash = path.lastIndexOf("/") + 1;
  // A host lane that failed has undone its work; a draft that was in its way is someone else's.
  const isDraftOurs = error instanceof StepError && error.failures.every(({ step }) => step.lane !== "host");
  const files = isDraftOurs ? [path, `${path.slice(0, slash)}.${path.slice(slash)}`] : [path];
  for (const file of files) {
    try {
      if (file !== path || Deno.readTextFileSync(path) === String(pid)) Deno.removeSync(file);
    } catch {
      // not written
    }
  }
}
