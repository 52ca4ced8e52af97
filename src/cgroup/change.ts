/** Changes limits of cgroups that are in use, all or none. */
import { E, errnoText } from "../abi/errno.ts";
import { osErrorNumber, RunkError } from "../errors.ts";
import { exists, readIfThere } from "../files.ts";
import { describeShortage } from "./oom.ts";
import type { Resources } from "../spec/schema.ts";
import { type CgroupPaths, controllerDirectory, versionOf } from "./paths.ts";
import type { CgroupWrite } from "./writes.ts";

interface Done {
  readonly file: string;
  /** What the file held before; undefined where it does not say. */
  readonly before: string | undefined;
}

/**
 * Writes limits in order. When one is refused, what was written before is set back to what it was.
 * @returns what sets everything back
 * @throws {RunkError} naming file, value and error number
 */
export function changeLimits(paths: CgroupPaths, writes: readonly CgroupWrite[]): () => void {
  const done: Done[] = [];
  try {
    for (const controller of new Set(writes.map(({ controller }) => controller))) {
      const late: CgroupWrite[] = [];
      for (const each of writes.filter((write) => write.controller === controller)) {
        if (!change(paths, each, done, each.retryOn)) late.push(each);
      }
      for (const each of late) change(paths, each, done);
    }
  } catch (error) {
    restore(done);
    throw error;
  }
  return () => restore(done);
}

/**
 * v2 makes room for a limit below the usage by killing; who asks for it is told instead.
 * @throws {RunkError} in runc's words
 */
export function checkUsage(paths: CgroupPaths, { memory }: Resources): void {
  if (!memory?.checkBeforeUpdate || versionOf(paths) !== "v2") return;
  const usage = BigInt(readIfThere(`${paths[""]}/memory.current`)?.trim() || -1);
  const reject = (what: string, limit: number | bigint | undefined = 0) => {
    if (BigInt(limit) <= 0n || BigInt(limit) > usage) return;
    throw new RunkError(`rejecting ${what} limit ${limit} <= usage ${usage}`);
  };
  reject("memory+swap", memory.swap);
  reject("memory", memory.limit);
}

/** @returns false for an error after which the write has to be tried again */
function change(paths: CgroupPaths, write: CgroupWrite, done: Done[], retryOn: readonly number[] = []): boolean {
  const { controller, tolerate = [], otherFile } = write;
  const directory = controllerDirectory(paths, controller);
  if (directory === undefined) {
    throw new RunkError(`cannot set ${controller} limit: container could not join or create cgroup`);
  }
  const isOther = otherFile !== undefined && !exists(`${directory}/${write.file}`);
  const file = `${directory}/${isOther ? otherFile : write.file}`;
  const value = isOther ? write.otherValue ?? write.value : write.value;
  const before = previous(file, value);
  try {
    Deno.writeTextFileSync(file, value, { create: false });
    done.push({ file, before });
    return true;
  } catch (error) {
    const errno = osErrorNumber(error);
    if (errno !== undefined && tolerate.includes(errno)) return true;
    if (errno !== undefined && retryOn.includes(errno)) return false;
    throw new RunkError(explain(write, file, directory, errno, error));
  }
}

/** runc's words where it has special ones: a memory limit below what is used. */
function explain(write: CgroupWrite, file: string, directory: string, errno: number | undefined, error: unknown) {
  const { value, path } = write;
  if (errno === E.BUSY && write.file === "memory.limit_in_bytes") {
    return `unable to set memory limit to ${value} (${describeShortage({ memory: directory }).usage})`;
  }
  const cause = errno === undefined ? String(error) : errnoText(errno);
  return `failed to write ${JSON.stringify(value)}: write ${file}: ${cause} [${path}]`;
}

/** Last first, because each step back leads to what was valid before. */
function restore(done: readonly Done[]): void {
  for (const { file, before } of done.toReversed()) {
    if (before === undefined) continue;
    try {
      Deno.writeTextFileSync(file, before, { create: false });
    } catch {
      // The error that led here says more.
    }
  }
}

/** What has to be written to have a file as it is now, when `value` is written into it. */
function previous(file: string, value: string): string | undefined {
  const lines = contents(file)?.split("\n").filter((line) => line !== "") ?? [];
  const name = file.slice(file.lastIndexOf("/") + 1);
  if (name === "memory.oom_control") return lines[0]?.split(" ")[1];
  const key = value.split(" ")[0]!;
  if (value.includes(" ") && key.includes(":")) {
    const none = name.endsWith(".max") ? "max" : name.endsWith(".weight") ? "default" : "0";
    // A list of devices; one that is not in it has no limit.
    return lines.find((line) => line.startsWith(`${key} `)) ?? value.replace(/(?<=[ =])\d+/g, none);
  }
  const own = lines.find((line) => line.startsWith(`${value.includes(" ") ? key : "default"} `));
  return own ?? (lines.length === 1 ? lines[0] : undefined);
}

/** What a file holds; undefined for one that can only be written (memory.reclaim), and one that is not there. */
const contents = (file: string) => readIfThere(file, [E.INVAL, E.ACCES]);
