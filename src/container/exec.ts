/** Runs a process in a container that exists. */
import { readConfig } from "../bundle/open.ts";
import { NAMESPACES, type NamespaceType } from "../abi/flags.ts";
import { RunkError } from "../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { reap } from "../../ffi/process.ts";
import { probeHost } from "../host/probe.ts";
import { carryOut } from "../init/carry_out.ts";
import type { ExecRequest } from "../plan/exec.ts";
import { holdsReserved } from "../plan/parameters.ts";
import { parameterizeExec } from "../plan/parameterize.ts";
import type { Stdio } from "../plan/recipe.ts";
import { attend, catchSignals } from "../process/attend.ts";
import { type ForegroundIo, pipes } from "../process/stdio.ts";
import { parseDocument } from "../spec/document.ts";
import type { Process, Seccomp, Spec } from "../spec/schema.ts";
import { annotations, label, type StateRecord } from "../state/record.ts";
import * as store from "../state/store.ts";
import { detachedStdio } from "./run.ts";
import { find } from "./find.ts";
import { openInit } from "./open_init.ts";
import { checkPreserved } from "./create.ts";
import { planOf } from "./plan_of.ts";
import type { Runtime } from "./runtime.ts";

export interface ExecOptions {
  readonly id: string;
  readonly detach: boolean;
  readonly consoleSocket: string;
  readonly pidFile: string | undefined;
  readonly preserveFds: number;
  readonly ignorePaused: boolean;
  /** What messages call the process's description: a path. */
  readonly name: string;
}

/** What the command line changes in the container's own process. */
export interface ProcessChanges {
  readonly args: readonly string[];
  readonly cwd?: string | undefined;
  readonly env: readonly string[];
  readonly tty: boolean;
  readonly user?: { readonly uid: number; readonly gid: number | undefined } | undefined;
  readonly additionalGids: readonly number[];
  readonly capabilities: readonly string[];
  readonly noNewPrivileges?: boolean | undefined;
}

/** A container's config, as its bundle has it now; only JSON so far. */
export function specOf(record: StateRecord): Spec {
  const bundle = label(record, "bundle") ?? "";
  return parseDocument(readConfig(bundle), `${bundle}/config.json`) as Spec;
}

/** The process that `exec ID ARGS` runs: the container's own, changed by flags. */
export function changedProcess(spec: Spec, changes: ProcessChanges): Process {
  const base = spec.process ?? {};
  const caps = changes.capabilities;
  const own = base.capabilities;
  const add = (set: readonly string[] | undefined) => [...new Set([...(set ?? []), ...caps])];
  const capabilities = caps.length === 0 ? own : {
    ...own,
    bounding: add(own?.bounding),
    effective: add(own?.effective),
    permitted: add(own?.permitted),
    // Ambient ones need an inheritable set to be in.
    ...((own?.inheritable?.length ?? 0) > 0 ? { ambient: add(own?.ambient) } : {}),
  };
  const user = {
    ...base.user,
    ...(changes.user === undefined ? {} : { uid: changes.user.uid }),
    ...(changes.user?.gid === undefined ? {} : { gid: changes.user.gid }),
    additionalGids: [...(base.user?.additionalGids ?? []), ...changes.additionalGids],
  };
  return {
    ...base,
    args: [...changes.args],
    env: [...(base.env ?? []), ...changes.env],
    terminal: changes.tty,
    user,
    ...(changes.cwd === undefined ? {} : { cwd: changes.cwd }),
    ...(capabilities === undefined ? {} : { capabilities }),
    ...(changes.noNewPrivileges === undefined ? {} : { noNewPrivileges: changes.noNewPrivileges }),
  } as Process;
}

/** The process of a process.json: what it leaves out and runc takes from the container is taken from there. */
export function completedProcess(spec: Spec, process: Process): Process {
  const own = spec.process ?? {};
  const umask = process.user?.umask ?? own.user?.umask;
  return {
    ...process,
    user: { ...process.user, ...(umask === undefined ? {} : { umask }) },
    ...(process.capabilities === undefined && own.capabilities !== undefined ? { capabilities: own.capabilities } : {}),
  } as Process;
}

/**
 * Runs a process.
 * @returns its exit status; 0 when it is detached
 * @throws {RunkError} when it cannot be started
 */
