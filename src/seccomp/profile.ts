/**
 * A profile of config.json -> what happens to each system call, by architecture. The meaning is the one that runc and
 * libseccomp give it: a rule without conditions beats those with (the first such one counts), rules of one call are
 * alternatives, the conditions of one rule must all hold.
 */
import type { Arch } from "../abi/arch.ts";
import { RunkError } from "../errors.ts";
import type { Seccomp } from "../spec/schema.ts";
import { type ActionName, ACTIONS, ARCHITECTURES, type CallArch, OPERATORS } from "./names.ts";
import { multiplexed, syscallTable } from "./syscalls.ts";
import { addTree, type Condition, Contradiction, type Node, treeOf } from "./tree.ts";

/** What happens to one call: the same always (a filter's return value), or what its arguments say. */
export type Verdict = number | Node[];

export interface Calls {
  readonly arch: CallArch;
  /** Number -> verdict, of calls that the profile has rules for; x32's with their bit. */
  readonly verdicts: ReadonlyMap<number, Verdict>;
  /** The highest number of a call that the profile names; undefined when it names none. */
  readonly newest: number | undefined;
}

export interface Rules {
  readonly defaultAction: number;
  /** The native architecture first, then those that the profile names. */
  readonly calls: readonly Calls[];
  /** Rules hand calls over to an agent. */
  readonly notifies: boolean;
}

type Rule = NonNullable<Seccomp["syscalls"]>[number];
type Argument = NonNullable<Rule["args"]>[number];

const EPERM = 1;
const DATA_MAX = 0xffff;
const ARGUMENTS_MAX = 6;
/** Private calls of 32-bit ARM lie far above all that will ever be added. */
const PRIVATE = 0xf0000;
/** Without the bit of x32's numbers. */
const NUMBER_MASK = 0x3fffffff;

const wrong = (message: string, path: string): never => {
  throw new RunkError(`${message} [config.json /linux/seccomp${path}]`);
};

const oneOf = (names: object) => `one of ${Object.keys(names).join(", ")} is expected`;

/** @throws {RunkError} for what the profile must not say */
export function rulesOf(profile: Seccomp, native: Arch): Rules {
  const architectures = architecturesOf(profile, native);
  const defaultAction = returnValue(profile.defaultAction ?? "", profile.defaultErrnoRet, "default");
  if (defaultAction === ACTIONS.SCMP_ACT_NOTIFY) {
    wrong("SCMP_ACT_NOTIFY cannot be used as default action", "/defaultAction");
  }
  const tables = architectures.map((arch): Table => ({
    arch,
    table: syscallTable(arch),
    verdicts: new Map(),
    newest: undefined,
  }));
  let notifies = false;
  profile.syscalls?.forEach((rule, at) => {
    const path = `/syscalls/${at}`;
    const action = returnValue(rule.action, rule.errnoRet, path);
    const alternatives = alternativesOf(rule, path);
    const empty = rule.names.indexOf("");
    if (empty >= 0) wrong("empty string is not a valid syscall", `${path}/names/${empty}`);
    if (action === ACTIONS.SCMP_ACT_NOTIFY && rule.names.length > 0) {
      const write = rule.names.indexOf("write");
      if (write >= 0) wrong("SCMP_ACT_NOTIFY cannot be used for the write syscall", `${path}/names/${write}`);
      notifies = true;
    }
    // A rule that says what the default says is none, but names calls.
    for (const calls of tables) {
      addRule(calls, rule.names, alternatives, action === defaultAction ? undefined : action, path);
    }
  });
  return { defaultAction, calls: tables, notifies };
}

interface Table {
  readonly arch: CallArch;
  readonly table: ReadonlyMap<string, number>;
  readonly verdicts: Map<number, Verdict>;
  newest: number | undefined;
}

