/** bundle -> spec -> facts -> plan -> init -> state: a new container, waiting for `start` (or, for `run`, running). */
import { checkRootfs } from "../bundle/open.ts";
import type { Shortage } from "../cgroup/oom.ts";
import { type CgroupPaths, cgroupPaths, processDirectory } from "../cgroup/paths.ts";
import { RunkError } from "../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { call, tryCall } from "../../ffi/call.ts";
import { cstring } from "../../ffi/memory.ts";
import { AT_FDCWD, CLOSE_RANGE, F } from "../abi/flags.ts";
import { reap } from "../../ffi/process.ts";
import type { HostFacts } from "../host/facts.ts";
import { carryOut, type CarryOutOptions } from "../init/carry_out.ts";
import { holdsReserved } from "../plan/parameters.ts";
import { parameterize } from "../plan/parameterize.ts";
import { type CreateRequest, hookInput, PIDFD_SOCKET, rootfsDirectory } from "../plan/recipe.ts";
import type { Plan } from "../plan/types.ts";
import type { RuntimeAnnotations } from "../spec/annotations.ts";
import type { Spec } from "../spec/schema.ts";
import type { RareRecord, StateRecord } from "../state/record.ts";
import type { ResourcesRecord } from "../state/resources.ts";
import { processStat } from "../state/status.ts";
import * as store from "../state/store.ts";
import { type CreateOptions, interpret } from "./interpret.ts";
import { planOf } from "./plan_of.ts";
import type { Relocatable } from "../init/relocatable.ts";
import type { Runtime } from "./runtime.ts";
import type { Notify } from "./service_manager.ts";
import type { ContainerUnit } from "./systemd.ts";

/** A config that was read and checked, and the plan for it. */
export interface Prepared {
  readonly spec: Spec;
  readonly request: CreateRequest;
  readonly relocatable: Relocatable;
  /** Values of the plan's parameters. */
  readonly values: readonly string[];
  /** The plan with its names. */
  readonly plan: () => Promise<Plan>;
  readonly pidfdSocket: string | undefined;
  /** Where "ready" comes from and goes to; undefined without a service manager. */
  readonly notify: Notify | undefined;
  /** See CreateOptions. */
  readonly configFile: string | undefined;
  /** Names in the config were put right. */
  readonly isMisspelt?: boolean;
  /** The part of the record that few containers have. */
  readonly rare: RareRecord | undefined;
  /** Has systemd make the cgroups with a process in them. */
  readonly startUnit: ((pid: number) => Promise<void>) | undefined;
  /** See CreateOptions. */
  readonly rootless: boolean;
}

/**
 * bundle -> spec -> facts -> plan. Nothing is made or changed.
 * @throws {RunkError} for a config that is wrong, or cannot be had
 */
export const prepare = (runtime: Runtime, options: CreateOptions): Promise<Prepared> =>
  interpret(runtime, options, async (asked) => {
    const { text, configFile, spec, isMisspelt, facts, request, pidfdSocket, notify, unit } = asked;
    const plan = async () => (await import("../plan/create.ts")).planCreate(spec, facts, request);
    const parameterized = holdsReserved(text) ? undefined : parameterize(spec, request);
    const shape = parameterized && { spec: parameterized.spec, request: parameterized.request };
    const { relocatable, warnings } = await planOf(runtime.planCache, shape, facts, async () => {
      const { compile } = await import("./compile.ts");
      return await compile(spec, configFile, { facts, request, parameterized });
    });
    for (const warning of warnings) runtime.warn(warning);
    return {
      spec,
      request,
      relocatable,
      values: parameterized?.values ?? [],
      plan,
      pidfdSocket,
      configFile: options.configFile,
      isMisspelt,
      notify,
      rare: await rareOf(spec, facts, request.id, unit),
      startUnit: unit && startsUnit(unit, spec, facts),
      rootless: options.rootless ?? false,
    };
  });

