/**
 * A plan for people and for tools: every step as a call with decoded arguments, grouped by what it is for. The same
 * words stand in `runk plan`, in error messages and in the golden tests.
 */
import { errnoName, errnoText } from "../abi/errno.ts";
import { syscallNumber } from "../abi/syscalls.ts";
import { callArguments, condition, describeArgument, describeCall, operand } from "./describe_call.ts";
import { type Operand, type Plan, REF, Ref, type Step } from "./types.ts";

/** A step in one line, without its number. */
export function describeStep(step: Step, plan: Plan): string {
  const result = step.out === undefined ? "" : `${operand(new Ref(REF.SLOT, step.out))} = `;
  const when = step.when === undefined ? "" : `if ${condition(step.when)}: `;
  const args = step.args.map((value) => operand(value));
  const offset = step.args[1] === 0 ? "" : ` + ${args[1]}`;
  switch (step.op) {
    case "syscall":
      return result + describeCall(step, plan) + tolerated(step);
    case "set":
      return `${result}${args[0]}${offset}`;
    case "load":
      return `${result}${8 * step.size} bits at ${args[0]}${offset}`;
    case "store":
      return `${8 * step.size} bits at ${args[0]}${offset} = ${args[2]}`;
    case "format":
      return `${result}decimal digits of ${args[0]} at ${args[1]}`;
    case "jump":
      return `${when}go to <${step.to ?? "the place in " + args[0]}>`;
    case "fail":
      return `${when}fail: ${step.error}${step.errno ? ` (${errnoText(step.errno)})` : ""}`;
  }
}

function tolerated({ tolerate = [], to }: Step): string {
  if (tolerate.length === 0) return "";
  return `  [${tolerate.map(errnoName).join(", ")}: ${to === undefined ? "fine" : `go to <${to}>`}]`;
}

/** A lane, or a stretch of one, as it is printed: steps of the same lane that follow each other. */
interface Stretch {
  readonly title: string;
  readonly steps: { readonly step: Step; readonly index: number }[];
}

const TITLES: Readonly<Record<string, string>> = {
  host: "host lane: a process in the host's namespaces, with the caller's rights",
  container: "container lane: the process that becomes the container's",
};

function stretches(plan: Plan): Stretch[] {
  const result: Stretch[] = [];
  let last: Step | undefined;
  plan.steps.forEach((step, index) => {
    if (last === undefined || step.lane !== last.lane) {
      const seen = result.some(({ title }) => title === TITLES[step.lane]);
      const title = seen || TITLES[step.lane] === undefined
        ? `${step.lane}: apart from its lane, by jumps`
        : TITLES[step.lane]!;
      result.push({ title, steps: [] });
    }
    result.at(-1)!.steps.push({ step, index });
    last = step;
  });
  return result;
}

/** The whole plan as text: what `runk plan` prints; without the steps' numbers, texts of two plans compare better. */
export function describePlan(plan: Plan, options: { numbers: boolean } = { numbers: true }): string {
  const labelsAt = Map.groupBy(plan.labels, ([, index]) => index);
  const lines: string[] = [];
  for (const { title, steps } of stretches(plan)) {
    lines.push("", title);
    let task: Step["task"] | undefined;
    for (const { step, index } of steps) {
      if (step.task !== task) {
        const each = step.task.each === undefined ? "" : ", for each of a list";
        lines.push("", `  ${step.task.why}${each}${step.task.path === undefined ? "" : `  [${step.task.path}]`}`);
        task = step.task;
      }
      for (const [label] of labelsAt.get(index) ?? []) lines.push(`      <${label}>`);
      const sync = step.sync === undefined ? "" : `  ~~ ${step.sync}${partner(step)}`;
      const number = options.numbers ? String(index).padStart(5) : "";
      lines.push(`${number.padStart(5)} ${describeStep(step, plan)}${sync}`);
      for (const row of rowsOf(step, plan)) lines.push(`            ${row}`);
    }
  }
  return lines.slice(1).join("\n") + "\n";
}

/** Whom a step meets. */
const partner = ({ args, lane }: Step): string => {
  const [socket] = args;
  if (typeof socket === "object" && socket.name === "report") return ", with the starter";
  return lane === "host" ? ", with the container lane" : ", with the host lane";
};

/** The rows of the list that a step begins to go through: `name: what the steps get for it`. */
function rowsOf({ op, args, out, task: { each } }: Step, plan: Plan): string[] {
  const [table] = args;
  if (op !== "set" || each === undefined || typeof table !== "object" || table.kind !== REF.WORDS) return [];
  const words = table.data as readonly Operand[];
  const width = words.length / each.length;
  // A column reads as the argument that it becomes.
  const columns = Array.from({ length: width }, (_, column) => usesOf(plan, `${out}.${column}`));
  return each.map(({ item }, i) => {
    const row = columns.map((use, column) => use(words[width * i + column]!)).join(", ");
    return row.includes(JSON.stringify(item)) ? row : `${item}: ${row}`;
  });
}

const rowsOrNone = (step: Step, plan: Plan): string[] | undefined => {
  const rows = rowsOf(step, plan);
  return rows.length === 0 ? undefined : rows;
};

/** How the value of a slot reads in the first call that takes it. */
function usesOf(plan: Plan, name: string): (value: Operand) => string {
  for (const { call, args } of plan.steps) {
    if (call === undefined) continue;
    const index = args.findIndex((arg) => typeof arg === "object" && arg.kind === REF.SLOT && arg.name === name);
    if (index >= 0) return (value) => describeArgument(call, index, value, plan);
  }
  return operand;
}

/** What a plan does, a line for each task in its order: without the steps, and without what only failures need. */
export function summarizePlan(plan: Plan): string {
  const lines: string[] = [];
  const tasks = new Map<string, Map<string, number>>();
  for (const { lane, task } of plan.steps) {
    if (TITLES[lane] === undefined) continue;
    const whys = tasks.get(lane) ?? new Map<string, number>();
    tasks.set(lane, whys.set(task.why, (whys.get(task.why) ?? 0) + 1));
  }
  for (const [lane, whys] of tasks) {
    lines.push("", TITLES[lane]!);
    for (const [why, steps] of whys) {
      lines.push(`${String(steps).padStart(5)} ${steps === 1 ? "step " : "steps"}  ${why}`);
    }
  }
  return lines.slice(1).join("\n") + "\n";
}

/** The plan as data for tools. The keys are stable; `version` changes when their meaning does. */
export function planToJson(plan: Plan): Record<string, unknown> {
  return {
    version: 1,
    arch: plan.arch,
    inputs: Object.fromEntries(plan.inputs),
    steps: plan.steps.map((step, index) => ({
      index,
      lane: step.lane,
      op: step.op,
      call: step.call,
      number: step.call === undefined ? undefined : syscallNumber(plan.arch, step.call),
      arguments: step.op === "syscall" ? callArguments(step, plan) : step.args.map((value) => operand(value)),
      result: step.out,
      when: step.when === undefined ? undefined : condition(step.when),
      tolerate: step.tolerate?.map(errnoName),
      goto: step.to === undefined ? undefined : plan.labels.get(step.to),
      onFailure: plan.labels.get(step.fail),
      meets: step.sync,
      why: step.task.why,
      path: step.task.path,
      each: step.task.each?.map(({ item }) => item),
      rows: step.task.each === undefined || step.op !== "set" ? undefined : rowsOrNone(step, plan),
      text: describeStep(step, plan),
    })),
  };
}
