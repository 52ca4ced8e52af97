/** The processes of a container's cgroups, sub-cgroups included: listing, killing, and removing the directories. */
import { describeFileError, osErrorNumber, RunkError } from "../errors.ts";
import { O } from "../abi/arch.ts";
import { E } from "../abi/errno.ts";
import { AT_FDCWD } from "../abi/flags.ts";
import { call } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { cstring } from "../../ffi/memory.ts";
import { exists, isAbsent, readIfThere } from "../files.ts";
import { type CgroupPaths, processDirectory } from "./paths.ts";

/** Pids of a directory's cgroup and of those below it; none when it does not exist. */
export function pidsBelow(directory: string): number[] {
  using place = openIfLong(directory);
  if (place === undefined) return [];
  const own = readIfThere(`${place.path}/cgroup.procs`, [E.OPNOTSUPP]);
  // A threaded cgroup lists its threads alone.
  const pids = own === undefined ? processesOf(readIfThere(`${place.path}/cgroup.threads`) ?? "") : numbers(own);
  for (const child of childrenOf(place.path)) pids.push(...pidsBelow(`${place.path}/${child}`));
  return pids;
}

/** Longer paths leave no room for names below them: a path has 4096 bytes. */
const LONG = 3000;

/**
 * A directory under a path that can be added to: whoever may make cgroups in a container can make them deeper than a path
 * is long. Undefined when there is none.
 */
function openIfLong(directory: string): Disposable & { readonly path: string } | undefined {
  if (directory.length < LONG) return { path: directory, [Symbol.dispose]: () => {} };
  const flags = O[arch].PATH | O[arch].DIRECTORY | O[arch].CLOEXEC;
  try {
    const fd = new Fd(call("openat", AT_FDCWD, cstring(directory), flags, 0));
    return { path: `/proc/self/fd/${fd.number}`, [Symbol.dispose]: () => fd.close() };
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

const numbers = (lines: string) => lines.split("\n").filter((line) => line !== "").map(Number);

function processesOf(threads: string): number[] {
  const statuses = numbers(threads).map((tid) => readIfThere(`/proc/${tid}/status`) ?? "");
  const pids = statuses.map((status) => /^Tgid:\t(\d+)$/m.exec(status)?.[1]);
  return [...new Set(pids)].filter((pid) => pid !== undefined).map(Number);
}

/** Whether the cgroup from which a container's processes are known is there. */
export function hasProcessList(paths: CgroupPaths = {}): boolean {
  const directory = processDirectory(paths);
  return directory !== undefined && exists(directory);
}

const KILL_PATIENCE = 10_000;

/**
 * Kills every process of a container's cgroups and waits until no one is left; nothing when there are no cgroups.
 * Processes that keep forking are stopped first: by cgroup.kill in the unified hierarchy, by the freezer on v1.
 * @throws {RunkError} when some will not die
 */
export async function killAll(paths: CgroupPaths = {}): Promise<void> {
  const directory = processDirectory(paths);
  if (directory === undefined) return;
  const end = performance.now() + KILL_PATIENCE;
  for (let wait = FIRST_PAUSE; pidsBelow(directory).length > 0; wait = Math.min(2 * wait, LONGEST_PAUSE)) {
    if (performance.now() > end) {
      throw new RunkError(`processes in ${directory} will not die: ${pidsBelow(directory).join(", ")}`);
    }
    const { "": unified, freezer } = paths;
    // A threaded cgroup cannot be killed as a whole.
    const isKilled = unified !== undefined && writeIfThere(`${unified}/cgroup.kill`, "1", [E.OPNOTSUPP]);
    if (freezer !== undefined) killFrozen(directory, `${freezer}/freezer.state`, ["FROZEN", "THAWED"]);
    else if (!isKilled) killFrozen(directory, `${directory}/cgroup.freeze`, ["1", "0"]);
    await pause(wait);
  }
}

/** Frozen (or about to be), none can fork while the list is worked through. */
function killFrozen(directory: string, freezer: string, [frozen, thawed]: readonly [string, string]): void {
  writeIfThere(freezer, frozen);
  try {
    for (const pid of pidsBelow(directory)) kill(pid);
  } finally {
    writeIfThere(freezer, thawed);
  }
}

const REMOVE_TRIES = 60;
const FIRST_PAUSE = 1;
const LONGEST_PAUSE = 250;

/**
 * Removes a container's cgroup directories with those below them. A directory whose last process has just died stays
 * busy for a moment: tried again with growing pauses.
 * @throws {RunkError} naming the directory that stays
 */
export async function removeCgroups(paths: CgroupPaths = {}): Promise<void> {
  let left = [...new Set(Object.values(paths))];
  let failure: unknown;
  for (
    let attempt = 0, wait = FIRST_PAUSE;
    attempt < REMOVE_TRIES;
    attempt++, wait = Math.min(2 * wait, LONGEST_PAUSE)
  ) {
    left = left.filter((directory) => {
      try {
        removeTree(directory);
        return false;
      } catch (error) {
        failure = error;
        return true;
      }
    });
    if (left.length === 0) return;
    if (osErrorNumber(failure) !== E.BUSY) break;
    await pause(wait);
  }
  const pids = pidsBelow(left[0]!);
  const users = pids.length === 0 ? "" : ` (in use by ${pids.length} process(es): ${pids.slice(0, 10).join(", ")})`;
  throw new RunkError(describeFileError("unable to remove cgroup", left[0]!, failure) + users);
}

function removeTree(directory: string): void {
  try {
    // Most cgroups have none below them.
    Deno.removeSync(directory);
    return;
  } catch (error) {
    if (isAbsent(error)) return;
    if (osErrorNumber(error) !== E.BUSY) throw error;
  }
  using place = openIfLong(directory);
  if (place !== undefined) { for (const child of childrenOf(place.path)) removeTree(`${place.path}/${child}`); }
  try {
    Deno.removeSync(directory);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

function childrenOf(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

/** Writes a cgroup file; false when there is none, or for one of the errors that mean the same. */
function writeIfThere(path: string, value: string, tolerate: readonly number[] = []): boolean {
  try {
    Deno.writeTextFileSync(path, value, { create: false });
    return true;
  } catch (error) {
    if (isAbsent(error) || tolerate.includes(osErrorNumber(error) ?? 0)) return false;
    throw error;
  }
}

const pause = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
