/**
 * What holds for every plan, checked for every plan that is built: references that lead somewhere, lanes that end, and
 * (check_orders.ts) what security rests on. A violation is a bug of runk's, found before the kernel sees anything.
 */
import { checkOrders } from "./check_orders.ts";
import type { Operand, Plan, Step } from "./types.ts";
import { REF, RESERVED_SLOTS } from "./types.ts";

/** What a record of the executor has room for; see src/init/layout.ts. */
const [ARGS_MAX, TOLERATE_MAX, ERRNO_MAX, STEPS_MAX] = [6, 6, 255, 0xffff];

/** Returns the plan itself. @throws {Error} naming the step that breaks a rule */
export function checkPlan(plan: Plan): Plan {
  if (plan.steps.length >= STEPS_MAX) throw new Error(`plan: ${plan.steps.length} steps are too many for the executor`);
  plan.steps.forEach(checkStep);
  checkReferences(plan);
  checkEnds(plan);
  checkOrders(plan, broken);
  return plan;
}

/** Reports the rule that a step breaks. */
export type Broken = (step: Step, index: number, rule: string) => never;

const broken: Broken = (step, index, rule) => {
  throw new Error(`plan: step ${index} (${step.lane} lane, ${step.call ?? step.op}, "${step.task.why}") ${rule}`);
};

function checkStep(step: Step, index: number): void {
  const { args, tolerate, to, op } = step;
  if (args.length > ARGS_MAX) broken(step, index, `has more than ${ARGS_MAX} arguments`);
  if (tolerate === undefined) {
    if (to !== undefined && op !== "jump") broken(step, index, "goes somewhere without an error that it tolerates");
    return;
  }
  if (tolerate.length === 0 || tolerate.length > TOLERATE_MAX) {
    broken(step, index, `tolerates ${tolerate.length} errors; 1 to ${TOLERATE_MAX} can be listed`);
  }
  const odd = tolerate.find((errno) => !Number.isInteger(errno) || errno < 1 || errno > ERRNO_MAX);
  if (odd !== undefined) broken(step, index, `tolerates ${odd}, which is no error number`);
}

function checkReferences({ steps, labels, buffers, inputs }: Plan): void {
  const known = new Set(buffers.map(({ name }) => name));
  const set = new Set<string>([...RESERVED_SLOTS, ...inputs.keys()]);
  const everSet = new Set(set);
  for (const { out } of steps) if (out !== undefined) everSet.add(out);
  let inMainLanes = true;
  const tables = new Set<unknown>();
  const operand = (value: Operand, step: Step, index: number): void => {
    if (typeof value !== "object") return;
    const { kind, name, data } = value;
    if (kind === REF.SLOT) {
      // Sections are jumped to from several places; there, "set somewhere" is what can be said.
      const isSet = inMainLanes ? set.has(name) : everSet.has(name);
      if (!isSet) broken(step, index, `reads slot "${name}" before anything sets it`);
    } else if (kind === REF.BUFFER) {
      if (!known.has(name)) broken(step, index, `uses buffer "${name}", which there is not`);
    } else if (kind === REF.LABEL) {
      if (!labels.has(name)) broken(step, index, `names label "${name}", which nothing binds`);
    } else if (kind === REF.WORDS && !tables.has(data)) {
      tables.add(data);
      for (const word of data as readonly Operand[]) {
        if (typeof word === "object" && word.kind === REF.SLOT) broken(step, index, "has a slot in a constant");
        operand(word, step, index);
      }
    }
  };
  const sections = sectionStart(labels, steps);
  steps.forEach((step, index) => {
    if (index === sections) inMainLanes = false;
    for (const arg of step.args) operand(arg, step, index);
    if (step.when !== undefined) {
      operand(step.when.left, step, index);
      operand(step.when.right, step, index);
    }
    if (step.out !== undefined) set.add(step.out);
    if (step.to !== undefined && !labels.has(step.to)) broken(step, index, `goes to "${step.to}", which nothing binds`);
    if (!labels.has(step.fail)) broken(step, index, `fails to "${step.fail}", which nothing binds`);
  });
  for (const { name, words = [] } of buffers) {
    for (const word of words) {
      if (typeof word !== "object" || word.kind !== REF.BUFFER || known.has(word.name)) continue;
      throw new Error(`plan: buffer "${name}" holds the address of buffer "${word.name}", which there is not`);
    }
  }
}

/** Where the host and container lanes are over: the first step of anything that belongs to neither in order. */
function sectionStart(labels: ReadonlyMap<string, number>, steps: readonly Step[]): number | undefined {
  const container = steps.findLastIndex((step) => step.call === "execve" && step.lane === "container");
  return [...labels.values()].filter((index) => index > container).sort((a, b) => a - b)[0];
}

/** After this step nothing follows in its place. */
export const isEnd = ({ op, call, when }: Step): boolean =>
  call === "exit_group" || ((op === "jump" || op === "fail") && when === undefined);

/** One lane's steps must not run into another's. */
function checkEnds({ steps }: Plan): void {
  steps.forEach((step, index) => {
    const next = steps[index + 1];
    if (next?.lane !== step.lane && !isEnd(step)) broken(step, index, "runs into the steps of another lane");
  });
}
