/**
 * A profile of config.json -> the filter that the kernel runs at every system call: architecture, then a search over
 * ranges of call numbers that are treated alike, then arguments. Pure.
 */
import type { Arch } from "../abi/arch.ts";
import { SECCOMP_FILTER_FLAG } from "../abi/flags.ts";
import { RunkError } from "../errors.ts";
import type { Seccomp } from "../spec/schema.ts";
import {
  type Decision,
  Decisions,
  encode,
  generate,
  type Instruction,
  INSTRUCTIONS_MAX,
  TooLong,
  WORD,
} from "./code.ts";
import { actionOf, ACTIONS, AUDIT_ARCH, FLAGS } from "./names.ts";
import { type Calls, type Rules, rulesOf, type Verdict } from "./profile.ts";
import { Ranges, search } from "./ranges.ts";
import { syscallTable, X32_BIT } from "./syscalls.ts";
import type { Branch, Node } from "./tree.ts";

const LISTENER = "/listenerPath";
const ALL = 0xffffffff;
const ENOSYS = 38;
const NOT_THERE = ACTIONS.SCMP_ACT_ERRNO + ENOSYS;
/** What a tracer makes of a call that it wants skipped. */
const SKIPPED = ALL;
/** Numbers with and without the bit that marks x32's. */
const X32 = [[0x40000000, 0x7fffffff], [0xc0000000, ALL]] as const;
const NOT_X32 = [[0, 0x3fffffff], [0x80000000, 0xbfffffff]] as const;
const ANY = [[0, ALL]] as const;

export interface Filter {
  readonly instructions: readonly Instruction[];
  /** The instructions as the kernel reads them. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** For seccomp(2). */
  readonly flags: number;
  /** What it returns for calls that nothing is said about. */
  readonly defaultReturn: number;
  /** Loading it gives a descriptor for the agent at the profile's listenerPath. */
  readonly notifies: boolean;
}

/** Whether a profile asks for a filter: one without a default action and rules does not. */
export const isOn = (profile: Seccomp | undefined): profile is Seccomp =>
  profile !== undefined && (!!profile.defaultAction || (profile.syscalls?.length ?? 0) > 0);

/**
 * The filter of a profile.
 * @throws {RunkError} naming the place in the profile
 */
export function compileProfile(profile: Seccomp, native: Arch): Filter {
  const flags = flagsOf(profile);
  const rules = rulesOf(profile, native);
  if (rules.notifies && !profile.listenerPath) {
    wrong("seccomp listenerPath is not set: SCMP_ACT_NOTIFY needs an agent to notify", LISTENER);
  }
  if (rules.notifies) checkListener(profile.listenerPath!);
  if (!rules.notifies && (flags & FLAGS.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) !== 0) {
    wrong("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY", "/flags");
  }
  const instructions = instructionsOf(rules);
  const { notifies, defaultAction } = rules;
  return {
    instructions,
    bytes: encode(instructions),
    flags: flags + (notifies ? SECCOMP_FILTER_FLAG.NEW_LISTENER : 0),
    defaultReturn: defaultAction,
    notifies,
  };
}

/** Source: unix(7). */
const SUN_PATH_MAX = 107;

function checkListener(path: string): void {
  if (!path.startsWith("/")) wrong(`the seccomp agent's socket ${JSON.stringify(path)} is no absolute path`, LISTENER);
  if (new TextEncoder().encode(path).length > SUN_PATH_MAX || path.includes("\0")) {
    wrong(`no socket has a path like ${JSON.stringify(path)}: at most ${SUN_PATH_MAX} bytes, and no NUL`, LISTENER);
  }
}

function wrong(message: string, path: string): never {
  throw new RunkError(`${message} [config.json /linux/seccomp${path}]`);
}

