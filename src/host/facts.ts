/** What a plan needs to know of the host. Plain data, so that planning is a pure function. */
import type { Arch } from "../abi/arch.ts";

/** A mounted cgroup hierarchy. */
export interface CgroupMount {
  /** Controllers of a v1 hierarchy as runc names them ("cpu", "name=systemd"); [""] for the unified one. */
  readonly controllers: readonly string[];
  readonly mountpoint: string;
  /** Which cgroup of the hierarchy appears at the mount point. */
  readonly root: string;
  /** The caller's own cgroup in the hierarchy. */
  readonly own: string;
}

export interface CgroupLayout {
  /** v1: controllers in separate hierarchies, perhaps beside a unified one; v2: the unified one at the root. */
  readonly version: "v1" | "v2" | "none";
  /** Where the hierarchies are mounted: /sys/fs/cgroup. */
  readonly root: string;
  readonly mounts: readonly CgroupMount[];
  /** What only v2 has. */
  readonly v2?: CgroupV2Facts;
}

export interface CgroupV2Facts {
  /** Controllers that the hierarchy has. */
  readonly controllers: readonly string[];
  /** Files that go to whom a cgroup is delegated to; read only for a container that is not root's. */
  readonly delegate: readonly string[];
  /** The caller lives in a user namespace, where no device filter can be loaded. */
  readonly inUserNamespace: boolean;
}

export interface HostFacts {
  readonly arch: Arch;
  /** Effective ids of the caller. */
  readonly uid: number;
  readonly gid: number;
  /** The highest capability that the kernel knows. */
  readonly lastCapability: number;
  /** The limit on open files that the caller has, which the container gets unless its config says otherwise. */
  readonly openFiles: { readonly soft: bigint; readonly hard: bigint };
  readonly cgroups: CgroupLayout;
  /** Where procfs and sysfs are mounted in full; needed for --no-pivot only. */
  readonly kernelMounts: readonly string[];
  /** newuidmap and newgidmap; looked for only when an ordinary user's config maps ids that are not the user's own. */
  readonly idMapTools?: { readonly newuidmap: string; readonly newgidmap: string };
  /** The resctrl file system (Intel RDT); looked for only when a config asks for it. */
  readonly resctrl?: { readonly mountpoint: string; readonly resources: readonly string[] };
}
