/**
 * A plan for people and for tools: every step as a call with decoded arguments, grouped by what it is for. The same
 * words stand in `runk plan`, in error messages and in the golden tests.
 */
import { errnoName, errnoText } from "../abi/errno.ts";
import * as flags from "../abi/flags.ts";
import { O, type OpenFlags } from "../abi/arch.ts";
import { CAPABILITIES, RLIMITS, signalName } from "../abi/names.ts";
import {
  IOPRIO_CLASS_SHIFT,
  IOPRIO_CLASSES,
  MEMORY_POLICIES,
  MEMORY_POLICY_FLAGS,
  PERSONALITIES,
} from "../abi/scheduling.ts";
import { syscallNumber } from "../abi/syscalls.ts";
import { type Condition, type Operand, type Plan, REF, Ref, type Step } from "./types.ts";

type Formatter = (value: Operand, plan: Plan) => string;

const set = (names: Readonly<Record<string, number>>): Formatter => (value) =>
  typeof value === "number" ? flags.flagNames(names, value) : operand(value);
const oneOf = (names: Readonly<Record<string, number>>): Formatter => (value) =>
  typeof value === "number" ? flags.enumName(names, value).toLowerCase() : operand(value);
const octal: Formatter = (value) => (typeof value === "number" ? "0" + value.toString(8) : operand(value));
const fd: Formatter = (value) => (value === flags.AT_FDCWD ? "cwd" : operand(value));
const openFlags: Formatter = (value, { arch }) =>
  typeof value === "number" ? flags.flagNames(withoutAccess(O[arch]), value) : operand(value);
const any: Formatter = (value) => operand(value);
const named = (names: readonly string[]): Formatter => (value) =>
  typeof value === "number" ? names[value] ?? String(value) : operand(value);
const signal: Formatter = (value) => (typeof value === "number" ? signalName(value) : operand(value));
const tree = {
  clone: flags.OPEN_TREE.CLONE,
  cloexec: flags.OPEN_TREE.CLOEXEC,
  recursive: flags.AT.RECURSIVE,
  empty_path: flags.AT.EMPTY_PATH,
};
const statxFlags = { empty_path: flags.AT.EMPTY_PATH, symlink_nofollow: flags.AT.SYMLINK_NOFOLLOW };
const setattrFlags = { recursive: flags.AT.RECURSIVE, empty_path: flags.AT.EMPTY_PATH };
const protection = { read: 1, write: 2, exec: 4 };
const fileType = (value: number) =>
  Object.entries(flags.S).find(([, type]) => type === (value & flags.S_IFMT))?.[0].slice(2).toLowerCase();
const nodeMode: Formatter = (value) =>
  typeof value === "number" ? `${fileType(value) ?? ""}|0${(value & ~flags.S_IFMT).toString(8)}` : operand(value);

const process: Formatter = (value) => (value === 0 ? "self" : operand(value));
const ioPriority: Formatter = (value) =>
  typeof value === "number"
    ? `${flags.enumName(IOPRIO_CLASSES, value >> IOPRIO_CLASS_SHIFT).toLowerCase()}|${value & 7}`
    : operand(value);
const memoryPolicy: Formatter = (value) => {
  if (typeof value !== "number") return operand(value);
  const bits = Object.entries(MEMORY_POLICY_FLAGS).filter(([, bit]) => (value & bit) !== 0);
  return [flags.enumName(MEMORY_POLICIES, value & 0xff), ...bits.map(([name]) => name)].join("|").toLowerCase();
};

const withoutAccess = ({ WRONLY, RDWR, ...rest }: OpenFlags) => ({ ...rest, WRONLY, RDWR });

