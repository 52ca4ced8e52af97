/** Where a container's cgroups are, by runc's rules. Pure. */
import { cleanPath } from "../spec/clean_path.ts";
import { RunkError } from "../errors.ts";
import type { CgroupLayout, CgroupMount } from "../host/facts.ts";

/** One cgroup directory of a container; on v1, controllers that are mounted together share it. */
export interface CgroupDirectory {
  readonly controllers: readonly string[];
  /** Mount point of its hierarchy. */
  readonly mountpoint: string;
  /** The directory above it that is there already: the mount point, or the caller's own cgroup. */
  readonly base: string;
  readonly path: string;
}

/**
 * A container's directories.
 * - An absolute cgroupsPath lies under the hierarchy's mount point; a relative one, or the id where there is none,
 *   under the caller's own cgroup (v1) or beside it (v2).
 * - Every hierarchy that is mounted takes part, the unified one of a hybrid host included.
 * @throws {RunkError} when a v1 host has no devices controller: containers could open any device there
 */
export function cgroupDirectories(
  layout: CgroupLayout,
  cgroupsPath: string | undefined,
  id: string,
): CgroupDirectory[] {
  const inner = cgroupsPath === undefined || cgroupsPath === "" ? id : cleanPath(cgroupsPath);
  if (layout.version === "v1" && !layout.mounts.some(({ controllers }) => controllers.includes("devices"))) {
    throw new RunkError("the devices cgroup controller is not mounted, so access to devices cannot be limited");
  }
  return layout.mounts.map((mount) => {
    const { controllers, mountpoint } = mount;
    const base = inner.startsWith("/") ? mountpoint : ownDirectory(mount, layout.version);
    const path = join(base, inner);
    // Limits, freezing and removal of such a cgroup would hit processes that are not the container's.
    if (path === base) {
      throw new RunkError(
        `cgroupsPath ${
          JSON.stringify(cgroupsPath)
        } leads to a cgroup of the host's own: ${path} [config.json /linux/cgroupsPath]`,
      );
    }
    return { controllers, mountpoint, base, path };
  });
}

/** The directory of the caller's own cgroup (on v2: its parent, because a cgroup with processes has no children). */
export function ownDirectory(mount: CgroupMount, version: CgroupLayout["version"]): string {
  const { own, root, mountpoint } = mount;
  const relative = root === "/" ? own : own === root ? "/" : own.startsWith(root + "/") ? own.slice(root.length) : own;
  const path = version === "v2" ? parentOf(relative) : relative;
  return join(mountpoint, path);
}

/** Directories as state.json records them: controller -> path. */
export function cgroupPaths(directories: readonly CgroupDirectory[]): Record<string, string> {
  return Object.fromEntries(directories.flatMap(({ controllers, path }) => controllers.map((name) => [name, path])));
}

export type CgroupVersion = CgroupLayout["version"];

/** A container's recorded directories. */
export type CgroupPaths = Readonly<Record<string, string>>;

/** By which version a container's cgroups work; on a hybrid host, where "" stands beside v1 controllers, by v1. */
export function versionOf(paths: CgroupPaths): CgroupVersion {
  const controllers = Object.keys(paths);
  if (controllers.length === 0) return "none";
  return controllers.every((name) => name === "") ? "v2" : "v1";
}

/** The directory in which a controller's files are; undefined when the container has none. */
export const controllerDirectory = (paths: CgroupPaths, controller: string): string | undefined =>
  paths[versionOf(paths) === "v2" ? "" : controller];

const parentOf = (path: string) => path.slice(0, path.lastIndexOf("/")) || "/";
const join = (a: string, b: string) => cleanPath(a + "/" + b);

/** The directory in which a container's processes are looked up: the devices controller's on v1, as in runc. */
export function processDirectory(paths: CgroupPaths = {}): string | undefined {
  return paths["devices"] ?? paths[""] ?? Object.values(paths)[0];
}
