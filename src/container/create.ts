/** bundle -> spec -> facts -> plan -> init -> state: a new container, waiting for `start` (or, for `run`, running). */
import { checkRootfs, readConfig } from "../bundle/open.ts";
import { cgroupDirectories, cgroupPaths } from "../cgroup/paths.ts";
import { pidsBelow, processDirectory, removeCgroups } from "../cgroup/processes.ts";
import { RunkError } from "../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { tryCall } from "../../ffi/call.ts";
import { F } from "../abi/flags.ts";
import { reap } from "../../ffi/process.ts";
import { probeHost } from "../host/probe.ts";
import { carryOut, type CarryOutOptions } from "../init/carry_out.ts";
import { planCreate } from "../plan/create.ts";
import { type CreateRequest, rootfsDirectory, type Stdio } from "../plan/recipe.ts";
import type { Plan } from "../plan/types.ts";
import { checkSpec } from "../spec/checks.ts";
import { parseSpec } from "../spec/parse.ts";
import type { Spec } from "../spec/schema.ts";
import type { StateRecord } from "../state/record.ts";
import { processStat } from "../state/status.ts";
import * as store from "../state/store.ts";
import { newRecord } from "./new_record.ts";
import type { Runtime } from "./runtime.ts";

/** What create and run are asked for. */
export interface CreateOptions {
  readonly id: string;
  /** Absolute path of the bundle, without symlinks. */
  readonly bundle: string;
  readonly stdio: Stdio;
  readonly gate: CreateRequest["gate"];
  readonly noPivot?: boolean;
  readonly noNewKeyring?: boolean;
  readonly preserveFds?: number;
  readonly pidFile?: string | undefined;
  /** Descriptors for standard streams or the console, as the plan's inputs name them. */
  readonly inputs?: Readonly<Record<string, Fd>>;
  /** For tests: see CarryOutOptions. */
  readonly patch?: CarryOutOptions["patch"];
}

/** A config that was read and checked. */
export interface Prepared {
  readonly spec: Spec;
  readonly plan: Plan;
  readonly request: CreateRequest;
}

/** Reads the bundle and checks its config. @throws {RunkError} */
export function readSpec(runtime: Pick<Runtime, "warn">, bundle: string, noPivot: boolean): Spec {
  const spec = parseSpec(readConfig(bundle), `${bundle}/config.json`);
  checkSpec(spec, { noPivot }, runtime.warn);
  return spec;
}

/** The plan of a container. Nothing is made or changed. @throws {RunkError} */
export function prepare(runtime: Runtime, spec: Spec, options: CreateOptions): Prepared {
  const facts = probeHost();
  const request: CreateRequest = {
    id: options.id,
    bundle: options.bundle,
    stateDirectory: store.directoryOf(runtime.root, options.id),
    cgroups: cgroupDirectories(facts.cgroups, spec.linux?.cgroupsPath, options.id),
    stdio: options.stdio,
    gate: options.gate,
    noPivot: options.noPivot ?? false,
    noNewKeyring: options.noNewKeyring ?? false,
    preserveFds: options.preserveFds ?? 0,
    pidFile: options.pidFile,
    environment: runtime.environment(),
    program: runtime.program,
  };
  return { spec, plan: planCreate(spec, facts, request), request };
}

/**
 * Makes the container. What is about to be made is recorded before it is made, so that whatever happens to this
 * process, `delete --force` finds it; a failure that this process sees leaves nothing.
 * @returns the record, as it stands in state.json
 */
export async function create(runtime: Runtime, spec: Spec, options: CreateOptions): Promise<StateRecord> {
  const { id } = options;
  store.checkId(id);
  checkRootfs(rootfsDirectory({ spec, request: options }));
  checkPreserved(options.preserveFds ?? 0);
  using _lock = await store.reserve(runtime.root, id);
  let pid = 0;
  const helpers: number[] = [];
  let paths: Record<string, string> = {};
  try {
    const { plan, request } = prepare(runtime, spec, options);
    checkUnused(cgroupPaths(request.cgroups));
    paths = cgroupPaths(request.cgroups);
    store.saveIntent(runtime.root, newRecord(spec, request, { pid: 0, start: 0 }));
    let record: StateRecord | undefined;
    await carryOut(plan, {
      argv: [runtime.program, "init"],
      inputs: options.inputs ?? {},
      directory: request.stateDirectory,
      ...(options.patch === undefined ? {} : { patch: options.patch }),
      handlers: {
        cloned: ([made]) => {
          pid = made!;
        },
        helper: ([helper]) => {
          helpers.push(helper!);
        },
        ready: () => {
          record = newRecord(spec, request, { pid, start: processStat(pid)?.start ?? 0 });
          store.save(runtime.root, record);
          store.removeIntent(runtime.root, id);
        },
      },
    });
    for (const helper of helpers) reap(helper);
    if (record === undefined) throw new RunkError("the container's process was not made");
    return record;
  } catch (error) {
    await cleanUp(runtime, id, pid, helpers, paths);
    throw explain(runtime, error);
  }
}

/** runc's words in front of a failed set-up, which clients show to users. */
function explain(_runtime: Runtime, error: unknown): unknown {
  if (!(error instanceof RunkError) || error.name !== "StepError") return error;
  return new RunkError(`unable to start container process: ${error.message}`, { cause: undefined });
}

/** What the plan's own undo may have left: the ended process uncollected, the state directory, busy cgroups. */
async function cleanUp(
  runtime: Runtime,
  id: string,
  pid: number,
  helpers: readonly number[],
  paths: Record<string, string>,
) {
  for (const child of [pid, ...helpers].filter((pid) => pid > 0)) {
    tryCall("kill", child, 9);
    reap(child, { block: true });
  }
  try {
    await removeCgroups(paths);
  } catch (error) {
    runtime.warn(String(error instanceof Error ? error.message : error));
  }
  store.remove(runtime.root, id);
}

/** @throws {RunkError} when processes of someone else are in the container's cgroup */
function checkUnused(paths: Readonly<Record<string, string>>): void {
  const directory = processDirectory(paths);
  const pids = directory === undefined ? [] : pidsBelow(directory);
  if (pids.length > 0) {
    throw new RunkError(`container's cgroup is not empty: ${pids.length} process(es) found (in ${directory})`);
  }
}

/** @throws {RunkError} when a descriptor that is to be preserved was not given to this process */
export function checkPreserved(count: number): void {
  for (let i = 0; i < count; i++) {
    const flags = tryCall("fcntl", 3 + i, F.GETFD);
    // What Deno opened for itself is close-on-exec; what a caller hands over is not.
    if (flags !== 0) throw new RunkError(`unable to stat preserved-fd ${i} (of ${count}): bad file descriptor`);
  }
}
