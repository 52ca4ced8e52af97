/** Takes a container's cgroups away, whoever made them. */
import { removeCgroups } from "../cgroup/processes.ts";
import type { CgroupsRecord, StateRecord } from "../state/record.ts";
import type { Runtime } from "./runtime.ts";

/** What is known of a container, or of one that never came to be. */
export interface Remains extends Pick<StateRecord, "cgroup_paths"> {
  readonly config?: { readonly cgroups?: CgroupsRecord };
}

/** Processes in them have ended. @throws {RunkError} naming what stays */
export async function removeContainerCgroups(runtime: Runtime, { cgroup_paths, config }: Remains): Promise<void> {
  const cgroups = config?.cgroups;
  let paths = cgroup_paths;
  if (cgroups?.Systemd) {
    const { stopContainerUnit, unitDirectories } = await import("./systemd.ts");
    await stopContainerUnit(runtime, cgroups);
    paths = unitDirectories(cgroups, paths);
  }
  await removeCgroups(paths);
}
