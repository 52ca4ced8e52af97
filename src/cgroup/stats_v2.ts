/** Statistics from the files of a v2 cgroup. */
import { RunkError } from "../errors.ts";
import type { CgroupStats } from "./stats.ts";

/** @throws {RunkError} always: runk reads none on v2 yet */
export function readStatsV2(directory: string): CgroupStats {
  throw new RunkError(`runk does not read the statistics of cgroup v2 yet (${directory})`);
}
