/** Finds the facts out; reads a few files under /proc, needs no privilege. */
import { parseLayout, unescape } from "./cgroup_layout.ts";
import { readIfThere } from "../files.ts";
import { CAPABILITIES } from "../abi/names.ts";
import { arch } from "../../ffi/libc.ts";
import { type Limit, openFilesLimit } from "../../ffi/process.ts";
import type { CgroupLayout, HostFacts } from "./facts.ts";
import { inUserNamespace } from "./user_namespace.ts";

/** Facts that only some containers need. */
export interface Wanted {
  /** For a container made without pivot_root. */
  readonly noPivot?: boolean | undefined;
  readonly resctrl?: boolean;
  /** Where to look for newuidmap and newgidmap: the caller's PATH. */
  readonly idMapTools?: string | undefined;
  /** For one that may own its cgroup. */
  readonly delegates?: boolean;
}

/** The facts of this machine, for this process; those that few containers need only when they are wanted. */
export function probeHost({ noPivot, resctrl, idMapTools, delegates = false }: Wanted = {}): HostFacts {
  const mountinfo = readText("/proc/self/mountinfo");
  const found = resctrl ? findResctrl(mountinfo) : undefined;
  const tools = idMapTools === undefined ? undefined : findIdMapTools(idMapTools);
  return {
    arch,
    uid: Deno.uid() ?? 0,
    gid: Deno.gid() ?? 0,
    lastCapability: lastCapability(),
    openFiles: callersOpenFiles(),
    cgroups: withV2Facts(parseLayout(mountinfo, readText("/proc/self/cgroup")), delegates),
    kernelMounts: noPivot ? kernelMounts(mountinfo) : [],
    ...(found === undefined ? {} : { resctrl: found }),
    ...(tools === undefined ? {} : { idMapTools: tools }),
  };
}

function findIdMapTools(path: string): HostFacts["idMapTools"] {
  const find = (name: string) =>
    path.split(":").map((directory) => `${directory}/${name}`).find((file) => {
      try {
        return Deno.statSync(file).isFile;
      } catch {
        return false;
      }
    });
  const [newuidmap, newgidmap] = [find("newuidmap"), find("newgidmap")];
  return newuidmap === undefined || newgidmap === undefined ? undefined : { newuidmap, newgidmap };
}

function withV2Facts(layout: CgroupLayout, delegates: boolean): CgroupLayout {
  if (layout.version !== "v2") return layout;
  const list = (path: string) => readText(path).split(/\s+/).filter((word) => word !== "");
  const v2 = {
    controllers: list(`${layout.mounts[0]!.mountpoint}/cgroup.controllers`),
    delegate: delegates ? list("/sys/kernel/cgroup/delegate") : [],
    inUserNamespace: inUserNamespace(),
  };
  return { ...layout, v2 };
}

/** Mount points of whole procfs and sysfs instances. */
function kernelMounts(mountinfo: string): string[] {
  return mountinfo.split("\n").filter((line) => / - (proc|sysfs) /.test(line)).map((line) => line.split(" "))
    .filter((fields) => fields[3] === "/").map((fields) => unescape(fields[4]!));
}

/** Where resctrl is mounted, and what it shares out: "L3", "MB", and "L3_MON" for what it measures. */
export function findResctrl(mountinfo: string): HostFacts["resctrl"] {
  const line = mountinfo.split("\n").find((line) => line.includes(" - resctrl "));
  if (line === undefined) return undefined;
  const mountpoint = unescape(line.split(" ")[4]!);
  try {
    const resources = [...Deno.readDirSync(`${mountpoint}/info`)].filter(({ isDirectory }) => isDirectory);
    return { mountpoint, resources: resources.map(({ name }) => name).sort() };
  } catch {
    return undefined;
  }
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

const readText = (path: string) => readIfThere(path) ?? "";
