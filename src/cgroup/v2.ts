/** linux.resources -> what to write into which file of a v2 cgroup, in order. Pure. */
import { RunkError } from "../errors.ts";
import type { Resources } from "../spec/schema.ts";
import type { CgroupWrite } from "./writes.ts";

/** @throws {RunkError} for any limit: runk sets none on v2 yet */
export function writesV2({ devices: _, ...resources }: Resources): CgroupWrite[] {
  const [first] = Object.keys(resources);
  if (first !== undefined) {
    throw new RunkError(`/linux/resources/${first}: runk does not set limits on cgroup v2 yet`);
  }
  return [];
}
