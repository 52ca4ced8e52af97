/** What only v2 needs of a container's cgroup. */
import { writesV2 } from "../../cgroup/v2.ts";
import type { Resources } from "../../spec/schema.ts";
import type { Recipe } from "../recipe.ts";
import { unifiedPath, writeLimits } from "./cgroups.ts";

/** Host lane: limits of the directory, which is made. */
export function limitV2({ host, request: { cgroups } }: Recipe, resources: Resources): void {
  const directory = unifiedPath(cgroups);
  if (directory !== undefined) writeLimits(host, directory, writesV2(resources));
}