/** Only for configs that have such a thing is its code loaded. */
export async function rareOf(
  spec: Spec,
  facts: HostFacts,
  id: string,
  unit: ContainerUnit | undefined,
): Promise<RareRecord | undefined> {
  const { process, linux } = spec;
  const isRare = process?.execCPUAffinity ?? linux?.memoryPolicy ?? linux?.intelRdt;
  const rare = isRare ? (await import("./rare_record.ts")).rareRecord(spec, facts, id) : undefined;
  return unit === undefined ? rare : { ...rare, config: { ...rare?.config, cgroups: unit.record } };
}

/** Has systemd make a container's cgroups, with a process in them. */
export const startsUnit = (unit: ContainerUnit, spec: Spec, facts: HostFacts) => async (pid: number): Promise<void> => {
  const { startContainerUnit } = await import("./systemd.ts");
  await startContainerUnit(unit, spec, pid, facts.cgroups.version);
};

export interface MakeOptions {
  /** Descriptors for standard streams or the console, as the plan's inputs name them. */
  readonly inputs: Readonly<Record<string, Fd>>;
  /** Work for the time that the kernel needs. */
  readonly meanwhile?: () => void | Promise<void>;
  /** The process is set up and waits; an error thrown here undoes it. */
  readonly ready?: () => void;
  /** For tests: see CarryOutOptions. */
  readonly patch?: CarryOutOptions["patch"];
}

/**
 * plan -> init -> state: makes the container. What is about to be made is recorded before it is made, so that whatever
 * happens to this process, `delete --force` finds it; a failure that this process sees leaves nothing.
 * @returns the record, as it stands in state.json
 */
export async function create(runtime: Runtime, prepared: Prepared, options: MakeOptions): Promise<StateRecord> {
  const { spec, request, relocatable, values } = prepared;
  const { id } = request;
  checkRootfs(rootfsDirectory({ spec, request }));
  checkPreserved(request.preserveFds);
  if (prepared.startUnit !== undefined) (await import("./systemd.ts")).requireSystemd();
  const { pidfdSocket } = prepared;
  using socket = pidfdSocket === undefined ? undefined : await openPidfdSocket(pidfdSocket);
  const { hookOutput } = request.annotated ?? {};
  using files = hookOutput === undefined ? undefined : await openHookFiles(hookOutput);
  using _lock = store.reserve(runtime.root, id);
  let pid = 0;
  const helpers: number[] = [];
  let paths: CgroupPaths = {};
  let shortage: Shortage | undefined;
  try {
    const wanted = cgroupPaths(request.cgroups);
    const processes = processDirectory(wanted) ?? "";
    // Mostly there are none yet.
    if (exists(processes) || exists(wanted["freezer"] ?? processes)) {
      (await import("./check_cgroups.ts")).checkUnused(wanted);
    }
    paths = wanted;
    store.saveIntent(runtime.root, { id, cgroup_paths: paths, ...prepared.rare });
    if (prepared.notify !== undefined) (await import("./service_manager.ts")).makeNotifyDirectory(prepared.notify);
    let records: typeof import("./new_record.ts");
    let record: StateRecord | undefined;
    let limits: Promise<ResourcesRecord> | undefined;
    // runc's words for these moments, which its users look for.
    runtime.debug?.("nsexec container setup");
    if (runtime.debug !== undefined) await tellPlan(runtime, prepared.plan);
    await carryOut(relocatable, {
      argv: [runtime.program, "init"],
      values,
      inputs: { ...options.inputs, ...files?.inputs, ...(socket === undefined ? {} : { [PIDFD_SOCKET]: socket }) },
      directory: request.stateDirectory,
      plan: prepared.plan,
      poll: runtime.poll,
      warn: runtime.warn,
      meanwhile: async () => {
        records = await import("./new_record.ts");
        record = records.newRecord(spec, request, prepared);
        if (prepared.rootless) record = records.asRootless(record);
        if (request.stdio !== "terminal") record = { ...record, external_descriptors: streamsOf(options.inputs) };
        limits = limitsOf(spec);
        await options.meanwhile?.();
      },
      ...(options.patch === undefined ? {} : { patch: options.patch }),
      handlers: {
        cloned: ([made]) => {
          pid = made!;
          runtime.debug?.(`child process in init(): pid ${pid}`);
          record = records.withProcess(record!, pid, processStat(pid)?.start ?? 0);
        },
        unit: ([made]) => prepared.startUnit?.(made!),
        undoing: async () => {
          const { describeShortage } = await import("../cgroup/oom.ts");
          shortage = describeShortage(paths);
        },
        helper: ([helper]) => {
          helpers.push(helper!);
        },
        ready: async () => {
          options.ready?.();
          if (limits !== undefined) record = records.withLimits(record!, await limits);
          if (spec.linux?.seccomp !== undefined) store.saveProfile(runtime.root, id, spec.linux.seccomp);
          store.save(runtime.root, record!);
          runtime.debug?.("init: closing the pipe to signal completion");
        },
      },
    });
    for (const helper of helpers) reap(helper);
    return record!;
  } catch (error) {
    const { cleanUp, explain, removePidFile } = await import("./failed_create.ts");
    await cleanUp(runtime, id, [pid, ...helpers], { config: {}, ...prepared.rare, cgroup_paths: paths });
    if (request.pidFile !== undefined && pid > 0) removePidFile(request.pidFile, pid, error);
    throw explain(error, shortage);
  }
}

