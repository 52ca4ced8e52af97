/** Hooks that run on the host outside of create: poststart and poststop; when a container is restored, others, too. */
import { probeHost } from "../host/probe.ts";
import { assemble } from "../init/assemble.ts";
import { carryOut } from "../init/carry_out.ts";
import { planHooks } from "../plan/hooks.ts";
import type { HookState } from "../plan/steps/hooks.ts";
import type { HookKind } from "../spec/hook_kinds.ts";
import { runtimeAnnotations } from "../spec/annotations.ts";
import type { Hook } from "../spec/schema.ts";
import type { HookRecord } from "../state/record.ts";
import { openHookFiles } from "./create.ts";
import type { Runtime } from "./runtime.ts";

const NANOSECONDS = 1e9;

/**
 * Runs hooks one after the other.
 * @param pid the pid that the state names; none for a container that has ended
 * @throws {StepError} when one fails; those after it do not run
 */
export async function runHostHooks(
  runtime: Runtime,
  kind: HookKind & ("prestart" | "createRuntime" | "poststart" | "poststop"),
  hooks: readonly HookRecord[],
  state: HookState,
  pid?: number,
): Promise<void> {
  const { hookOutput } = runtimeAnnotations(state.annotations, state.bundle);
  using files = hookOutput === undefined ? undefined : await openHookFiles(hookOutput);
  const plan = planHooks(probeHost(), {
    kind,
    hooks: hooks.map(fromRecord),
    state,
    pid,
    environment: runtime.environment(),
    directory: state.bundle,
    reports: true,
    files: (["stdout", "stderr"] as const).filter((stream) => hookOutput?.[stream] !== undefined),
  });
  await carryOut(assemble(plan, false), {
    plan: () => plan,
    poll: runtime.poll,
    warn: runtime.warn,
    argv: [runtime.program, "hooks"],
    directory: runtime.root,
    ...(files === undefined ? {} : { inputs: files.inputs }),
  });
}

const fromRecord = ({ path, args, env, timeout }: HookRecord): Hook => ({
  path,
  args: args === null || args === undefined ? undefined : [...args],
  env: env === null || env === undefined ? undefined : [...env],
  timeout: timeout === null || timeout === undefined ? undefined : timeout / NANOSECONDS,
} as Hook);
