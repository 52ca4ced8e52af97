/** Reads the host's cgroup mounts: which hierarchies there are, where, and where the caller is in them. Pure. */
import type { CgroupLayout, CgroupMount } from "./facts.ts";

const DEFAULT_ROOT = "/sys/fs/cgroup";

/**
 * @param mountinfo text of /proc/self/mountinfo
 * @param cgroup text of /proc/self/cgroup
 */
export function parseLayout(mountinfo: string, cgroup: string): CgroupLayout {
  const own = parseCgroupFile(cgroup);
  const mounts: CgroupMount[] = [];
  const seen = new Set<string>();
  for (const line of mountinfo.split("\n")) {
    const separator = line.indexOf(" - cgroup");
    if (separator < 0) continue;
    const fields = line.slice(0, separator).split(" ");
    const [type, , options] = line.slice(separator + 3).split(" ");
    const isV2 = type === "cgroup2";
    // Of a v1 hierarchy's super options, those that /proc/self/cgroup lists are its controllers.
    const controllers = isV2 ? [""] : (options ?? "").split(",").filter((option) => option !== "" && own.has(option));
    const first = controllers[0];
    if (first === undefined || !own.has(first) || seen.has(first)) continue;
    for (const name of controllers) seen.add(name);
    mounts.push({
      controllers,
      mountpoint: unescape(fields[4] ?? ""),
      root: unescape(fields[3] ?? "/"),
      own: own.get(first)!,
    });
  }
  const unified = mounts.find((mount) => mount.controllers[0] === "");
  if (unified !== undefined && unified.mountpoint === DEFAULT_ROOT) {
    return { version: "v2", root: DEFAULT_ROOT, mounts: [unified] };
  }
  const firstMount = mounts.find((mount) => mount !== unified);
  if (firstMount === undefined) {
    return unified === undefined
      ? { version: "none", root: DEFAULT_ROOT, mounts: [] }
      : { version: "v2", root: unified.mountpoint, mounts: [unified] };
  }
  return { version: "v1", root: parent(firstMount.mountpoint), mounts };
}

/** /proc/<pid>/cgroup: controller -> path; the unified hierarchy under "". */
export function parseCgroupFile(text: string): Map<string, string> {
  const result = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, controllers, ...path] = line.split(":");
    if (controllers === undefined || path.length === 0) continue;
    for (const name of controllers.split(",")) result.set(name, path.join(":"));
  }
  return result;
}

const parent = (path: string) => path.slice(0, path.lastIndexOf("/")) || "/";
/** mountinfo writes blanks and backslashes in octal. */
export const unescape = (text: string) =>
  text.includes("\\") ? text.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8))) : text;
