/** bundle -> spec -> facts -> criu -> state: a container that goes on from where a checkpoint has saved it. */
import { checkRootfs } from "../bundle/open.ts";
import { type CgroupPaths, cgroupPaths } from "../cgroup/paths.ts";
import { killAll } from "../cgroup/processes.ts";
import { type Options, TYPE } from "../criu/messages.ts";
import type { Notice } from "../criu/session.ts";
import { describeFileError, RunkError } from "../errors.ts";
import { sendDatagram } from "../../ffi/datagram.ts";
import type { Fd } from "../../ffi/fd.ts";
import { criuInput, planRestore } from "../plan/criu.ts";
import { namespacesOf, rootfsDirectory } from "../plan/recipe.ts";
import type { StateRecord } from "../state/record.ts";
import { processStat } from "../state/status.ts";
import * as store from "../state/store.ts";
import { checkConfig } from "./compile.ts";
import { checkUnused } from "./check_cgroups.ts";
import { limitsOf, rareOf, startsUnit } from "./create.ts";
import {
  commonOptions,
  type Criu,
  type CriuOptions,
  findCriu,
  makeDirectories,
  quoteLog,
  SINCE,
  startCriu,
  type Version,
} from "./criu.ts";
import { mountsToBringBack, outsideOf } from "./criu_mounts.ts";
import { joinedNamespaces, openKeptNamespaces } from "./criu_namespaces.ts";
import { DESCRIPTORS, descriptorsOf } from "./descriptors.ts";
import { cleanUp, explain } from "./failed_create.ts";
import { runHostHooks } from "./host_hooks.ts";
import { type CreateOptions, interpret, type Interpreted } from "./interpret.ts";
import { asRootless, hookRecord, newRecord, withLimits, withProcess } from "./new_record.ts";
import type { Runtime } from "./runtime.ts";

export interface RestoreOptions extends CriuOptions {
  /** "type:name" of the label that processes get instead of the saved one; an empty text for that. */
  readonly lsmProfile: string;
  readonly lsmMountContext: string;
}

/** A restore that was asked for, checked. */
export interface PreparedRestore extends Interpreted {
  readonly create: CreateOptions;
  readonly criu: RestoreOptions;
}

const LOG = "restore.log";

/**
 * bundle -> spec -> facts. Nothing is made or changed.
 * @throws {RunkError} for a config that is wrong
 */
export const prepareRestore = (
  runtime: Runtime,
  create: CreateOptions,
  criu: RestoreOptions,
): Promise<PreparedRestore> =>
  interpret(runtime, create, async (asked) => {
    for (const warning of await checkConfig(asked.spec, asked.configFile, asked)) runtime.warn(warning);
    return { ...asked, create, criu };
  });

export interface RestoreStreams {
  /** Descriptors for standard streams, or the socket that takes the terminal. */
  readonly inputs: Readonly<Record<string, Fd>>;
  /** The container is there, and about to run. */
  readonly ready?: () => void;
}

/**
 * Restores a container, which runs then. A failure leaves nothing.
 * @returns its record, as it stands in state.json
 */
