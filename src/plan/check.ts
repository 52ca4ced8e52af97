/**
 * What holds for every plan, checked for every plan that is built: references that lead somewhere, and the orders that
 * security rests on. A violation is a bug of runk's, found before the kernel sees anything.
 */
import { PR } from "../abi/flags.ts";
import type { Operand, Plan, Step } from "./types.ts";
import { REF, RESERVED_SLOTS } from "./types.ts";

/** Returns the plan itself. @throws {Error} naming the step that breaks a rule */
export function checkPlan(plan: Plan): Plan {
  checkReferences(plan);
  checkOrders(plan);
  return plan;
}

function fail(step: Step, index: number, rule: string): never {
  throw new Error(`plan: step ${index} (${step.lane} lane, ${step.call ?? step.op}, "${step.task.why}") ${rule}`);
}

function checkReferences({ steps, labels, buffers, inputs }: Plan): void {
  const known = new Set(buffers.map(({ name }) => name));
  const set = new Set<string>([...RESERVED_SLOTS, ...inputs.keys()]);
  const everSet = new Set(set);
  for (const { out } of steps) if (out !== undefined) everSet.add(out);
  let inMainLanes = true;
  const operand = (value: Operand, step: Step, index: number): void => {
    if (typeof value !== "object") return;
    if (value.kind === REF.SLOT) {
      // Sections are jumped to from several places; there, "set somewhere" is what can be said.
      const isSet = inMainLanes ? set.has(value.name) : everSet.has(value.name);
      if (!isSet) fail(step, index, `reads slot "${value.name}" before anything sets it`);
    } else if (value.kind === REF.BUFFER) {
      if (!known.has(value.name)) fail(step, index, `uses buffer "${value.name}", which there is not`);
    } else if (value.kind === REF.LABEL) {
      if (!labels.has(value.name)) fail(step, index, `names label "${value.name}", which nothing binds`);
    }
  };
  const sections = sectionStarts(labels, steps);
  steps.forEach((step, index) => {
    if (sections.has(index)) inMainLanes = false;
    for (const arg of step.args) operand(arg, step, index);
    if (step.when !== undefined) {
      operand(step.when.left, step, index);
      operand(step.when.right, step, index);
    }
    if (step.out !== undefined) set.add(step.out);
    if (step.to !== undefined && !labels.has(step.to)) fail(step, index, `goes to "${step.to}", which nothing binds`);
    if (!labels.has(step.fail)) fail(step, index, `fails to "${step.fail}", which nothing binds`);
  });
}

/** Where the host and container lanes are over: the first step of anything that belongs to neither in order. */
function sectionStarts(labels: ReadonlyMap<string, number>, steps: readonly Step[]): Set<number> {
  const container = steps.findLastIndex((step) => step.call === "execve" && step.lane === "container");
  const first = [...labels.values()].filter((index) => index > container).sort((a, b) => a - b)[0];
  return new Set(first === undefined ? [] : [first]);
}

/** The orders of shared/order.md that a later change must not break unseen. */
function checkOrders({ steps }: Plan): void {
  const box = steps.map((step, index) => ({ step, index })).filter(({ step }) => step.lane === "container");
  const calls = box.filter(({ step }) => step.op === "syscall");
  const at = (matches: (step: Step) => boolean) => calls.findIndex(({ step }) => matches(step));
  const prctl = (option: number) => (step: Step) => step.call === "prctl" && step.args[0] === option;

  const exec = at((step) => step.call === "execve");
  const filter = at((step) => step.call === "seccomp");
  if (exec >= 0) {
    const before = calls[exec - 1]!.step.call === "seccomp" ? calls[exec - 2]! : calls[exec - 1]!;
    const { call, args } = before.step;
    const closes = (call === "close_range" && args[2] === 0) || (call === "close" && filter >= 0);
    if (!closes) fail(before.step, before.index, "stands between closing all descriptors and execve");
  }
  const user = at((step) => step.call === "setresuid" && step.task.path === "/process/user/uid");
  const root = at((step) => step.call === "pivot_root" || step.call === "chroot");
  const mustPrecede = (first: number, second: number, rule: string) => {
    if (first >= 0 && second >= 0 && first > second) fail(calls[first]!.step, calls[first]!.index, rule);
  };
  mustPrecede(at(prctl(PR.CAPBSET_DROP)), user, "drops capabilities from the bounding set after the user changed");
  mustPrecede(
    at((step) => step.call === "setgroups" && step.task.path !== undefined),
    user,
    "sets groups after the user changed",
  );
  mustPrecede(root, user, "changes the root after the user changed");
  mustPrecede(user, at((step) => step.call === "capset"), "changes the user after the capabilities were set");
  const noNewPrivileges = at(prctl(PR.SET_NO_NEW_PRIVS));
  mustPrecede(noNewPrivileges, exec, "forbids new privileges after execve");
  // Loading a filter takes CAP_SYS_ADMIN or no_new_privs, and what was spared for it does not outlast it.
  mustPrecede(noNewPrivileges, filter, "forbids new privileges after the filter was loaded");
  mustPrecede(user, filter, "changes the user behind the filter");
  const capset = calls.findLastIndex(({ step }) =>
    step.call === "capset" && step.task.path === "/process/capabilities"
  );
  if (noNewPrivileges < 0) mustPrecede(filter, capset, "is a filter loaded after the capabilities were dropped");

  // Whatever the host lane makes, it can take back.
  const makes = new Set(["mkdirat", "mknodat", "clone3"]);
  steps.forEach((step, index) => {
    if (step.lane !== "host" || step.call === undefined || !makes.has(step.call)) return;
    const next = steps.slice(index + 1).find(({ lane, fail }) => lane === "host" && fail !== step.fail);
    if (next === undefined) fail(step, index, "makes something that nothing takes back");
  });
}
