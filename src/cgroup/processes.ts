/** The processes of a container's cgroups, sub-cgroups included: listing, killing, and removing the directories. */
import { osErrorNumber, RunkError } from "../errors.ts";
import { E, errnoText } from "../abi/errno.ts";

/** Pids of a directory's cgroup and of those below it; none when it does not exist. */
export function pidsBelow(directory: string): number[] {
  let own: string;
  try {
    own = Deno.readTextFileSync(`${directory}/cgroup.procs`);
  } catch {
    return [];
  }
  const pids = own.split("\n").filter((line) => line !== "").map(Number);
  for (const child of childrenOf(directory)) pids.push(...pidsBelow(`${directory}/${child}`));
  return pids;
}

/** The directory in which a container's processes are looked up: the devices controller's on v1, as in runc. */
export function processDirectory(paths: Readonly<Record<string, string>> = {}): string | undefined {
  return paths["devices"] ?? paths[""] ?? Object.values(paths)[0];
}

/**
 * Kills every process of a container's cgroups. cgroup.kill does it at once where there is a unified hierarchy that the
 * processes are in; else rounds of SIGKILL, until a round finds no one.
 */
export async function killAll(paths: Readonly<Record<string, string>> = {}): Promise<void> {
  const unified = paths[""];
  if (unified !== undefined && writeIfThere(`${unified}/cgroup.kill`, "1")) return;
  const directory = processDirectory(paths);
  if (directory === undefined) return;
  const freezer = paths["freezer"];
  const FREEZE_ROUNDS = 5;
  for (let round = 0; round < FREEZE_ROUNDS; round++) {
    // Frozen, none can fork while the list is worked through.
    if (freezer !== undefined) writeIfThere(`${freezer}/freezer.state`, "FROZEN");
    const pids = pidsBelow(directory);
    for (const pid of pids) kill(pid);
    if (freezer !== undefined) writeIfThere(`${freezer}/freezer.state`, "THAWED");
    if (pids.length === 0) return;
    await pause(10);
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
export async function removeCgroups(paths: Readonly<Record<string, string>> = {}): Promise<void> {
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
  const errno = osErrorNumber(failure);
  throw new RunkError(`unable to remove cgroup ${left[0]}: ${errno === undefined ? failure : errnoText(errno)}`, {
    cause: failure,
  });
}

function removeTree(directory: string): void {
  try {
    // Most cgroups have none below them.
    Deno.removeSync(directory);
    return;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    if (osErrorNumber(error) !== E.BUSY) throw error;
  }
  for (const child of childrenOf(directory)) removeTree(`${directory}/${child}`);
  try {
    Deno.removeSync(directory);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function childrenOf(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
  } catch {
    return [];
  }
}

function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    // Gone already.
    if (!(error instanceof Deno.errors.NotFound) && osErrorNumber(error) !== E.SRCH) throw error;
  }
}

/** Writes a cgroup file; false when there is none. */
function writeIfThere(path: string, value: string): boolean {
  try {
    Deno.writeTextFileSync(path, value, { create: false });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || osErrorNumber(error) === E.NODEV) return false;
    throw error;
  }
}

const pause = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
