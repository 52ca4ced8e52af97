/** Hearing of a container that runs out of memory. */
import { type CgroupPaths, versionOf } from "./paths.ts";

/** Tells when the kernel's out-of-memory killer was at work in a container's cgroups. */
export interface OomWatch extends Disposable {
  /** Readable when there is news: wait for it with poll, then call read. */
  readonly fd: number;
  /** How often memory ran out since the last call, and whether the cgroup has ended: removed, or without processes. */
  read(): { readonly count: number; readonly ended: boolean };
}

/** @throws {RunkError} when the container has no memory cgroup */
export async function watchOom(paths: CgroupPaths): Promise<OomWatch> {
  return versionOf(paths) === "v2"
    ? (await import("./oom_v2.ts")).watchOomV2(paths[""]!)
    : (await import("./oom_v1.ts")).watchOomV1(paths["memory"]);
}
