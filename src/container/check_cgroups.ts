/** Cgroups that are there before their container is. */
import { isFrozen } from "../cgroup/freezer.ts";
import { type CgroupPaths, processDirectory } from "../cgroup/paths.ts";
import { pidsBelow } from "../cgroup/processes.ts";
import { RunkError } from "../errors.ts";

/**
 * A cgroup of the container's name may be there already, but no one may be in it: from here on its processes are killed
 * when something fails.
 * @throws {RunkError} when processes of someone else are in it, or any would be stopped in it
 */
export function checkUnused(paths: CgroupPaths): void {
  const directory = processDirectory(paths);
  if (directory === undefined) return;
  const pids = pidsBelow(directory);
  if (pids.length > 0) {
    throw new RunkError(`container's cgroup is not empty: ${pids.length} process(es) found (in ${directory})`);
  }
  if (isFrozen(paths)) throw new RunkError("container's cgroup unexpectedly frozen");
}