export async function restore(
  runtime: Runtime,
  prepared: PreparedRestore,
  streams: RestoreStreams,
): Promise<StateRecord> {
  const { request, spec, facts, unit } = prepared;
  const { id } = request;
  checkRootfs(rootfsDirectory(prepared));
  if (unit !== undefined) (await import("./systemd.ts")).requireSystemd();
  const program = findCriu(runtime.environment());
  const pipes = readDescriptors(prepared.criu.imageDirectory);
  makeDirectories(prepared.criu, { images: false });
  let paths: CgroupPaths = {};
  const rare = await rareOf(spec, facts, id, unit);
  const kept = openKeptNamespaces(namespacesOf(spec).values());
  using _kept = closing(kept.map(({ fd }) => fd));
  using _lock = store.reserve(runtime.root, id);
  let pid = 0;
  try {
    const wanted = cgroupPaths(request.cgroups);
    checkUnused(wanted);
    paths = wanted;
    store.saveIntent(runtime.root, { id, cgroup_paths: paths, ...rare });
    if (prepared.notify !== undefined) (await import("./service_manager.ts")).makeNotifyDirectory(prepared.notify);
    const root = makeRoot(request.stateDirectory);
    const plan = planRestore(spec, facts, request, {
      program,
      environment: runtime.environment(),
      images: prepared.criu.imageDirectory,
      work: prepared.criu.workDirectory,
      descriptors: kept.length,
      root,
    });
    const { console, ...stdio } = streams.inputs;
    const criu = await startCriu(runtime, plan, {
      inputs: { ...stdio, ...Object.fromEntries(kept.map(({ fd }, i) => [criuInput(i), fd])) },
      directory: request.stateDirectory,
      handlers: unit === undefined ? {} : { unit: ([pid]) => startsUnit(unit, spec, facts)(pid!) },
    }).catch((error) => {
      throw explain(error, undefined);
    });
    let record: StateRecord;
    try {
      // As long as they are what they were given as.
      const descriptors = descriptorsOf(criu.pid);
      const opts = requestFor(criu, prepared, { root, pipes, kept });
      record = await converse(runtime, criu, prepared, opts, {
        console,
        make: async (made) => {
          pid = made;
          return await { ...await recordOf(prepared, rare, criu.version, made), external_descriptors: descriptors };
        },
      }).catch((error) => {
        quoteLog(runtime, prepared.criu.workDirectory, LOG);
        throw error;
      });
    } finally {
      const ended = await criu.end();
      if (pid > 0 && (ended?.signalled || (ended?.status ?? 0) !== 0)) {
        runtime.warn(`criu ended with status ${ended?.status} after it had restored the container`);
      }
    }
    Deno.removeSync(root);
    streams.ready?.();
    if (request.pidFile !== undefined) writePidFile(request.pidFile, pid);
    return record;
  } catch (error) {
    await killAll(paths);
    await cleanUp(runtime, id, [pid], { config: {}, ...rare, cgroup_paths: paths });
    throw error;
  }
}

const closing = (fds: readonly Fd[]): Disposable => ({ [Symbol.dispose]: () => fds.forEach((fd) => fd.close()) });

/** The directory that criu gets the rootfs at. */
function makeRoot(stateDirectory: string): string {
  const path = `${stateDirectory}/criu-root`;
  Deno.mkdirSync(path);
  return Deno.realPathSync(path);
}

/** The names of the saved container's standard streams. @throws {RunkError} where there are no images */
function readDescriptors(directory: string): string[] {
  const path = `${directory}/${DESCRIPTORS}`;
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    throw new RunkError(describeFileError("open", path, error));
  }
  let names: unknown;
  try {
    names = JSON.parse(text);
  } catch (error) {
    throw new RunkError(`${path} is not JSON`, { cause: error });
  }
  const isList = Array.isArray(names) && names.length <= 3 && names.every((name) => typeof name === "string");
  if (!isList) throw new RunkError(`${path} is not a list of at most three names`);
  return names as string[];
}

interface Given {
  readonly root: string;
  readonly pipes: readonly string[];
  readonly kept: ReturnType<typeof openKeptNamespaces>;
}

function requestFor(
  { pid, version }: Criu,
  { spec, facts, request, criu }: PreparedRestore,
  { root, pipes, kept }: Given,
): Options {
  const { lsmProfile, lsmMountContext } = criu;
  if (version < SINCE.otherLabels) {
    if (lsmProfile !== "") throw new RunkError("--lsm-profile requires at least CRIU 3.16");
    if (lsmMountContext !== "") throw new RunkError("--lsm-mount-context requires at least CRIU 3.16");
  }
  const { inheritFd = [], joinNs } = joinedNamespaces(namespacesOf(spec).values(), kept, version);
  const outside = outsideOf(spec, request.bundle, facts.cgroups, cgroupPaths(request.cgroups));
  return {
    ...commonOptions(criu, LOG, spec.annotations?.["org.criu.config"]),
    root,
    rstSibling: true,
    evasiveDevices: true,
    lsmProfile: lsmProfile || undefined,
    lsmMountContext: lsmMountContext || undefined,
    extMnt: mountsToBringBack(outside, rootfsDirectory({ spec, request })),
    joinNs,
    inheritFd: [
      ...inheritFd,
      ...pipes.flatMap((key, fd) => (key.includes("pipe:") ? [{ key, fd }] : [])),
    ],
    cgRoot: cgroupsOf(pid),
  };
}

