/** Namespaces, file systems and id maps: by the answers that the kernel gave to a process that tried them. */
import { errnoText } from "../../abi/errno.ts";
import { FILE_SYSTEMS } from "../../plan/probe.ts";
import { type Finding, finding, read } from "./finding.ts";

/** Name of a probe -> the kernel's answer. */
export type Answers = ReadonlyMap<string, number>;

const REQUIRED_NAMESPACES = ["mount"];
const USES: Readonly<Record<string, string>> = {
  mount: "a root file system of its own",
  pid: "processes that see only each other",
  network: "interfaces and ports of its own",
  ipc: "shared memory and queues of its own",
  uts: "a host name of its own",
  cgroup: "not seeing the host's cgroups",
  time: "clock offsets",
  user: "containers whose root is nobody on the host, and containers of ordinary users",
};

/** Which namespaces can be made. */
export function namespaces(answers: Answers): Finding[] {
  return Object.entries(USES).map(([type, use]) => {
    const answer = answers.get(`namespace ${type}`) ?? -1;
    const key = type === "network" ? "net" : type === "mount" ? "mnt" : type;
    const most = read(`/proc/sys/user/max_${key}_namespaces`)?.trim();
    const limit = most === undefined ? "" : `, at most ${most}`;
    return finding("namespaces", `namespaces.${type}`, answer >= 0, {
      found: answer >= 0 ? `can be made${limit}` : `${errnoText(-answer)}${limit}`,
      use,
      required: REQUIRED_NAMESPACES.includes(type),
      cure: most === "0"
        ? `sysctl user.max_${key}_namespaces to more than 0`
        : `a kernel with, and the right to make, ${type} namespaces`,
    });
  });
}

const FILE_SYSTEM_USES: Readonly<Record<string, string>> = {
  proc: "/proc",
  sysfs: "/sys",
  tmpfs: "/dev, masked directories",
  devpts: "terminals",
  mqueue: "/dev/mqueue",
  overlay: "images in layers",
  cgroup: "limits by cgroup v1 seen inside a container",
  cgroup2: "limits by cgroup v2 seen inside a container",
};
const REQUIRED_FILE_SYSTEMS = ["proc", "tmpfs"];

/** Which file systems can be mounted, and whether mounts can map ids. */
export function mounts(answers: Answers): Finding[] {
  const idmap = answers.get("idmap") ?? -1;
  const root = (read("/proc/self/mountinfo") ?? "").split("\n").findLast((line) => line.split(" ")[4] === "/");
  const type = root?.split(" - ")[1]?.split(" ")[0] ?? "unknown";
  return [
    ...FILE_SYSTEMS.map((name) => {
      const answer = answers.get(`file system ${name}`) ?? -1;
      return finding("mounts", `mounts.${name}`, answer >= 0, {
        found: answer >= 0 ? "there" : errnoText(-answer),
        use: FILE_SYSTEM_USES[name]!,
        required: REQUIRED_FILE_SYSTEMS.includes(name),
        cure: `a kernel with ${name}, or its module loaded`,
      });
    }),
    finding("mounts", "mounts.idmap", idmap >= 0, {
      found: idmap >= 0 ? `works on / (${type})` : `not on / (${type}): ${errnoText(-idmap)}`,
      use: "volumes whose owners are translated (idmap, uidMappings of mounts)",
      cure:
        "keep such volumes on a file system that knows id maps (ext4, xfs, btrfs, overlay from 5.19, tmpfs from 6.3)",
    }),
  ];
}
