/** Which processes are in a container. */
import { processDirectory } from "../cgroup/paths.ts";
import { pidsBelow } from "../cgroup/processes.ts";
import { find } from "./find.ts";
import type { Runtime } from "./runtime.ts";

/** The pids, on the host, of all processes in a container's cgroups. @throws {RunkError} "container does not exist" */
export function processes(runtime: Pick<Runtime, "root">, id: string): number[] {
  const directory = processDirectory(find(runtime, id).record.cgroup_paths);
  return directory === undefined ? [] : pidsBelow(directory);
}
