/** What the recipes (create.ts, exec.ts) hand to the files under steps/: the builder, and what is known. */
import { NAMESPACES, type NamespaceType } from "../abi/flags.ts";
import type { CgroupDirectory } from "../cgroup/paths.ts";
import type { HostFacts } from "../host/facts.ts";
import type { RuntimeAnnotations } from "../spec/annotations.ts";
import { cleanPath } from "../spec/clean_path.ts";
import type { Spec } from "../spec/schema.ts";
import type { Lane, PlanBuilder } from "./builder.ts";

/** How the container's process gets its standard input, output and error. */
export type Stdio =
  /** It keeps the caller's. */
  | "inherit"
  /** Pipes, given as the plan's inputs "stdin", "stdout" and "stderr". */
  | "pipes"
  /** A terminal made in the container; its master goes out on the input "console". */
  | "terminal";

/** The input with the socket that takes a pidfd of the process. */
export const PIDFD_SOCKET = "pidfd socket";

export type HookStream = "stdout" | "stderr";
/** The input for a stream of hooks that goes to a file. */
export const hookInput = (stream: HookStream): string => `hooks' ${stream}`;

export interface CreateRequest {
  readonly id: string;
  /** Absolute path of the bundle. */
  readonly bundle: string;
  /** The container's state directory; the start gate lies in it. */
  readonly stateDirectory: string;
  /** Directories of the container, from cgroup/paths.ts; none when it stays in the caller's cgroups. */
  readonly cgroups: readonly CgroupDirectory[];
  /** Systemd makes the cgroups, when there is a process: a scope has it in then, a slice takes it. */
  readonly systemd?: "scope" | "slice" | undefined;
  readonly stdio: Stdio;
  /** "fifo": the process waits for `start`; "none": it runs as soon as it is recorded. */
  readonly gate: "fifo" | "none";
  readonly noPivot: boolean;
  readonly noNewKeyring: boolean;
  /** How many descriptors from 3 on the process keeps. */
  readonly preserveFds: number;
  /** Someone takes a pidfd of the process, on the plan's input "pidfd socket". */
  readonly pidfdSocket: boolean;
  /** What annotations ask for. */
  readonly annotated?: RuntimeAnnotations | undefined;
  /** Absolute path of the pid file. */
  readonly pidFile: string | undefined;
  /** The caller's environment, NAME=VALUE: of hooks on the host that have none of their own. */
  readonly environment: readonly string[];
  /** The name that thread names and messages begin with: "runk", or "runc" when called so. */
  readonly program: string;
}

/** A namespace of config.json: made for the container, or joined by path. */
export interface Namespace {
  readonly type: NamespaceType;
  readonly path: string | undefined;
  /** Where in config.json it is asked for. */
  readonly configPath: string;
}

export interface Recipe {
  readonly b: PlanBuilder;
  readonly host: Lane;
  readonly box: Lane;
  readonly spec: Spec;
  readonly facts: HostFacts;
  readonly request: CreateRequest;
  readonly namespaces: ReadonlyMap<NamespaceType, Namespace>;
  /**
   * Of a container that runs: adds steps before the mount in a slot is put into its place, for what a failure is to take
   * away again.
   */
  readonly placing?: (mount: string) => void;
}

/** The namespaces of a config, by type; checks.ts has seen to it that types are known and appear once. */
export function namespacesOf(spec: Spec): Map<NamespaceType, Namespace> {
  const result = new Map<NamespaceType, Namespace>();
  spec.linux?.namespaces?.forEach(({ type, path }, i) => {
    if (!(type in NAMESPACES)) return;
    const name = type as NamespaceType;
    result.set(name, { type: name, path: path || undefined, configPath: `/linux/namespaces/${i}` });
  });
  return result;
}

/** A namespace is made for the container (not joined, not the host's). */
export const isNew = (recipe: Pick<Recipe, "namespaces">, type: NamespaceType): boolean =>
  recipe.namespaces.has(type) && recipe.namespaces.get(type)!.path === undefined;

/** The host's id behind id 0 of the container's user namespace; 0 without one of its own. */
export function hostRoot(spec: Spec, kind: "uid" | "gid"): number {
  // Mappings without a user namespace mean nothing (checks.ts warns).
  if (!spec.linux?.namespaces?.some(({ type }) => type === "user")) return 0;
  const mappings = (kind === "uid" ? spec.linux.uidMappings : spec.linux.gidMappings) ?? [];
  return mappings.find(({ containerID }) => containerID === 0)?.hostID ?? 0;
}

/** The container is bound to some CPUs. */
export const hasCpuset = ({ spec }: Pick<Recipe, "spec">): boolean => (spec.linux?.resources?.cpu?.cpus ?? "") !== "";

/** The host's id behind an id of the container; undefined where its user namespace maps none to it. */
export function hostId(spec: Spec, kind: "uid" | "gid", id: number): number | undefined {
  const mappings = (kind === "uid" ? spec.linux?.uidMappings : spec.linux?.gidMappings) ?? [];
  if (mappings.length === 0) return id;
  const range = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return range === undefined ? undefined : range.hostID + id - range.containerID;
}

/** Namespaces are joined along with a user namespace: rights differ before and after it, so a helper goes ahead. */
export function joinsWithUserNamespace({ namespaces }: Pick<Recipe, "namespaces">): boolean {
  const user = namespaces.get("user");
  if (user === undefined) return false;
  return user.path !== undefined ||
    [...namespaces.values()].some(({ type, path }) => path !== undefined && type !== "pid");
}

/** The rootfs's absolute path. */
export function rootfsDirectory({ spec, request }: { spec: Spec; request: { bundle: string } }): string {
  const path = spec.root?.path ?? "";
  return path.startsWith("/") ? path : `${request.bundle}/${path}`;
}

/**
 * The path inside the rootfs of a place that a text names from outside: "/bundle/rootfs/a" -> "/a"; undefined for other
 * places. runc mounts the rootfs at its own path, where earlier mounts of the container are seen.
 * @param rootfs clean, as rootfsPath gives it
 */
export function insideRootfs(rootfs: string, path: string): string | undefined {
  // At every start, for every mount: clean paths, as programs write them, are taken as they are.
  const clean = path.includes("/.") || path.includes("//") ? cleanPath(path) : path;
  if (clean === rootfs) return "/";
  return clean.startsWith(rootfs + "/") ? clean.slice(rootfs.length) : undefined;
}

/** The rootfs's path for insideRootfs. */
export const rootfsPath = (recipe: Parameters<typeof rootfsDirectory>[0]): string => cleanPath(rootfsDirectory(recipe));

/** The absolute path of a bind mount's source. */
export const sourcePath = (bundle: string, source: string): string =>
  source.startsWith("/") ? source : `${bundle}/${source}`;

/** Length of a text in bytes. */
export const byteLength = (text: string): number => encoder.encode(text).length;
const encoder = new TextEncoder();
