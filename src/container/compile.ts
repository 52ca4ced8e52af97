/** A config's check and its plan, from the beginning: for shapes that no plan is kept for. */
import { RunkError } from "../errors.ts";
import { idleConflicts, unsupportedV2 } from "../cgroup/v2.ts";
import type { HostFacts } from "../host/facts.ts";
import { assemble } from "../init/assemble.ts";
import { planCreate } from "../plan/create.ts";
import { type ExecRequest, planExec } from "../plan/exec.ts";
import type { Parameterized } from "../plan/parameterize.ts";
import type { ParameterizedExec } from "../plan/parameterize_exec.ts";
import type { CreateRequest } from "../plan/recipe.ts";
import { checkSpec, type Warn } from "../spec/checks.ts";
import { checkDocument } from "../spec/check_document.ts";
import { checkProcess } from "../spec/process_checks.ts";
import type { Process, Spec } from "../spec/schema.ts";
import type { CachedPlan } from "../state/plan_cache.ts";

export interface Compiling {
  readonly facts: HostFacts;
  readonly request: CreateRequest;
  /** Without it the plan is made for this one container. */
  readonly parameterized: Parameterized | undefined;
}

/**
 * Checks a config, which messages call `name`.
 * @returns warnings
 * @throws {RunkError} for one that is wrong
 */
export async function checkConfig(
  spec: Spec,
  name: string,
  { facts, request }: Pick<Compiling, "facts" | "request">,
): Promise<string[]> {
  await checkDocument("spec", spec, name);
  const warnings: string[] = [];
  checkSpec(spec, { noPivot: request.noPivot }, (message) => warnings.push(message));
  // Every client sends device rules; who does without cgroups knows about those.
  const { devices: _, ...limits } = spec.linux?.resources ?? {};
  if (request.cgroups.length === 0 && facts.cgroups.version !== "none" && Object.keys(limits).length > 0) {
    warnings.push("without cgroups, all limits and device rules are ignored [config.json /linux/resources]");
  }
  if (facts.cgroups.version === "v2") {
    const resources = spec.linux?.resources ?? {};
    for (const path of unsupportedV2(resources)) {
      warnings.push(`cgroup v2 has nothing for this, it is ignored [config.json ${path}]`);
    }
    warnings.push(...idleConflicts(resources));
  }
  const { kernel, kernelTCP, useHierarchy } = spec.linux?.resources?.memory ?? {};
  if (kernel !== undefined || kernelTCP !== undefined) {
    warnings.push("Kernel memory settings are ignored and will be removed");
  }
  if (useHierarchy === false) {
    warnings.push("memory is always counted by hierarchy [config.json /linux/resources/memory/useHierarchy]");
  }
  return warnings;
}

/** @throws {RunkError} for a config that is wrong; `name` is what messages call it */
export async function compile(spec: Spec, name: string, compiling: Compiling): Promise<CachedPlan> {
  const { facts, request, parameterized } = compiling;
  const warnings = await checkConfig(spec, name, compiling);
  const plan = parameterized === undefined
    ? planCreate(spec, facts, request)
    : planCreate(parameterized.spec, facts, parameterized.request);
  return { relocatable: assemble(plan, parameterized !== undefined), warnings };
}

/** The plan of a process for an existing container. @throws {RunkError} for a process that is wrong */
export async function compileExec(
  process: Process,
  name: string,
  facts: HostFacts,
  request: ExecRequest,
  parameterized: ParameterizedExec | undefined,
): Promise<CachedPlan> {
  await checkDocument("process", process, name);
  const warnings: string[] = [];
  checkExecProcess(process, name, (message) => warnings.push(message));
  const plan = parameterized === undefined
    ? planExec(process, facts, request)
    : planExec(parameterized.process, facts, parameterized.request);
  return { relocatable: assemble(plan, parameterized !== undefined), warnings };
}

/** A process of its own file has its own paths. */
function checkExecProcess(process: Process, name: string, warn: Warn): void {
  try {
    checkProcess(process, warn);
  } catch (error) {
    if (!(error instanceof RunkError)) throw error;
    throw new RunkError(error.message.replace("[config.json /process", `[${name} `).replace(/ \]$/, "]"));
  }
}
