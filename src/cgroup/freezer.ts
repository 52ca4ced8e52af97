/** Stopping all processes of a cgroup, and letting them go on. Source: cgroup-v1/freezer-subsystem.rst, cgroup-v2.rst. */
import { RunkError } from "../errors.ts";
import { isAbsent, readIfThere } from "../files.ts";
import { type CgroupPaths, versionOf } from "./paths.ts";

const TRIES = 1000;
/** On v1 a cgroup whose processes keep forking is caught best by letting it go now and then. */
const TRIES_PER_THAW = 50;
const PAUSE = 10;

/** Whether a container's processes are stopped (on v1 FREEZING, where some still are not, is not enough). */
export function isFrozen(paths: CgroupPaths = {}): boolean {
  const v1 = paths["freezer"];
  if (v1 !== undefined) return readIfThere(`${v1}/freezer.state`)?.trim() === "FROZEN";
  const v2 = paths[""];
  return v2 !== undefined && (readIfThere(`${v2}/cgroup.events`)?.includes("frozen 1") ?? false);
}

/**
 * Stops all processes of a container's cgroups, and waits until they are.
 * @throws {RunkError} when that does not come about, or there is no freezer; the cgroup is thawed again then
 */
export async function freeze(paths: CgroupPaths): Promise<void> {
  const isV2 = versionOf(paths) === "v2";
  const directory = isV2 ? paths[""] : paths["freezer"];
  if (directory === undefined) throw new RunkError("cannot toggle freezer: cgroups not configured for container");
  try {
    for (let i = 1; i <= TRIES; i++) {
      if (!isV2 && i % TRIES_PER_THAW === 0) thaw(paths);
      if (!isV2 || i === 1) write(`${directory}/${isV2 ? "cgroup.freeze" : "freezer.state"}`, isV2 ? "1" : "FROZEN");
      if (isFrozen(paths)) return;
      if (isV2 || i % TRIES_PER_THAW === 0) await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  } catch (error) {
    thaw(paths);
    throw error;
  }
  thaw(paths);
  throw new RunkError(`unable to freeze ${directory}: some processes do not stop`);
}

/** Lets a container's processes go on; nothing when they do, or the cgroup is gone. */
export function thaw(paths: CgroupPaths = {}): void {
  const isV2 = versionOf(paths) === "v2";
  const directory = isV2 ? paths[""] : paths["freezer"];
  if (directory === undefined) return;
  const [file, thawed] = isV2 ? [`${directory}/cgroup.freeze`, "0"] : [`${directory}/freezer.state`, "THAWED"];
  const state = readIfThere(file)?.trim();
  // Whoever may not write here has not frozen anything.
  if (state === undefined || state === thawed) return;
  try {
    write(file, thawed);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

const write = (path: string, value: string) => Deno.writeTextFileSync(path, value, { create: false });
