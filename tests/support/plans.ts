/** Plans made without a host: fixed facts, fixed requests, and the configs that the project holds. */
import type { Arch } from "../../src/abi/arch.ts";
import { cgroupDirectories } from "../../src/cgroup/paths.ts";
import type { CgroupLayout, HostFacts } from "../../src/host/facts.ts";
import { planCreate } from "../../src/plan/create.ts";
import type { ExecRequest } from "../../src/plan/exec.ts";
import type { CreateRequest } from "../../src/plan/recipe.ts";
import type { Plan } from "../../src/plan/types.ts";
import { parseDocument } from "../../src/spec/document.ts";
import type { Spec } from "../../src/spec/schema.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

const V1 = "cpu,cpuacct cpuset memory devices freezer blkio pids name=systemd".split(" ");
/** Two kinds of hosts: v1 controllers beside a unified hierarchy, and the unified hierarchy alone. */
export const LAYOUTS: Readonly<Record<"v1" | "v2", CgroupLayout>> = {
  v1: {
    version: "v1",
    root: "/sys/fs/cgroup",
    mounts: [
      ...V1.map((names) => ({
        controllers: names.split(","),
        mountpoint: `/sys/fs/cgroup/${names.replace("name=", "")}`,
        root: "/",
        own: "/",
      })),
      { controllers: [""], mountpoint: "/sys/fs/cgroup/unified", root: "/", own: "/" },
    ],
  },
  v2: {
    version: "v2",
    root: "/sys/fs/cgroup",
    mounts: [{ controllers: [""], mountpoint: "/sys/fs/cgroup", root: "/", own: "/user.slice/session-1.scope" }],
    v2: {
      controllers: "cpuset cpu io memory hugetlb pids rdma misc".split(" "),
      delegate: ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "memory.oom.group"],
      inUserNamespace: false,
    },
  },
};
export type Host = keyof typeof LAYOUTS;

/** The facts of a host of which a test wants nothing in particular. */
export function factsOf(arch: Arch = "x86_64", host: Host = "v1", changes: Partial<HostFacts> = {}): HostFacts {
  return {
    arch,
    uid: 0,
    gid: 0,
    lastCapability: 40,
    openFiles: { soft: 1024n, hard: 524288n },
    cgroups: LAYOUTS[host],
    kernelMounts: [],
    ...changes,
  };
}

/** What `create box` asks for in the bundle /bundle. */
export function requestOf(spec: Spec, facts: HostFacts, changes: Partial<CreateRequest> = {}): CreateRequest {
  const id = changes.id ?? "box";
  return {
    id,
    bundle: "/bundle",
    stateDirectory: `/run/runk/${id}`,
    cgroups: cgroupDirectories(facts.cgroups, spec.linux?.cgroupsPath, id),
    stdio: spec.process?.terminal ? "terminal" : "inherit",
    gate: "fifo",
    noPivot: false,
    noNewKeyring: false,
    preserveFds: 0,
    pidfdSocket: false,
    pidFile: undefined,
    environment: spec.hooks === undefined ? [] : ["PATH=/usr/bin:/bin", "LANG=C"],
    program: "runk",
    ...changes,
  };
}

/** What `exec box` asks for in a container with every namespace but the user's. */
export function execRequestOf(host: Host = "v1", changes: Partial<ExecRequest> = {}): ExecRequest {
  return {
    id: "box",
    namespaces: ["ipc", "uts", "network", "pid", "mount", "cgroup"],
    tasksFiles: host === "v1" ? V1.map((names) => `/sys/fs/cgroup/${names.replace("name=", "")}/box/tasks`) : [],
    unifiedCgroup: host === "v1" ? "/sys/fs/cgroup/unified/box" : "/sys/fs/cgroup/box",
    stdio: "inherit",
    noNewKeyring: false,
    preserveFds: 0,
    pidfdSocket: false,
    pidFile: undefined,
    domains: {},
    resctrlFiles: [],
    program: "runk",
    ...changes,
  };
}

/** The plan of `create` for a config on a host. */
export function planFor(
  spec: Spec,
  arch: Arch = "x86_64",
  host: Host = "v1",
  changes: Partial<CreateRequest> = {},
): Plan {
  const facts = factsOf(arch, host);
  return planCreate(spec, facts, requestOf(spec, facts, changes));
}

const readSpec = (path: string) => parseDocument(Deno.readTextFileSync(ROOT + path), path) as Spec;
const names = (path: string, matches: (entry: Deno.DirEntry) => boolean) =>
  [...Deno.readDirSync(ROOT + path)].filter(matches).map(({ name }) => name).sort();

/** The examples under bundles/, by name. */
export const BUNDLES: readonly string[] = names("bundles", ({ isDirectory }) => isDirectory);
export const bundleSpec = (name: string): Spec => readSpec(`bundles/${name}/config.json`);

/** Configs that Docker, containerd's ctr and Podman wrote, by file name; the processes that they had runtimes exec. */
const CONFIGS = "tests/fixtures/configs";
const isProcess = (name: string) => name.endsWith(".process.json");
export const CLIENT_CONFIGS: readonly string[] = names(
  CONFIGS,
  ({ name }) => name.endsWith(".json") && !isProcess(name),
);
export const CLIENT_PROCESSES: readonly string[] = names(CONFIGS, ({ name }) => isProcess(name));
export const clientConfigText = (name: string): string => Deno.readTextFileSync(`${ROOT}${CONFIGS}/${name}`);
export const clientConfig = (name: string): Spec => readSpec(`${CONFIGS}/${name}`);