/** How each call's arguments read; calls that are not here have plain ones. */
const ARGUMENTS: Readonly<Record<string, readonly Formatter[]>> = {
  bpf: [oneOf(flags.BPF_COMMAND), any],
  clone3: [any],
  close_range: [any, (value) => (value === 0xffffffff ? "all" : operand(value)), set(flags.CLOSE_RANGE)],
  faccessat2: [fd, any, (value) => (value === 1 ? "execute" : operand(value)), set({ eaccess: flags.AT.EACCESS })],
  fchmodat: [fd, any, octal],
  fchownat: [fd, any, any, any, set(statxFlags)],
  fcntl: [any, oneOf(flags.F), any],
  fsconfig: [any, oneOf(flags.FSCONFIG), any, any],
  fsmount: [any, set(flags.FSMOUNT), set(flags.MOUNT_ATTR)],
  fsopen: [any, set(flags.FSOPEN)],
  fspick: [fd, any, set(flags.FSPICK)],
  ioctl: [any, oneOf(flags.IOCTL), any],
  ioprio_set: [(value) => (value === 1 ? "process" : operand(value)), any, ioPriority],
  keyctl: [
    oneOf(flags.KEYCTL),
    any,
    (value) => (typeof value === "number" ? "0x" + value.toString(16) : operand(value)),
  ],
  memfd_create: [any, set(flags.MFD)],
  mkdirat: [fd, any, octal],
  mknodat: [fd, any, nodeMode, any],
  mmap: [any, any, set(protection), any, any, any],
  mount_setattr: [fd, any, set(setattrFlags), any],
  move_mount: [fd, any, fd, any, set(flags.MOVE_MOUNT)],
  open_tree: [fd, any, set(tree)],
  openat: [fd, any, openFlags, octal],
  openat2: [fd, any, any],
  personality: [oneOf(PERSONALITIES)],
  pidfd_send_signal: [any, signal],
  prctl: [oneOf(flags.PR), any],
  prlimit64: [any, named(RLIMITS), any],
  recvfrom: [any, any, any],
  renameat2: [fd, any, fd, any],
  rt_sigaction: [signal, any],
  rt_sigprocmask: [(value) => (value === 2 ? "setmask" : operand(value)), any],
  sched_setaffinity: [process, any, any],
  sched_setattr: [process, any],
  seccomp: [oneOf(flags.SECCOMP), set(flags.SECCOMP_FILTER_FLAG), any],
  sendto: [any, any, any, set(flags.MSG)],
  set_mempolicy: [memoryPolicy, any, any],
  setns: [any, set(flags.CLONE)],
  setresgid: [any, any, any],
  setresuid: [any, any, any],
  statx: [fd, any, set(statxFlags), set(flags.STATX)],
  symlinkat: [any, fd, any],
  umask: [octal],
  umount2: [any, set(flags.MNT)],
  unlinkat: [fd, any, set({ removedir: flags.AT.REMOVEDIR })],
  unshare: [set(flags.CLONE)],
  waitid: [oneOf(flags.P), any, any, set(flags.W)],
  ppoll: [any, any, (value) => (value === 0 ? "no timeout" : operand(value))],
};

/** An operand without knowledge of what it is for. */
function operand(value: Operand): string {
  if (typeof value !== "object") return String(value);
  const { kind, name, at } = value;
  const offset = at === 0 ? "" : `+${at}`;
  switch (kind) {
    case REF.SLOT:
      return name.includes(" ") ? `<${name}>` : name;
    case REF.SIZE:
      return String(new TextEncoder().encode(name).length);
    case REF.TEXT:
    case REF.JSON:
      return JSON.stringify(name) + offset;
    case REF.BUFFER:
      return `&<${name}>${offset}`;
    case REF.LABEL:
      return `label <${name}>`;
    default:
      return name + offset;
  }
}

/** prctl's second argument depends on the first. */
function callArguments(step: Step, plan: Plan): string[] {
  const formatters = ARGUMENTS[step.call!];
  if (step.call === "clone3") return [cloneArguments(step, plan)];
  if (step.call === "prctl" && step.args[0] === flags.PR.CAPBSET_DROP && typeof step.args[1] === "number") {
    return ["capbset_drop", CAPABILITIES[step.args[1]] ?? String(step.args[1])];
  }
  if (formatters === undefined) return step.args.map((value) => operand(value));
  // Arguments behind the last formatter are sizes and zeros that say nothing.
  return step.args.slice(0, formatters.length).map((value, i) => formatters[i]!(value, plan));
}

function cloneArguments({ args }: Step, { buffers }: Plan): string {
  const [first] = args;
  const buffer = buffers.find(({ name }) =>
    typeof first === "object" && first.kind === REF.BUFFER && first.name === name
  );
  const value = buffer?.words?.[0];
  return typeof value === "number" ? flags.flagNames(flags.CLONE, value) : operand(first ?? 0);
}

/** A system call with its decoded arguments: `fsmount(fs, cloexec, nosuid|nodev)`. */
export function describeCall(step: Step, plan: Plan): string {
  return `${step.call}(${callArguments(step, plan).join(", ")})`;
}

const condition = ({ left, is, right, mask }: Condition): string =>
  `${operand(left)}${mask === undefined ? "" : ` & 0${Number(mask).toString(8)}`} ${is} ${negated(right)}`;
/** Results are compared with negative error numbers: named, they read better. */
const negated = (value: Operand) => (typeof value === "number" && value < 0 ? "-" + errnoName(-value) : operand(value));

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
        const list = step.task.each === undefined
          ? ""
          : `, for each of ${step.task.each.map(({ item }) => item).join(" ")}`;
        lines.push("", `  ${step.task.why}${list}${step.task.path === undefined ? "" : `  [${step.task.path}]`}`);
        task = step.task;
      }
      for (const [label] of labelsAt.get(index) ?? []) lines.push(`      <${label}>`);
      const sync = step.sync === undefined ? "" : `  ~~ ${step.sync}`;
      const number = options.numbers ? String(index).padStart(5) : "";
      lines.push(`${number.padStart(5)} ${describeStep(step, plan)}${sync}`);
    }
  }
  return lines.slice(1).join("\n") + "\n";
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
      text: describeStep(step, plan),
    })),
  };
}
