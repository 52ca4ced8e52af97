/** bundle -> spec -> facts: what a new container is asked to be, before anything is checked. */
import { readConfig } from "../bundle/open.ts";
import { cgroupDirectories } from "../cgroup/paths.ts";
import { RunkError } from "../errors.ts";
import type { HostFacts } from "../host/facts.ts";
import { probeHost } from "../host/probe.ts";
import type { CreateRequest } from "../plan/recipe.ts";
import { parseDocument } from "../spec/document.ts";
import type { Spec } from "../spec/schema.ts";
import * as store from "../state/store.ts";
import type { Runtime } from "./runtime.ts";
import type { ListenFds, Notify } from "./service_manager.ts";
import type { ContainerUnit } from "./systemd.ts";

/** Who makes a container's cgroups; "disabled": no one, it stays in those of the caller. */
export type CgroupManager = "cgroupfs" | "systemd" | "disabled";

/** What create and run are asked for. */
export interface CreateOptions {
  readonly id: string;
  /** Absolute path of the bundle, without symlinks. */
  readonly bundle: string;
  /** Absolute path of the config, where it is not the bundle's config.json. */
  readonly configFile?: string | undefined;
  /** Someone stays with the container: it gets pipes, or a terminal of the user's, and needs no start gate. */
  readonly attended: boolean;
  readonly gate: CreateRequest["gate"];
  readonly cgroupManager: CgroupManager;
  /** The caller may not have all rights over cgroups: the container goes without those it cannot have. */
  readonly rootless?: boolean;
  readonly noPivot?: boolean;
  readonly noNewKeyring?: boolean;
  readonly preserveFds?: number;
  readonly pidFile?: string | undefined;
  /** Absolute path of the socket that takes a pidfd of the container's process. */
  readonly pidfdSocket?: string | undefined;
  /** The service manager's socket for "ready". */
  readonly notifySocket?: string | undefined;
  readonly listenFds?: ListenFds | undefined;
  /** The seccomp agent for a profile that names none. */
  readonly seccompReceiver?: string | undefined;
}

/** What a new container is asked to be. */
export interface Interpreted {
  /** Of the config, as it stands in its file. */
  readonly text: string;
  readonly configFile: string;
  readonly spec: Spec;
  /** Names in the config were put right. */
  readonly isMisspelt: boolean;
  readonly facts: HostFacts;
  readonly request: CreateRequest;
  readonly pidfdSocket: string | undefined;
  /** Where "ready" comes from and goes to; undefined without a service manager. */
  readonly notify: Notify | undefined;
  /** Of a container whose cgroups systemd makes. */
  readonly unit: ContainerUnit | undefined;
}

/**
 * bundle -> spec -> facts. `check` gets what is asked for, which is only JSON so far; where it refuses the names in it, it
 * gets it once more with the names put right.
 * @throws {RunkError} for a config that cannot be had, or that `check` refuses
 */
export async function interpret<T>(
  runtime: Runtime,
  options: CreateOptions,
  check: (asked: Interpreted) => Promise<T>,
): Promise<T> {
  store.checkId(options.id);
  const configFile = options.configFile ?? `${options.bundle}/config.json`;
  const text = options.configFile === undefined
    ? readConfig(options.bundle)
    : (await import("../bundle/document.ts")).readDocument(configFile);
  const document = parseDocument(text, configFile) as Spec;
  const attempt = async (isMisspelt: boolean) =>
    await check({ ...await interpretDocument(runtime, options, { text, document, configFile }), isMisspelt });
  try {
    return await attempt(false);
  } catch (error) {
    if (!(error instanceof RunkError) || error.name !== "MisspeltError") throw error;
    const { correctNames } = await import("../spec/letter_case.ts");
    if (!correctNames("spec", document)) throw error;
    return await attempt(true);
  }
}

/** Of a config that is only JSON so far. */
const hasOwnPids = ({ linux }: Spec): boolean =>
  Array.isArray(linux?.namespaces) && linux.namespaces.some((one) => one?.type === "pid" && !one.path);

interface Document {
  readonly text: string;
  readonly document: Spec;
  readonly configFile: string;
}

