/** A plan from the cache, or made and kept there. */
import BUILD from "../build.const.ts";
import type { HostFacts } from "../host/facts.ts";
import { shapeKey } from "../plan/parameterize.ts";
import { type CachedPlan, loadPlan } from "../state/plan_cache.ts";

/**
 * @param directory of the cache; undefined for none
 * @param shape what the plan is for, without names; undefined for a plan that serves once
 */
export async function planOf(
  directory: string | undefined,
  shape: unknown,
  facts: HostFacts,
  make: () => Promise<CachedPlan>,
): Promise<CachedPlan> {
  // Sources that run as they are may change between two starts.
  if (directory === undefined || shape === undefined || BUILD === "") return await make();
  const key = shapeKey(BUILD, shape, facts);
  if (key === undefined) return await make();
  const known = loadPlan(directory, key);
  if (known !== undefined) return known;
  const made = await make();
  const { savePlan } = await import("../state/plan_keeping.ts");
  savePlan(directory, key, made);
  return made;
}
