/** Removes what a container whose first process has ended leaves behind. */
import { killAll } from "../cgroup/processes.ts";
import { annotations, bundleOf, hasPrivateNamespace, type RareRecord, type StateRecord } from "../state/record.ts";
import * as store from "../state/store.ts";
import { removeContainerCgroups } from "./remove_cgroups.ts";
import type { Runtime } from "./runtime.ts";

/** Other processes, cgroups, the record; then the poststop hooks run, in runc's order. */
export async function destroy(runtime: Runtime, record: StateRecord): Promise<void> {
  // Without a pid namespace of its own, its other processes have outlived the first.
  if (!hasPrivateNamespace(record, "NEWPID")) await killAll(record.cgroup_paths);
  await removeContainerCgroups(runtime, record);
  await removeShares(record);
  store.remove(runtime.root, record.id);
  const hooks = record.config.Hooks?.["poststop"] ?? [];
  if (hooks.length === 0) return;
  const { runHostHooks } = await import("./host_hooks.ts");
  await runHostHooks(runtime, "poststop", hooks, {
    id: record.id,
    status: "stopped",
    bundle: bundleOf(record),
    annotations: annotations(record),
  });
}

/** Intel RDT: shares of caches that are the container's own. */
export async function removeShares(record: Partial<RareRecord>): Promise<void> {
  // runc writes an empty one.
  if (!record.intel_rdt_path) return;
  (await import("../cgroup/remove_resctrl.ts")).removeResctrl(record);
}
