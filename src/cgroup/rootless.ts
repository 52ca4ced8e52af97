/** Cgroups for callers who may not have all rights over them. */
import { tryCall } from "../../ffi/call.ts";
import { cstring } from "../../ffi/memory.ts";
import { AT, AT_FDCWD } from "../abi/flags.ts";
import { RunkError } from "../errors.ts";
import type { Resources } from "../spec/schema.ts";
import type { CgroupDirectory } from "./paths.ts";

const WRITABLE = 2;

/**
 * Of a container's directories, those that the caller can make. The rest the container goes without, as in runc, unless
 * its config asks for a place or for limits. Device rules are root's alone, and a user namespace does without.
 * @throws {RunkError} when there are limits and no cgroup for them
 */
export function reachableCgroups(
  directories: readonly CgroupDirectory[],
  { cgroupsPath, resources = {} }: { cgroupsPath: string | undefined; resources: Resources | undefined },
): CgroupDirectory[] {
  const own = directories.filter(({ controllers }) => !controllers.includes("devices"));
  const reachable = cgroupsPath ? own : own.filter(({ path }) => mayWrite(path));
  const { devices: _, ...limits } = resources;
  const [first] = Object.keys(limits).filter((key) => Object.keys(limits[key as keyof typeof limits] ?? {}).length > 0);
  if (reachable.length === 0 && first !== undefined) {
    throw new RunkError(
      `cannot set ${first} limit: container could not join or create cgroup [config.json /linux/resources/${first}]`,
    );
  }
  return reachable;
}

/** The deepest directory of a path that is there can be written to. */
function mayWrite(path: string): boolean {
  for (let at = path; at !== ""; at = at.slice(0, at.lastIndexOf("/"))) {
    if (access(at, 0)) return access(at, WRITABLE);
  }
  return false;
}

const access = (path: string, mode: number) => tryCall("faccessat2", AT_FDCWD, cstring(path), mode, AT.EACCESS) === 0;
