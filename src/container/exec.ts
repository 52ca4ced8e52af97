/** Runs a process in a container that exists. */
import type { CgroupPaths } from "../cgroup/paths.ts";
import { RunkError } from "../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { reap } from "../../ffi/process.ts";
import type { HostFacts } from "../host/facts.ts";
import { probeHost } from "../host/probe.ts";
import { carryOut } from "../init/carry_out.ts";
import type { ExecRequest } from "../plan/exec.ts";
import { holdsReserved } from "../plan/parameters.ts";
import { parameterizeExec } from "../plan/parameterize_exec.ts";
import { PIDFD_SOCKET, type Stdio } from "../plan/recipe.ts";
import { attend, catchSignals } from "../process/attend.ts";
import { type ForegroundIo, pipes } from "../process/stdio.ts";
import type { Process, Seccomp, Spec } from "../spec/schema.ts";
import { annotations, bundleOf, label, type StateRecord } from "../state/record.ts";
import { loadProfile } from "../state/load.ts";
import { completedProcess, type Inherited, inherited } from "./exec_process.ts";
import { detachedStdio } from "./run.ts";
import { find } from "./find.ts";
import { namespacesToJoin } from "./namespaces.ts";
import { openInit } from "./open_init.ts";
import { checkPreserved, openPidfdSocket, tellPlan } from "./create.ts";
import { planOf } from "./plan_of.ts";
import type { Runtime } from "./runtime.ts";
import { specOf } from "./spec_of.ts";

export interface ExecOptions {
  readonly id: string;
  readonly detach: boolean;
  readonly consoleSocket: string;
  readonly pidFile: string | undefined;
  readonly preserveFds: number;
  readonly ignorePaused: boolean;
  /** Path of the socket that takes a pidfd of the process. */
  readonly pidfdSocket: string;
  /** Sub-cgroups, as --cgroup has them. */
  readonly cgroups: readonly string[];
  /** What messages call the process's description: a path. */
  readonly name: string;
}

/**
 * Runs a process.
 * @returns its exit status; 0 when it is detached
 * @throws {RunkError} when it cannot be started
 */
export async function exec(
  runtime: Runtime,
  options: ExecOptions,
  makeProcess: (spec: () => Spec) => Process,
): Promise<number> {
  const { record, status } = find(runtime, options.id);
  if (status === "stopped") throw new RunkError("cannot exec in a stopped container");
  if (status === "paused" && !options.ignorePaused) {
    throw new RunkError("cannot exec in a paused container (use --ignore-paused to override)");
  }
  const container = await inherited(record);
  const process = completedProcess(makeProcess(await specOf(record)), container);
  checkPreserved(options.preserveFds);
  using init = openInit(record);
  if (init === undefined) throw new RunkError("cannot exec in a stopped container");
  const seccomp = record.runk === undefined
    ? (await import("./runc_profile.ts")).runcProfile(record)
    : loadProfile(runtime.root, record.id);
  const what: Confined = { process, domains: container.domains, seccomp };
  using pidfdSocket = options.pidfdSocket === "" ? undefined : await openPidfdSocket(options.pidfdSocket);
  const socket = pidfdSocket === undefined ? {} : { [PIDFD_SOCKET]: pidfdSocket };
  const run = (stdio: Stdio, inputs: ForegroundIo["inputs"], ready = () => {}) =>
    start(runtime, record, what, options, stdio, { ...inputs, ...socket, init }, ready);
  if (options.detach) {
    const isTerminal = process.terminal ?? false;
    const { inputs, close } = detachedStdio(isTerminal, options.consoleSocket);
    try {
      await run(isTerminal ? "terminal" : "inherit", inputs);
      return 0;
    } finally {
      close();
    }
  }
  using signals = catchSignals();
  const isTerminal = process.terminal ?? false;
  const io = isTerminal ? (await import("../process/terminal.ts")).terminal() : pipes(hostRootOf(record));
  try {
    const pid = await run(isTerminal ? "terminal" : "pipes", io.inputs, io.ready);
    return await attend({ pid, poll: runtime.poll, signals, ...io.connect(), interruptEnds: isTerminal }) ?? 0;
  } finally {
    io.close();
  }
}

/** The process, and what of its container holds for it, too. */
interface Confined extends Inherited {
  readonly seccomp: Seccomp | undefined;
}

