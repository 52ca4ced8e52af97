/** Stops all processes of a container, and lets them go on. */
import { freeze, thaw } from "../cgroup/freezer.ts";
import { RunkError } from "../errors.ts";
import { withContainer } from "./find.ts";
import { NOT_RUNNING } from "./kill.ts";
import type { Runtime } from "./runtime.ts";

/** @throws {RunkError} unless the container is created or running, and when it cannot be stopped */
export async function pause(runtime: Runtime, id: string): Promise<void> {
  await withContainer(runtime, id, async ({ record, status }) => {
    if (status !== "running" && status !== "created") throw new RunkError(NOT_RUNNING);
    await freeze(record.cgroup_paths ?? {});
  });
}

/** @throws {RunkError} unless the container is paused */
export async function resume(runtime: Runtime, id: string): Promise<void> {
  await withContainer(runtime, id, ({ record, status }) => {
    if (status !== "paused") throw new RunkError("container not paused");
    thaw(record.cgroup_paths);
  });
}
