/** Out-of-memory events of a v2 cgroup. */
import { RunkError } from "../errors.ts";
import type { OomWatch } from "./oom.ts";

/** @throws {RunkError} always: runk does not hear of them on v2 yet */
export function watchOomV2(directory: string): OomWatch {
  throw new RunkError(`runk does not report out-of-memory events of cgroup v2 yet (${directory})`);
}