/** What a container's standard streams lead to; images of a checkpoint know pipes by these names. */
const streamsOf = ({ stdin, stdout, stderr }: MakeOptions["inputs"]): string[] =>
  [stdin?.number ?? 0, stdout?.number ?? 1, stderr?.number ?? 2].map((fd) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });

/** --debug: what there is to know of a plan. */
export async function tellPlan({ debug = () => {} }: Runtime, plan: () => Promise<Plan>): Promise<void> {
  const { notesOn } = await import("./debug.ts");
  notesOn(await plan()).forEach((note) => debug(note));
}

/** The limits to record; most small configs have only device rules, which `update` does not change. */
export function limitsOf({ linux }: Spec): Promise<ResourcesRecord> | undefined {
  const { devices: _, ...limits } = linux?.resources ?? {};
  if (Object.keys(limits).length === 0) return undefined;
  return import("../state/resources.ts").then(({ recordResources }) => recordResources(limits));
}

/** An exception of Deno's takes ten times as long as this. */
const exists = (path: string) => tryCall("faccessat2", AT_FDCWD, cstring(path), 0, 0) === 0;

/** Files for what hooks print, where annotations name some. */
export async function openHookFiles(output: NonNullable<RuntimeAnnotations["hookOutput"]>) {
  const { openHookOutput } = await import("../process/hook_output.ts");
  return openHookOutput(output, hookInput);
}

/** The code for what few ask for is loaded for those only. */
export const openPidfdSocket = async (path: string): Promise<Fd> =>
  (await import("../process/pidfd_socket.ts")).connectPidfdSocket(path);

/**
 * Keeps every descriptor that the caller left open, but the first `count` behind the standard ones, from programs: a
 * container that waits at its gate would hold it.
 * @throws {RunkError} when a descriptor that is to be preserved was not given to this process
 */
export function checkPreserved(count: number): void {
  for (let i = 0; i < count; i++) {
    const flags = tryCall("fcntl", 3 + i, F.GETFD);
    // What Deno opened for itself is close-on-exec; what a caller hands over is not.
    if (flags !== 0) throw new RunkError(`unable to stat preserved-fd ${i} (of ${count}): bad file descriptor`);
  }
  call("close_range", 3 + count, 0xffffffff, CLOSE_RANGE.CLOEXEC);
}
