/**
 * Profiles that no one would write, against two judges: their rules as they are written, and libseccomp. RUNK_FUZZ_RUNS is
 * the number of profiles for each judge (300 without it).
 */
import assert from "node:assert/strict";
import fc from "../../support/random.ts";
import { RunkError } from "../../../src/errors.ts";
import type { Instruction } from "../../../src/seccomp/code.ts";
import { compileProfile } from "../../../src/seccomp/compile.ts";
import { describeReturn, interpret } from "../../../src/seccomp/interpret.ts";
import { type ActionName, ACTIONS, AUDIT_ARCH, type CallArch, OPERATORS } from "../../../src/seccomp/names.ts";
import { multiplexed, syscallTable } from "../../../src/seccomp/syscalls.ts";
import type { Seccomp } from "../../../src/spec/schema.ts";
import { type Job, libseccompFilters, NEEDS } from "../../support/libseccomp.ts";
import { test } from "../../support/test.ts";

const RUNS = Number(Deno.env.get("RUNK_FUZZ_RUNS") ?? 300);
const ENOSYS = ACTIONS.SCMP_ACT_ERRNO + 38;
const NATIVES = ["x86_64", "aarch64"] as const;
const SECTIONS: Readonly<Record<Job["native"], readonly CallArch[]>> = {
  x86_64: ["x86_64", "x86", "x32"],
  aarch64: ["aarch64", "arm"],
};
/** Ordinary ones, some that only one architecture has, some behind socketcall and ipc, one that no one has; 0 and the last. */
const NAMES = ("read personality clone ioctl openat socket sendto semop shmat socketcall ipc breakpoint set_tls " +
  "arch_prctl clock_gettime64 statx faccessat2 execve recvmsg no_such_call").split(" ");
const ACTION_NAMES = (Object.keys(ACTIONS) as ActionName[]).filter((name) => name !== "SCMP_ACT_NOTIFY");
type Rule = NonNullable<Seccomp["syscalls"]>[number];
type Argument = NonNullable<Rule["args"]>[number];

