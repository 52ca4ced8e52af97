/** Cgroups of a process of exec other than the container's own: those asked for, and where its first process has gone. */
import { parseCgroupFile } from "../host/cgroup_layout.ts";
import { type CgroupPaths, versionOf } from "../cgroup/paths.ts";
import { cleanPath } from "../spec/clean_path.ts";
import { RunkError } from "../errors.ts";
import { exists, readIfThere } from "../files.ts";
import { StepError } from "../init/drive.ts";
import type { Step } from "../plan/types.ts";

/**
 * A container's cgroups with what --cgroup asks for in place of them: one path for all, or
 * controller[,controller...]:path for some.
 * @throws {RunkError} in runc's words
 */
export function subCgroups(paths: CgroupPaths, asked: readonly string[]): CgroupPaths {
  const result = { ...paths };
  for (const [controller, path] of parseAsked(asked)) {
    const controllers = controller === "" ? Object.keys(paths) : [controller];
    for (const name of controllers) {
      const base = paths[name];
      if (base === undefined) throw new RunkError(`unknown controller ${name} in SubCgroupPaths`);
      result[name] = below(base, path);
    }
  }
  // A path for all means the controllers: beside them, the unified hierarchy has the sub-cgroup or has not.
  const [isForAll, base] = [asked.length === 1 && !asked[0]!.includes(":"), paths[""]];
  if (isForAll && base !== undefined && versionOf(paths) === "v1" && !exists(result[""]!)) result[""] = base;
  return result;
}

function parseAsked(asked: readonly string[]): Map<string, string> {
  const result = new Map<string, string>();
  for (const argument of asked) {
    const colon = argument.indexOf(":");
    if (colon < 0) {
      if (asked.length !== 1) {
        throw new RunkError(`invalid --cgroup argument: ${argument} (missing <controller>: prefix)`);
      }
      result.set("", argument);
      continue;
    }
    for (const controller of argument.slice(0, colon).split(",")) {
      if (controller === "") {
        throw new RunkError(`invalid --cgroup argument: ${argument} (empty <controller> prefix)`);
      }
      if (result.has(controller)) {
        throw new RunkError(`invalid --cgroup argument(s): controller ${controller} specified multiple times`);
      }
      result.set(controller, argument.slice(colon + 1));
    }
  }
  return result;
}

/** The directory `path` below `base`, which ".." must not leave. */
function below(base: string, path: string): string {
  const result = cleanPath(`${base}/${path}`);
  if (result !== base && !result.startsWith(base + "/")) throw new RunkError(`bad sub cgroup path: ${path}`);
  return result;
}

/** The process could not be put into its cgroups. */
export const isCgroupFailure = (error: unknown): error is StepError =>
  error instanceof StepError && error.failures[0] !== undefined && joins(error.failures[0].step);
const joins = ({ call, task, lane }: Step) =>
  task.path === "/linux/cgroupsPath" || (lane === "host" && call === "clone3");

/**
 * The unified cgroup that the container's first process is in, when that is not the recorded one: it may have moved
 * below it, so that the recorded one can hold no processes any more, or away.
 */
export function cgroupOfInit(paths: CgroupPaths, pid: number, mountpoint: string | undefined): CgroupPaths | undefined {
  if (mountpoint === undefined) return undefined;
  const own = parseCgroupFile(readIfThere(`/proc/${pid}/cgroup`) ?? "").get("");
  const path = own && cleanPath(mountpoint + own);
  return path === undefined || path === paths[""] ? undefined : { ...paths, "": path };
}
