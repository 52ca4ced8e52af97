/** The control and monitoring groups of resctrl (Intel RDT) that a container has: directories of its file system. Pure. */
import type { Linux } from "../spec/schema.ts";

export interface ResctrlGroups {
  readonly control: string;
  /** The container's own monitoring group in it. */
  readonly monitoring: string | undefined;
}

/**
 * Where the groups are: the control group is named by config.json (closID, perhaps shared with others; "/" is the
 * whole system's), or by the container's id. Undefined without intelRdt.
 */
export function resctrlGroups(
  { intelRdt }: Pick<Linux, "intelRdt">,
  mountpoint: string | undefined,
  id: string,
): ResctrlGroups | undefined {
  if (intelRdt === undefined || mountpoint === undefined) return undefined;
  const { closID, enableMonitoring } = intelRdt;
  const control = closID === "/" ? mountpoint : `${mountpoint}/${closID || id}`;
  return { control, monitoring: enableMonitoring ? `${control}/mon_groups/${id}` : undefined };
}
