/** Cgroups: which kind, which controllers, and who may make new ones. */
import { AT, AT_FDCWD } from "../../abi/flags.ts";
import { ownDirectory } from "../../cgroup/paths.ts";
import type { CgroupLayout, HostFacts } from "../../host/facts.ts";
import { tryCall } from "../../../ffi/call.ts";
import { cstring } from "../../../ffi/memory.ts";
import { type Finding, finding, read } from "./finding.ts";

const CONTROLLERS: Readonly<Record<string, string>> = {
  cpu: "shares and quotas of CPU time",
  cpuset: "binding to CPUs",
  memory: "limits on memory",
  pids: "limits on processes",
  blkio: "limits on input and output",
  hugetlb: "limits on huge pages",
  rdma: "limits on RDMA",
  devices: "which devices may be used",
  freezer: "pause and resume",
};
/** What v2 does otherwise, or always. */
const V2: Readonly<Record<string, string | undefined>> = { blkio: "io", devices: undefined, freezer: undefined };

/** What cgroups offer; `uid` is the user who would make them. */
export function cgroups({ cgroups: layout, uid }: HostFacts): Finding[] {
  const { version, mounts } = layout;
  const unified = mounts.find(({ controllers }) => controllers.includes(""));
  const v2Controllers = (unified && read(`${unified.mountpoint}/cgroup.controllers`) || "").trim().split(" ").filter(
    Boolean,
  );
  const v1Controllers = mounts.flatMap(({ controllers }) => controllers).filter((name) => name !== "");
  const kind = version === "v2"
    ? "v2"
    : version === "none"
    ? "none mounted"
    : unified === undefined
    ? "v1"
    : "v1 beside a v2 hierarchy (hybrid)";
  const isSystemd = read("/proc/1/comm")?.trim() === "systemd";
  return [
    finding("cgroups", "cgroups.version", version !== "none", {
      found: kind,
      use: "limits, statistics, finding all processes of a container",
      cure: "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    }),
    ...Object.entries(CONTROLLERS).map(([name, use]) => {
      const isAlways = version === "v2" && name in V2 && V2[name] === undefined;
      const wanted = version === "v2" ? V2[name] ?? name : name;
      const isThere = isAlways || (version === "v2" ? v2Controllers : v1Controllers).includes(wanted);
      const found = isAlways ? "part of v2" : isThere ? "there" : "not available";
      const cure = version === "v2"
        ? `enable ${wanted} in cgroup.subtree_control above, or in the kernel`
        : `mount -t cgroup -o ${wanted} ${wanted} /sys/fs/cgroup/${wanted}`;
      return finding("cgroups", `cgroups.${name}`, isThere, {
        found,
        use,
        cure,
        required: version === "v1" && name === "devices",
      });
    }),
    delegation(layout, uid),
    finding("cgroups", "cgroups.systemd", isSystemd, {
      found: isSystemd ? "systemd is process 1" : `process 1 is ${read("/proc/1/comm")?.trim() ?? "unknown"}`,
      use: "the systemd cgroup driver",
      cure: "use the cgroupfs driver",
    }),
  ];
}

/** Whether the caller may make cgroups where its containers' are to be. */
function delegation(layout: CgroupLayout, uid: number): Finding {
  const all = layout.mounts.map((mount) => ownDirectory(mount, layout.version));
  const denied = all.filter((path) => !isWritable(path));
  const state = all.length === 0 || denied.length === all.length ? false : denied.length === 0 ? true : "partly";
  const found = denied.length === 0
    ? `may make cgroups in ${all[0] ?? "none"}`
    : `may not make cgroups in ${denied[0]}`;
  return finding("cgroups", "cgroups.delegation", state, {
    found: denied.length > 1 ? `${found} and ${denied.length - 1} more` : found,
    use: "limits for the containers of this user",
    cure: uid === 0
      ? "mount the hierarchies read-write, or have them delegated to this container"
      : "systemd: Delegate=yes in user@.service, and log in again",
  });
}

const W_OK = 2;
const isWritable = (path: string) => tryCall("faccessat2", AT_FDCWD, cstring(path), W_OK, AT.EACCESS) === 0;
