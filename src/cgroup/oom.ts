/** Hearing of a container that runs out of memory. */
import { type CgroupPaths, controllerDirectory, versionOf } from "./paths.ts";

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

/** How a container stands with memory. */
export interface Shortage {
  /** How many of its processes were killed because memory ran out. */
  readonly kills: number;
  /** "current usage: 4096, peak usage: 8192" */
  readonly usage: string;
}

/** For words beside an error: what cannot be read is unknown, and throws nothing of its own. */
export function describeShortage(paths: CgroupPaths): Shortage {
  const names = versionOf(paths) === "v2"
    ? ["memory.events", "memory.current", "memory.peak"]
    : ["memory.oom_control", "memory.usage_in_bytes", "memory.max_usage_in_bytes"];
  const directory = controllerDirectory(paths, "memory");
  const [events = "", usage, peak] = names.map((name) => readText(`${directory}/${name}`)?.trim());
  return {
    kills: Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0),
    usage: `current usage: ${usage ?? "unknown"}, peak usage: ${peak ?? "unknown"}`,
  };
}

function readText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}