/** Adds a rule on one architecture. Profiles have a thousand of these: what most of them are is done at once. */
function addRule(
  calls: Table,
  names: readonly string[],
  alternatives: readonly (readonly Condition[])[],
  action: number | undefined,
  path: string,
): void {
  const { arch, table, verdicts } = calls;
  const isPlain = alternatives[0]?.length === 0;
  for (const name of names) {
    const number = table.get(name);
    const behind = arch === "x86" ? multiplexed(name) : undefined;
    if (behind === undefined) {
      if (number === undefined) continue;
      const isNewer = calls.newest === undefined || number > calls.newest;
      if (isNewer && (number & NUMBER_MASK) < PRIVATE) calls.newest = number;
      if (isPlain) {
        if (action !== undefined && typeof verdicts.get(number) !== "number") verdicts.set(number, action);
        continue;
      }
    }
    if (action === undefined) continue;
    try {
      for (const conditions of alternatives) {
        if (number !== undefined) add(verdicts, number, conditions, arch, action);
        if (behind === undefined) continue;
        add(verdicts, table.get(behind.through)!, behindAnother(conditions, behind.as), arch, action);
      }
    } catch (error) {
      if (!(error instanceof Contradiction)) throw error;
      wrong(`a rule for ${name} contradicts an earlier one: same conditions, another action`, path);
    }
  }
}

/** libseccomp's rule for calls behind socketcall and ipc: the first argument says which, the others are as they are. */
const behindAnother = (conditions: readonly Condition[], as: number): Condition[] => [
  { index: 0, op: "==", value: BigInt(as), mask: 0n },
  ...conditions.filter(({ index }) => index !== 0),
];

function add(
  verdicts: Map<number, Verdict>,
  number: number,
  conditions: readonly Condition[],
  arch: CallArch,
  action: number,
): void {
  const known = verdicts.get(number);
  if (typeof known === "number") return;
  const tree = treeOf(conditions, arch === "x86_64" || arch === "aarch64", action);
  if (tree === undefined) verdicts.set(number, action);
  else if (known === undefined) verdicts.set(number, tree);
  else addTree(known, tree);
}

/** The conditions of a rule; several lists are alternatives. */
function alternativesOf({ args = [] }: Rule, path: string): readonly (readonly Condition[])[] {
  const conditions = args.map((argument, i) => conditionOf(argument, `${path}/args/${i}`));
  const isRepeated = new Set(conditions.map(({ index }) => index)).size < conditions.length;
  // Two conditions on one argument: as runc reads it, each is a rule of its own.
  return isRepeated ? conditions.map((condition) => [condition]) : [conditions];
}

function conditionOf({ index, op, value, valueTwo = 0 }: Argument, path: string): Condition {
  if (!Object.hasOwn(OPERATORS, op)) {
    wrong(`string ${op} is not a valid operator for seccomp: ${oneOf(OPERATORS)}`, `${path}/op`);
  }
  if (index >= ARGUMENTS_MAX) {
    wrong(`system calls have arguments 0 to ${ARGUMENTS_MAX - 1}, not ${index}`, `${path}/index`);
  }
  const operator = OPERATORS[op as keyof typeof OPERATORS];
  return operator === "&=="
    ? { index, op: operator, value: BigInt(valueTwo), mask: BigInt(value) }
    : { index, op: operator, value: BigInt(value), mask: 0n };
}

/** @param path of the rule; "default" for the profile's own action */
function returnValue(name: string, errno: number | undefined, path: string): number {
  const [actionPath, errnoPath] = path === "default"
    ? ["/defaultAction", "/defaultErrnoRet"]
    : [`${path}/action`, `${path}/errnoRet`];
  if (!Object.hasOwn(ACTIONS, name)) {
    wrong(`string ${name} is not a valid action for seccomp: ${oneOf(ACTIONS)}`, actionPath);
  }
  const action = ACTIONS[name as ActionName];
  if (action !== ACTIONS.SCMP_ACT_ERRNO && action !== ACTIONS.SCMP_ACT_TRACE) return action;
  if (errno !== undefined && errno > DATA_MAX) wrong(`${errno} is no error number: 0 to ${DATA_MAX} are`, errnoPath);
  return action + (errno ?? EPERM);
}

const SECTIONS: Readonly<Record<Arch, readonly CallArch[]>> = {
  x86_64: ["x86_64", "x86", "x32"],
  aarch64: ["aarch64", "arm"],
};

/** Those of the named architectures whose programs this machine may run; its own one always. */
function architecturesOf({ architectures = [] }: Seccomp, native: Arch): CallArch[] {
  const named = architectures.map((name, i) => {
    if (!Object.hasOwn(ARCHITECTURES, name)) {
      wrong(`string ${name} is not a valid arch for seccomp: ${oneOf(ARCHITECTURES)}`, `/architectures/${i}`);
    }
    return ARCHITECTURES[name as keyof typeof ARCHITECTURES];
  });
  return SECTIONS[native].filter((arch) => arch === native || named.includes(arch));
}