/** As runc: SPEC_ALLOW without a list, none with an empty one. */
function flagsOf({ flags }: Seccomp): number {
  if (flags === undefined) return FLAGS.SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  return flags.reduce((bits, flag, i) => {
    if (!Object.hasOwn(FLAGS, flag)) {
      wrong(`seccomp flag ${flag} is not known to runk: one of ${Object.keys(FLAGS).join(", ")} is`, `/flags/${i}`);
    }
    return bits | FLAGS[flag as keyof typeof FLAGS];
  }, 0);
}

function instructionsOf(rules: Rules): Instruction[] {
  try {
    return generate(decide(rules));
  } catch (error) {
    if (!(error instanceof TooLong)) throw error;
    return wrong(
      `the filter would have more than ${INSTRUCTIONS_MAX} instructions, which is the most that the kernel takes: ` +
        "join rules, or compare fewer arguments",
      "/syscalls",
    );
  }
}

function decide({ calls, defaultAction }: Rules): Decision {
  const decisions = new Decisions();
  const kill = decisions.returns(ACTIONS.SCMP_ACT_KILL);
  const fallback = decisions.returns(defaultAction);
  // To programs, calls newer than the profile do not exist, unless the default lets them through (and says so itself).
  const newer = isPermissive(defaultAction) ? fallback : decisions.returns(NOT_THERE);
  const x32 = calls.find(({ arch }) => arch === "x32");
  let result: Decision = kill;
  for (const section of calls.toReversed()) {
    const { arch } = section;
    if (arch === "x32") continue;
    const ranges = new Ranges(fallback);
    const parts = arch === "x86_64" && x32 !== undefined ? [section, x32] : [section];
    if (arch === "x86_64" && x32 === undefined) ranges.set(X32_BIT, SKIPPED - 1, kill);
    for (const { arch, newest } of parts) {
      if (!newest) continue;
      for (const [from, to] of arch === "x32" ? X32 : arch === "x86_64" ? NOT_X32 : ANY) {
        ranges.set(Math.max(from, newest + 1), to, newer);
      }
    }
    setVerdicts(ranges, parts, (verdict) => decisionOf(verdict, fallback, decisions));
    const found = search(ranges.all(), numbersOf(parts), decisions);
    result = decisions.compare(WORD.ARCH, ALL, "==", AUDIT_ARCH[arch], found, result);
  }
  return result;
}

const isPermissive = (value: number) =>
  ([ACTIONS.SCMP_ACT_ALLOW, ACTIONS.SCMP_ACT_LOG, ACTIONS.SCMP_ACT_TRACE] as number[]).includes(actionOf(value));

const numbersOf = (parts: readonly Calls[]): Uint32Array =>
  Uint32Array.from(parts.flatMap(({ arch }) => [...syscallTable(arch).values()])).sort();

/** Neighbours that are treated alike are set at once: most of a thousand calls are. */
function setVerdicts(ranges: Ranges, parts: readonly Calls[], decisionOf: (verdict: Verdict) => Decision): void {
  for (const { verdicts } of parts) {
    const numbers = Uint32Array.from(verdicts.keys()).sort();
    for (let i = 0; i < numbers.length;) {
      const first = numbers[i]!;
      const verdict = verdicts.get(first)!;
      let last = first;
      while (++i < numbers.length && numbers[i] === last + 1 && verdicts.get(last + 1) === verdict) last++;
      ranges.set(first, last, decisionOf(verdict));
    }
  }
}

function decisionOf(verdict: Verdict, fallback: Decision, decisions: Decisions): Decision {
  return typeof verdict === "number" ? decisions.returns(verdict) : levelDecision(verdict, fallback, decisions);
}

/** The nodes of a level one after the other; where a branch ends without an action, the next node goes on. */
function levelDecision(level: readonly Node[], next: Decision, decisions: Decisions): Decision {
  const branch = (branch: Branch, next: Decision) => branch === undefined ? next : decisionOf(branch, next, decisions);
  let result = next;
  for (const node of level.toReversed()) {
    const [then, otherwise] = [branch(node.then, result), branch(node.else, result)];
    result = decisions.compare(node.word, node.mask, node.test, node.value, then, otherwise);
  }
  return result;
}