async function start(
  runtime: Runtime,
  record: StateRecord,
  what: Confined,
  options: ExecOptions,
  stdio: Stdio,
  inputs: Readonly<Record<string, Fd>>,
  ready: () => void,
): Promise<number> {
  const own = record.cgroup_paths ?? {};
  const facts = probeHost();
  let before: number | undefined;
  const attempt = (paths: CgroupPaths) =>
    carry(runtime, what, options, facts, inputs, requestOf(runtime, record, what, options, stdio, paths), {
      meanwhile: async () => {
        before = await killsIn(own);
      },
      ready,
    });
  try {
    if (options.cgroups.length === 0) return await attempt(own);
    return await attempt((await import("./exec_cgroups.ts")).subCgroups(own, options.cgroups));
  } catch (error) {
    if (!(error instanceof RunkError) || error.name !== "StepError") throw error;
    const { cgroupOfInit, isCgroupFailure } = await import("./exec_cgroups.ts");
    let failure = error;
    let isCgroups = isCgroupFailure(error);
    if (isCgroups && options.cgroups.length === 0) {
      const mountpoint = facts.cgroups.mounts.find(({ controllers }) => controllers.includes(""))?.mountpoint;
      const moved = cgroupOfInit(own, record.init_process_pid, mountpoint);
      try {
        if (moved !== undefined) return await attempt(moved);
      } catch (second) {
        if (!(second instanceof RunkError) || second.name !== "StepError") throw second;
        failure = second;
        isCgroups = isCgroupFailure(second);
      }
    }
    const words = `${isCgroups ? "error adding pid of the process to cgroups: " : ""}${failure.message}`;
    const isOom = before !== undefined && await killsIn(own) !== before;
    throw new RunkError(`unable to start container process: ${words}${isOom ? " (possibly OOM-killed)" : ""}`);
  }
}

/** How many processes of the container were killed for want of memory. */
const killsIn = async (paths: CgroupPaths) => (await import("../cgroup/oom.ts")).describeShortage(paths).kills;

const keepsGroups = (record: StateRecord) => !["0", undefined].includes(label(record, "run.oci.keep_original_groups"));

/** What the plan is asked for. */
function requestOf(
  { program }: Runtime,
  record: StateRecord,
  { domains, seccomp }: Confined,
  { preserveFds, pidFile, pidfdSocket }: ExecOptions,
  stdio: Stdio,
  paths: CgroupPaths,
): ExecRequest {
  const v1 = Object.entries(paths).filter(([controller]) => controller !== "");
  // runc writes empty ones for a container without.
  const groups = [record.intel_rdt_path, record.intel_rdt_mon_path].filter((path) => path !== undefined && path !== "");
  return {
    id: record.id,
    namespaces: namespacesToJoin(record),
    tasksFiles: [...new Set(v1.map(([, path]) => `${path}/tasks`))],
    unifiedCgroup: paths[""],
    stdio,
    noNewKeyring: record.config.no_new_keyring ?? false,
    preserveFds,
    pidfdSocket: pidfdSocket !== "",
    ...(keepsGroups(record) ? { keepsGroups: true } : {}),
    pidFile,
    domains,
    resctrlFiles: groups.map((path) => `${path}/tasks`),
    program,
    ...(seccomp === undefined ? {} : confinedRequest(seccomp, record)),
  };
}

/** plan -> init. @returns the process's pid */
async function carry(
  runtime: Runtime,
  { process }: Confined,
  options: ExecOptions,
  facts: HostFacts,
  inputs: Readonly<Record<string, Fd>>,
  request: ExecRequest,
  { meanwhile, ready }: { meanwhile: () => Promise<void>; ready: () => void },
): Promise<number> {
  const { container, seccomp } = request;
  const { args, env, cwd, apparmorProfile } = process;
  const texts = [args, env, cwd, apparmorProfile, container, seccomp?.listenerMetadata];
  const parameterized = holdsReserved(JSON.stringify(texts)) ? undefined : parameterizeExec(process, request);
  const shape = parameterized && { process: parameterized.process, exec: parameterized.request };
  const { relocatable, warnings } = await planOf(runtime.planCache, shape, facts, async () => {
    const { compileExec } = await import("./compile.ts");
    return await compileExec(process, options.name, facts, request, parameterized);
  });
  for (const warning of warnings) runtime.warn(warning);
  let pid = 0;
  const helpers: number[] = [];
  const plan = async () => (await import("../plan/exec.ts")).planExec(process, facts, request);
  runtime.debug?.("nsexec container setup");
  if (runtime.debug !== undefined) await tellPlan(runtime, plan);
  try {
    await carryOut(relocatable, {
      poll: runtime.poll,
      warn: runtime.warn,
      plan,
      values: parameterized?.values ?? [],
      argv: [runtime.program, "init"],
      inputs,
      directory: `${runtime.root}/${request.id}`,
      meanwhile,
      handlers: {
        cloned: ([made]) => {
          pid = made!;
          runtime.debug?.(`child process in init(): pid ${pid}`);
        },
        ready: () => {
          ready();
          runtime.debug?.("setns_init: about to exec");
        },
        helper: ([helper]) => {
          helpers.push(helper!);
        },
      },
    });
    return pid;
  } catch (error) {
    if (pid > 0) reap(pid);
    throw error;
  } finally {
    for (const helper of helpers) reap(helper, { block: true });
  }
}

/** The profile; and what its agent, if it has one, is told of the container. */
const confinedRequest = (seccomp: Seccomp, record: StateRecord): Pick<ExecRequest, "seccomp" | "container"> => ({
  seccomp,
  ...(seccomp.listenerPath === undefined ? {} : {
    container: {
      bundle: bundleOf(record),
      annotations: annotations(record),
      pid: String(record.init_process_pid),
    },
  }),
});

function hostRootOf({ config }: StateRecord): { uid: number; gid: number } {
  const find = (list: StateRecord["config"]["uid_mappings"]) =>
    list?.find(({ container_id }) => container_id === 0)?.host_id ?? 0;
  return { uid: find(config.uid_mappings), gid: find(config.gid_mappings) };
}