export async function exec(
  runtime: Runtime,
  options: ExecOptions,
  makeProcess: (spec: Spec) => Process,
): Promise<number> {
  const { record, status } = find(runtime, options.id);
  if (status === "stopped") throw new RunkError("cannot exec in a stopped container");
  if (status === "paused" && !options.ignorePaused) {
    throw new RunkError("cannot exec in a paused container (use --ignore-paused to override)");
  }
  const spec = specOf(record);
  const process = makeProcess(spec);
  checkPreserved(options.preserveFds);
  using init = openInit(record);
  if (init === undefined) throw new RunkError("cannot exec in a stopped container");
  // A container of runc's has its profile nowhere that runk reads: its bundle's is the next best.
  const seccomp = record.runk === undefined ? spec.linux?.seccomp : store.loadProfile(runtime.root, record.id);
  const run = (stdio: Stdio, inputs: ForegroundIo["inputs"]) =>
    start(runtime, record, process, { ...options, seccomp }, stdio, { ...inputs, init });
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
    const pid = await run(isTerminal ? "terminal" : "pipes", io.inputs);
    return await attend({ pid, poll: runtime.poll, signals, ...io.connect(), interruptEnds: isTerminal });
  } finally {
    io.close();
  }
}

async function start(
  runtime: Runtime,
  record: StateRecord,
  process: Process,
  options: ExecOptions & { readonly seccomp: Seccomp | undefined },
  stdio: Stdio,
  inputs: Readonly<Record<string, Fd>>,
): Promise<number> {
  const paths = Object.entries(record.cgroup_paths ?? {});
  const request: ExecRequest = {
    id: record.id,
    namespaces: namespacesToJoin(record),
    tasksFiles: [...new Set(paths.filter(([controller]) => controller !== "").map(([, path]) => `${path}/tasks`))],
    unifiedCgroup: record.cgroup_paths?.[""],
    stdio,
    noNewKeyring: record.config.no_new_keyring ?? false,
    preserveFds: options.preserveFds,
    pidFile: options.pidFile,
    program: runtime.program,
    ...(options.seccomp === undefined ? {} : confinedRequest(options.seccomp, record)),
  };
  const facts = probeHost();
  const parameterized =
    holdsReserved(JSON.stringify([process.args, process.env, request.container, request.seccomp?.listenerMetadata]))
      ? undefined
      : parameterizeExec(process, request);
  const shape = parameterized && { process: parameterized.process, exec: parameterized.request };
  const { relocatable, warnings } = await planOf(runtime.planCache, shape, facts, async () => {
    const { compileExec } = await import("./compile.ts");
    return await compileExec(process, options.name, facts, request, parameterized);
  });
  for (const warning of warnings) runtime.warn(warning);
  let pid = 0;
  try {
    await carryOut(relocatable, {
      poll: runtime.poll,
      warn: runtime.warn,
      plan: async () => (await import("../plan/exec.ts")).planExec(process, facts, request),
      values: parameterized?.values ?? [],
      argv: [runtime.program, "init"],
      inputs,
      directory: `${runtime.root}/${record.id}`,
      handlers: {
        cloned: ([made]) => {
          pid = made!;
        },
        ready: () => {},
      },
    });
    return pid;
  } catch (error) {
    if (pid > 0) reap(pid);
    if (!(error instanceof RunkError) || error.name !== "StepError") throw error;
    const { describeShortage } = await import("../cgroup/oom.ts");
    const hint = describeShortage(record.cgroup_paths ?? {}).kills > 0 ? " (possibly OOM-killed)" : "";
    throw new RunkError(`unable to start container process: ${error.message}${hint}`);
  }
}

/** The profile; and what its agent, if it has one, is told of the container. */
const confinedRequest = (seccomp: Seccomp, record: StateRecord): Pick<ExecRequest, "seccomp" | "container"> => ({
  seccomp,
  ...(seccomp.listenerPath === undefined ? {} : {
    container: {
      bundle: label(record, "bundle") ?? "",
      annotations: annotations(record),
      pid: String(record.init_process_pid),
    },
  }),
});

const NAMES: Readonly<Record<string, NamespaceType>> = {
  NEWUSER: "user",
  NEWPID: "pid",
  NEWIPC: "ipc",
  NEWUTS: "uts",
  NEWNET: "network",
  NEWCGROUP: "cgroup",
  NEWTIME: "time",
  NEWNS: "mount",
};

/** Namespaces that the container has of its own or joined; one that is the caller's already is left out. */
function namespacesToJoin(record: StateRecord): NamespaceType[] {
  const pid = record.init_process_pid;
  return record.config.namespaces.map(({ type }) => NAMES[type]).filter((type): type is NamespaceType => {
    if (type === undefined) return false;
    const { file } = NAMESPACES[type];
    try {
      // Joining one's own user namespace is an error; joining any other of one's own is work for nothing.
      return Deno.readLinkSync(`/proc/${pid}/ns/${file}`) !== Deno.readLinkSync(`/proc/self/ns/${file}`);
    } catch {
      return true;
    }
  });
}

function hostRootOf({ config }: StateRecord): { uid: number; gid: number } {
  const find = (list: StateRecord["config"]["uid_mappings"]) =>
    list?.find(({ container_id }) => container_id === 0)?.host_id ?? 0;
  return { uid: find(config.uid_mappings), gid: find(config.gid_mappings) };
}