async function interpretDocument(
  runtime: Runtime,
  options: CreateOptions,
  { text, document, configFile }: Document,
): Promise<Omit<Interpreted, "isMisspelt">> {
  const { id, bundle, notifySocket, listenFds } = options;
  const stateDirectory = store.directoryOf(runtime.root, id);
  const notify = notifySocket === undefined ? undefined : { directory: `${stateDirectory}/notify`, host: notifySocket };
  let spec = document;
  if (notify !== undefined || listenFds !== undefined) {
    const { withServiceManager } = await import("./service_manager.ts");
    spec = withServiceManager(spec, { listenFds, notify });
  }
  const annotated = hasRuntimeAnnotations(spec)
    ? (await import("../spec/annotations.ts")).runtimeAnnotations(spec.annotations!, bundle)
    : undefined;
  const pidfdSocket = options.pidfdSocket ?? annotated?.pidfdReceiver;
  const receiver = annotated?.seccompReceiver ?? options.seccompReceiver;
  if (receiver !== undefined) spec = withSeccompReceiver(spec, receiver);
  const facts = probeHost({
    noPivot: options.noPivot,
    resctrl: spec.linux?.intelRdt !== undefined,
    idMapTools: Deno.uid() === 0 || spec.linux?.uidMappings === undefined ? undefined : pathOf(runtime.environment()),
    delegates: annotated?.delegatedCgroup !== undefined || spec.linux?.uidMappings !== undefined ||
      (spec.process?.user?.uid ?? 0) !== 0,
  });
  const isTerminal = spec.process?.terminal === true;
  const cgroupsPath = typeof spec.linux?.cgroupsPath === "string" ? spec.linux.cgroupsPath : undefined;
  const isDisabled = options.cgroupManager === "disabled";
  const unit = options.cgroupManager === "systemd"
    ? await (await import("./systemd.ts")).unitFor(runtime, facts.cgroups, spec, id, annotated?.subgroup)
    : undefined;
  let cgroups = unit?.directories ?? (isDisabled ? [] : cgroupDirectories(facts.cgroups, cgroupsPath, id));
  if (options.rootless && unit === undefined) {
    const { reachableCgroups } = await import("../cgroup/rootless.ts");
    cgroups = reachableCgroups(cgroups, { cgroupsPath, resources: spec.linux?.resources });
    if (cgroups.length === 0 && !isDisabled && !hasOwnPids(spec)) {
      // runc's words.
      runtime.warn(
        "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly " +
          "discouraged (as it is impossible to properly kill all container's processes) and will result in an error in " +
          "a future runc version.",
      );
    }
  }
  const request: CreateRequest = {
    id,
    bundle,
    stateDirectory,
    cgroups,
    systemd: unit?.kind,
    stdio: isTerminal ? "terminal" : options.attended ? "pipes" : "inherit",
    gate: options.gate,
    noPivot: options.noPivot ?? false,
    noNewKeyring: options.noNewKeyring ?? false,
    preserveFds: (options.preserveFds ?? 0) + (listenFds?.count ?? 0),
    pidfdSocket: pidfdSocket !== undefined,
    ...(annotated === undefined ? {} : { annotated }),
    pidFile: options.pidFile,
    environment: spec.hooks === undefined ? [] : runtime.environment(),
    program: runtime.program,
  };
  return { text, configFile, spec, facts, request, pidfdSocket, notify, unit };
}

/** Annotations that are meant for the runtime; the document may be anything that is JSON. */
const hasRuntimeAnnotations = ({ annotations }: Spec) =>
  typeof annotations === "object" && Object.keys(annotations).some((key) => key.startsWith("run.oci."));

/** A profile's agent, unless it names one itself. */
function withSeccompReceiver(spec: Spec, listenerPath: string): Spec {
  const { linux } = spec;
  if (typeof linux?.seccomp !== "object" || linux.seccomp.listenerPath) return spec;
  return { ...spec, linux: { ...linux, seccomp: { ...linux.seccomp, listenerPath } } };
}

/** conmon's environment has none. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The caller's PATH. */
export const pathOf = (environment: readonly string[]): string =>
  environment.find((entry) => entry.startsWith("PATH="))?.slice("PATH=".length) ?? DEFAULT_PATH;
