/** The recipe for hooks that run on the host outside of create. */
import type { HostFacts } from "../host/facts.ts";
import { PlanBuilder } from "./builder.ts";
import { checkPlan } from "./check.ts";
import { hookInput } from "./recipe.ts";
import { type HookOptions, runHooks } from "./steps/hooks.ts";
import { cleanSlate } from "./steps/prologue.ts";
import type { Plan } from "./types.ts";

const FIRST_PRIVATE = 3;

/** A plan with a host lane only. */
export function planHooks(facts: HostFacts, options: HookOptions): Plan {
  const b = new PlanBuilder(facts.arch);
  cleanSlate(b.host, facts, FIRST_PRIVATE);
  for (const stream of options.files ?? []) b.input(hookInput(stream), `a file for what hooks write to ${stream}`);
  runHooks(b.host, options);
  b.host.task("end").sys("exit_group", [0]);
  return checkPlan(b.build());
}