/** The cgroups that criu's process is in, where the container is to be: controllers, and path in the hierarchy. */
function cgroupsOf(pid: number): { ctrl: string; path: string }[] {
  return Deno.readTextFileSync(`/proc/${pid}/cgroup`).split("\n").filter((line) => line !== "").flatMap((line) => {
    const [, controllers = "", ...path] = line.split(":");
    return controllers.split(",").map((ctrl) => ({ ctrl, path: path.join(":") }));
  });
}

interface Conversation {
  /** The socket that takes the terminal. */
  readonly console: Fd | undefined;
  /** The record of the container with this process. */
  readonly make: (pid: number) => Promise<StateRecord>;
}

/** Has criu restore the container; what is to be done on the way is done when criu has come to it. */
async function converse(
  runtime: Runtime,
  criu: Criu,
  prepared: PreparedRestore,
  opts: Options,
  { console, make }: Conversation,
): Promise<StateRecord> {
  let record: StateRecord | undefined;
  const onNotice = async ({ script, pid, descriptor }: Notice) => {
    runtime.debug?.(`notify: ${script}`);
    if (script === "setup-namespaces") await runHooks(runtime, prepared, pid);
    if (script === "orphan-pts-master" && descriptor !== undefined) {
      if (console === undefined) throw new RunkError("the images have a terminal, the config has none");
      sendDatagram(console, script, descriptor);
    }
    if (script === "post-restore") {
      record = await make(pid);
      const { seccomp } = prepared.spec.linux ?? {};
      if (seccomp !== undefined) store.saveProfile(runtime.root, record.id, seccomp);
      store.save(runtime.root, record);
    }
  };
  await criu.session.request({ type: TYPE.RESTORE, opts }, onNotice);
  if (record === undefined) throw new RunkError("criu failed: it has restored no process");
  return record;
}

/** What runs on the host when a container has its namespaces. */
async function runHooks(runtime: Runtime, { spec, request }: PreparedRestore, pid: number): Promise<void> {
  const { id, bundle } = request;
  const state = { id, status: "creating", bundle, annotations: spec.annotations ?? {} } as const;
  for (const kind of ["prestart", "createRuntime"] as const) {
    const hooks = (spec.hooks?.[kind] ?? []).map(hookRecord);
    if (hooks.length > 0) await runHostHooks(runtime, kind, hooks, state, pid);
  }
}

async function recordOf(
  { spec, request, create, isMisspelt }: PreparedRestore,
  rare: Awaited<ReturnType<typeof rareOf>>,
  version: Version,
  pid: number,
): Promise<StateRecord> {
  const made = newRecord(spec, request, { rare, configFile: create.configFile, isMisspelt });
  const limits = await limitsOf(spec);
  const limited = limits === undefined ? made : withLimits(made, limits);
  const record = withProcess(create.rootless ? asRootless(limited) : limited, pid, processStat(pid)?.start ?? 0);
  return { ...record, config: withTime(record.config, version) };
}

/** criu gives a container a time namespace of its own, so that its clocks go on where they were. */
function withTime(config: StateRecord["config"], version: Version): StateRecord["config"] {
  if (version < SINCE.timeNamespaces || config.namespaces.some(({ type }) => type === "NEWTIME")) return config;
  try {
    Deno.lstatSync("/proc/self/ns/time");
  } catch {
    return config;
  }
  return { ...config, namespaces: [...config.namespaces, { type: "NEWTIME", path: "" }] };
}

/** Written under another name and renamed: whoever sees the file sees the pid. */
function writePidFile(path: string, pid: number): void {
  const slash = path.lastIndexOf("/") + 1;
  const draft = `${path.slice(0, slash)}.${path.slice(slash)}`;
  try {
    Deno.writeTextFileSync(draft, String(pid), { createNew: true });
    Deno.renameSync(draft, path);
  } catch (error) {
    throw new RunkError(describeFileError("cannot write pid file", path, error));
  }
}
