/** Finds the facts out; reads a few files under /proc, needs no privilege. */
import { parseLayout, unescape } from "./cgroup_layout.ts";
import { CAPABILITIES } from "../abi/names.ts";
import { arch } from "../../ffi/libc.ts";
import { type Limit, openFilesLimit } from "../../ffi/process.ts";
import type { CgroupLayout, HostFacts } from "./facts.ts";

/** @param noPivot the facts are for a container made without pivot_root */
export function probeHost(noPivot = false): HostFacts {
  const mountinfo = readText("/proc/self/mountinfo");
  return {
    arch,
    uid: Deno.uid() ?? 0,
    gid: Deno.gid() ?? 0,
    lastCapability: lastCapability(),
    openFiles: callersOpenFiles(),
    cgroups: parseLayout(mountinfo, readText("/proc/self/cgroup")),
    kernelMounts: noPivot ? kernelMounts(mountinfo) : [],
  };
}

/** The cgroup hierarchies as this process sees them. */
export function probeCgroups(): CgroupLayout {
  return parseLayout(readText("/proc/self/mountinfo"), readText("/proc/self/cgroup"));
}

/** Mount points of whole procfs and sysfs instances. */
function kernelMounts(mountinfo: string): string[] {
  return mountinfo.split("\n").filter((line) => / - (proc|sysfs) /.test(line)).map((line) => line.split(" "))
    .filter((fields) => fields[3] === "/").map((fields) => unescape(fields[4]!));
}

function lastCapability(): number {
  const known = CAPABILITIES.length - 1;
  const kernel = Number(readText("/proc/sys/kernel/cap_last_cap"));
  return Number.isInteger(kernel) && kernel > 0 ? Math.min(kernel, known) : known;
}

/** Deno raises this process's soft limit; its parent still has what runk was started with. */
function callersOpenFiles(): Limit {
  const own = openFilesLimit(0) ?? { soft: 1024n, hard: 1024n };
  const parent = Deno.ppid > 0 ? openFilesLimit(Deno.ppid) : undefined;
  // Our own hard limit is what the caller left us; a parent with more would be another story's.
  return parent === undefined || parent.soft > own.hard ? own : { soft: parent.soft, hard: own.hard };
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
