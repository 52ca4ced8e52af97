/** The end of a container's resctrl groups. */
import { describeFileError, RunkError } from "../errors.ts";
import { isAbsent } from "../files.ts";

/** What state.json says of a container's groups. */
export interface ResctrlRecord {
  readonly intel_rdt_path?: string;
  readonly intel_rdt_mon_path?: string;
  readonly config?: { readonly intel_rdt?: { readonly closID?: string | undefined } };
}

/**
 * Removes the groups that are the container's own: its control group unless that has a name of its own, or else its
 * monitoring group. Their processes fall back to the group above.
 */
export function removeResctrl({ intel_rdt_path, intel_rdt_mon_path, config }: ResctrlRecord): void {
  const path = config?.intel_rdt?.closID ? intel_rdt_mon_path : intel_rdt_path;
  if (path === undefined) return;
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (isAbsent(error)) return;
    throw new RunkError(describeFileError("unable to remove resctrl group", path, error));
  }
}