const value = fc.oneof(
  fc.constantFrom(0n, 1n, 2n, 5n, 8n, 0x7fffffffn, 0x80000000n, 0xffffffffn, 0x100000000n, 0x100000005n, 0x500000005n),
  fc.constantFrom(0x7e020000n, 0xfffffffffffffffen, 0xffffffffffffffffn, 0xffffffff00000000n),
  fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }),
);
const argument: fc.Arbitrary<Argument> = fc.record({
  index: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0, 1) }, fc.nat(5)),
  op: fc.constantFrom(...Object.keys(OPERATORS)),
  value,
  valueTwo: value,
});
const someArguments = fc.oneof(
  { weight: 4, arbitrary: fc.array(argument, { minLength: 1, maxLength: 2 }) },
  fc.array(argument, { maxLength: 6 }),
);
const action = fc.constantFrom(...ACTION_NAMES);
const errno = fc.option(fc.constantFrom(0, 1, 38, 95), { nil: undefined });
const names = fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 });
const rule: fc.Arbitrary<Rule> = fc.record({ names, action, errnoRet: errno, args: someArguments });
const architectures = fc.subarray([
  ...["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
]);
const profileOf = (rules: fc.Arbitrary<Rule[]>): fc.Arbitrary<Seccomp> =>
  fc.record({ defaultAction: action, defaultErrnoRet: errno, architectures, syscalls: rules });

const wordsOf = (value: number | bigint) => {
  const whole = BigInt(value);
  const near = [whole, whole - 1n, whole + 1n, whole ^ 0x100000000n, whole & 0xffffffffn, whole << 32n, ~whole];
  return near.map((value) => BigInt.asUintN(64, value));
};

/** Calls on both sides of whatever the profile compares with. */
function callsFor(profile: Seccomp, native: Job["native"]) {
  const args = profile.syscalls!.flatMap(({ args = [] }) => args);
  const values = [
    ...new Set([0n, ...args.flatMap(({ value, valueTwo = 0 }) => [...wordsOf(value), ...wordsOf(valueTwo)])]),
  ];
  const random = (seed: number) => values[(seed * 2654435761 >>> 7) % values.length]!;
  return SECTIONS[native].flatMap((section) =>
    [...NAMES, "exit_group"].flatMap((name) => {
      const number = syscallTable(section).get(name);
      if (number === undefined) return [];
      const same = values.map((value) => [value, value, value, value, value, value]);
      const mixed = Array.from({ length: 40 }, (_, i) => [0, 1, 2, 3, 4, 5].map((j) => random(7 * i + j + 1)));
      return [...same, ...mixed].map((args) => ({
        section,
        name,
        call: { number, arch: AUDIT_ARCH[section === "x32" ? "x86_64" : section], args },
      }));
    })
  );
}
type Case = ReturnType<typeof callsFor>[number];

function holds({ index, op, value, valueTwo = 0 }: Argument, is64: boolean, args: readonly bigint[]): boolean {
  const cut = (value: number | bigint) => BigInt.asUintN(is64 ? 64 : 32, BigInt(value));
  const [left, right] = [cut(args[index]!), cut(value)];
  switch (op.slice("SCMP_CMP_".length)) {
    case "EQ":
      return left === right;
    case "NE":
      return left !== right;
    case "LT":
      return left < right;
    case "LE":
      return left <= right;
    case "GT":
      return left > right;
    case "GE":
      return left >= right;
    default:
      return (left & right) === (cut(valueTwo) & right);
  }
}

/** The rules that match a call. */
function matching(profile: Seccomp, { section, name, call }: Case): Rule[] {
  const is64 = section === "x86_64" || section === "aarch64";
  return profile.syscalls!.filter(({ names, args = [] }) => {
    const isRepeated = new Set(args.map(({ index }) => index)).size < args.length;
    const hold = (args: readonly Argument[]) => args.every((argument) => holds(argument, is64, call.args));
    const each = (list: readonly Argument[]) => (isRepeated ? list.some((one) => hold([one])) : hold(list));
    if (names.includes(name) && each(args)) return true;
    // 32-bit x86: the same calls behind another one, whose first argument says which.
    if (section !== "x86" || (name !== "socketcall" && name !== "ipc")) return false;
    return names.some((hidden) => {
      const { through, as } = multiplexed(hidden) ?? {};
      if (through !== name || (call.args[0]! & 0xffffffffn) !== BigInt(as!)) return false;
      const others = (list: readonly Argument[]) => hold(list.filter(({ index }) => index !== 0));
      return isRepeated ? args.some((one) => others([one])) : others(args);
    });
  });
}

const shown = (profile: Seccomp) =>
  JSON.stringify(profile, (_, value) => (typeof value === "bigint" ? `0x${value.toString(16)}` : value));

/** What the kernel is told for an action. */
function valueOf({ action, errnoRet = 1 }: Pick<Rule, "action" | "errnoRet">): number {
  const hasData = action === "SCMP_ACT_ERRNO" || action === "SCMP_ACT_TRACE";
  return ACTIONS[action as ActionName] + (hasData ? errnoRet : 0);
}

test(`a profile's rules are enforced as written, over ${RUNS} profiles`, [], () => {
  // One action for all: which of two different ones wins is libseccomp's to say.
  const oneAction = fc.tuple(profileOf(fc.array(rule, { minLength: 1, maxLength: 6 })), action).map((
    [profile, action],
  ) => ({
    ...profile,
    syscalls: profile.syscalls!.map((rule) => ({ ...rule, action, errnoRet: 7 })),
  }));
  fc.assert(
    fc.property(oneAction, fc.constantFrom(...NATIVES), (profile, native) => {
      const { instructions } = compileProfile(profile, native);
      const named = valueOf(profile.syscalls[0]!);
      const other = valueOf({ action: profile.defaultAction!, errnoRet: profile.defaultErrnoRet });
      for (const one of callsFor(profile, native)) {
        if (!isNamed(profile, native, one)) continue;
        const expected = matching(profile, one).length > 0 ? named : other;
        const { value } = interpret(instructions, one.call);
        const isNewer = value === ENOSYS && expected === other;
        if (value !== expected && !isNewer) {
          assert.fail(`${one.section} ${one.name}(${one.call.args}): ${describeReturn(value)}: ${shown(profile)}`);
        }
      }
    }),
    { numRuns: RUNS },
  );
});

const isNamed = ({ architectures = [] }: Seccomp, native: Job["native"], { section }: Case) =>
  section === native || architectures.includes(`SCMP_ARCH_${section.toUpperCase()}`);
/**
 * What libseccomp (2.5.4) can be asked. It loses rules for calls that the machine does not have, for several bounds on
 * one argument, and for values that it is not to have; on some it does not come to an end.
 */
function askable(profile: Seccomp, native: Job["native"]): Seccomp {
  return {
    ...profile,
    architectures: [],
    syscalls: profile.syscalls!.map((rule) => ({
      ...rule,
      names: rule.names.filter((name) => syscallTable(native).has(name)),
      args: (rule.args ?? []).filter(({ op }) => op === "SCMP_CMP_EQ" || op === "SCMP_CMP_MASKED_EQ"),
    })),
  };
}

test(`profiles with all actions mean what libseccomp makes of them, over ${RUNS} profiles`, NEEDS, async () => {
  const profile = profileOf(fc.array(rule, { minLength: 1, maxLength: 6 }));
  const jobs: Job[] = fc.sample(fc.tuple(profile, fc.constantFrom(...NATIVES)), RUNS).map(([profile, native]) => {
    return { native, profile: askable(profile, native), optimize: false };
  });
  const theirs = await libseccompFilters(jobs);
  let refused = 0;
  jobs.forEach(({ profile, native }, i) => {
    const their = theirs[i]!;
    let ours: readonly Instruction[];
    try {
      ours = compileProfile(profile, native).instructions;
    } catch (error) {
      assert.ok(error instanceof RunkError && /contradicts/.test(error.message), String(error));
      assert.match(String(their), /errno = -17/, `only we refuse ${shown(profile)}`);
      refused++;
      return;
    }
    assert.ok(typeof their !== "string", `libseccomp: ${their}: ${shown(profile)}`);
    const fallback = valueOf({ action: profile.defaultAction!, errnoRet: profile.defaultErrnoRet });
    for (const one of callsFor(profile, native)) {
      if (!isNamed(profile, native, one)) continue;
      const { section, name, call } = one;
      const value: number = interpret(ours, call).value;
      const expected: number = interpret(their, call).value;
      const isNewer = value === ENOSYS && expected === fallback;
      if (value === expected || isNewer) continue;
      const answers: string = `${describeReturn(value)}, libseccomp ${describeReturn(expected)}`;
      assert.fail(`${native} ${section} ${name}(${call.args}): ${answers}: ${shown(profile)}`);
    }
  });
  console.log(
    `${refused} of ${jobs.length} profiles contradict themselves, to both`,
  );
});
