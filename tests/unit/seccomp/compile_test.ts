/** What a profile means, what it must not say, and what the filter looks like. */
import assert from "node:assert/strict";
import { generate, INSTRUCTIONS_MAX, OP } from "../../../src/seccomp/code.ts";
import { compileProfile, isOn } from "../../../src/seccomp/compile.ts";
import { describeReturn, interpret } from "../../../src/seccomp/interpret.ts";
import { ACTIONS, ARCHITECTURES, AUDIT_ARCH, FLAGS, OPERATORS } from "../../../src/seccomp/names.ts";
import { syscallTable } from "../../../src/seccomp/syscalls.ts";
import type { Seccomp } from "../../../src/spec/schema.ts";
import { decode, disassemble } from "../../support/filters.ts";
import { test } from "../../support/test.ts";

type Rules = NonNullable<Seccomp["syscalls"]>;

/** What a profile answers to a call on x86_64. */
function answer(profile: Seccomp, name: string | number, ...args: bigint[]): string {
  const number = typeof name === "number" ? name : syscallTable("x86_64").get(name)!;
  return describeReturn(
    interpret(compileProfile(profile, "x86_64").instructions, { number, arch: AUDIT_ARCH.x86_64, args }).value,
  );
}
const allowing = (...syscalls: Rules): Seccomp => ({ defaultAction: "SCMP_ACT_ALLOW", syscalls });
const rule = (action: string, more: Partial<Rules[number]> = {}): Rules[number] => ({
  names: ["personality"],
  action,
  ...more,
});
const when = (index: number, op: string, value: bigint, valueTwo = 0n) => ({
  index,
  op: `SCMP_CMP_${op}`,
  value,
  valueTwo,
});

test("a profile without default action and rules is no filter", [], () => {
  for (const profile of [undefined, {}, { syscalls: [] }, { defaultAction: "", architectures: ["SCMP_ARCH_X86"] }]) {
    assert.equal(isOn(profile), false);
  }
  assert.equal(isOn({ defaultAction: "SCMP_ACT_ALLOW" }), true);
});

test("every action becomes the kernel's, with errnoRet where it carries one, EPERM without", [], () => {
  const answers = Object.keys(ACTIONS).filter((name) => name !== "SCMP_ACT_NOTIFY").map((action) => {
    const profile = { defaultAction: "SCMP_ACT_TRAP", syscalls: [rule(action, { errnoRet: 95 })] };
    return answer(profile, "personality");
  });
  assert.deepEqual(answers, [
    ...["ALLOW", "ERRNO(EOPNOTSUPP)", "KILL", "KILL_PROCESS", "KILL", "LOG", "TRACE(95)", "TRAP"],
  ]);
  assert.equal(answer(allowing(rule("SCMP_ACT_ERRNO")), "personality"), "ERRNO(EPERM)");
  assert.equal(answer(allowing(rule("SCMP_ACT_TRACE")), "personality"), "TRACE(1)");
  assert.equal(
    answer({ defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 13, syscalls: [] }, "personality"),
    "ERRNO(EACCES)",
  );
});

test("every operator compares all 64 bits, without a sign", [], () => {
  const wide = 0x8000_0001_0000_0005n;
  const cases: [string, bigint, bigint, boolean][] = [
    ["EQ", wide, wide, true],
    ["EQ", wide, wide ^ (1n << 32n), false],
    ["NE", wide, wide ^ (1n << 63n), true],
    ["NE", wide, wide, false],
    ["GT", wide, wide + 1n, true],
    ["GT", wide, wide, false],
    ["GT", 5n, 0xffffffffffffffffn, true],
    ["GE", wide, wide, true],
    ["GE", wide, wide - 1n, false],
    ["GE", wide, 0x8000_0000_ffff_ffffn, false],
    ["LT", wide, wide - 1n, true],
    ["LT", wide, 0x8000_0001_0000_0006n, false],
    ["LE", wide, wide, true],
    ["LE", wide, 0x8000_0002_0000_0000n, false],
  ];
  for (const [op, value, argument, holds] of cases) {
    const profile = allowing(rule("SCMP_ACT_ERRNO", { args: [when(2, op, value)] }));
    assert.equal(answer(profile, "personality", 0n, 0n, argument) !== "ALLOW", holds, `${argument} ${op} ${value}`);
  }
  const masked = allowing(rule("SCMP_ACT_ERRNO", { args: [when(0, "MASKED_EQ", 0xff00000000f0n, 0x1200000000f0n)] }));
  assert.equal(answer(masked, "personality", 0xabcd_12ff_ffff_ffffn), "ERRNO(EPERM)");
  assert.equal(answer(masked, "personality", 0xabcd_13ff_ffff_ffffn), "ALLOW");
  assert.equal(answer(masked, "personality", 0xabcd_12ff_ffff_ff7fn), "ALLOW");
});

test(
  "conditions of a rule must all hold, rules are alternatives, two conditions on an argument are rules of their own",
  [],
  () => {
    const profile = allowing(
      rule("SCMP_ACT_ERRNO", { args: [when(0, "EQ", 1n), when(1, "EQ", 2n)] }),
      rule("SCMP_ACT_ERRNO", { args: [when(0, "EQ", 7n)] }),
      rule("SCMP_ACT_ERRNO", { args: [when(3, "EQ", 8n), when(3, "EQ", 9n), when(4, "EQ", 1n)] }),
    );
    const refuses = (...args: bigint[]) => answer(profile, "personality", ...args) !== "ALLOW";
    assert.ok(refuses(1n, 2n) && refuses(7n) && refuses(0n, 0n, 0n, 9n) && refuses(0n, 0n, 0n, 0n, 1n));
    assert.ok(!refuses(1n, 3n) && !refuses(2n, 2n) && !refuses(0n, 0n, 0n, 10n));
  },
);

test("a rule without conditions beats those with, and the first of two counts", [], () => {
  const some = rule("SCMP_ACT_TRAP", { args: [when(0, "EQ", 1n)] });
  const [all, other] = [rule("SCMP_ACT_ERRNO"), rule("SCMP_ACT_LOG")];
  assert.equal(answer(allowing(some, all), "personality", 1n), "ERRNO(EPERM)");
  assert.equal(answer(allowing(all, some), "personality", 1n), "ERRNO(EPERM)");
  assert.equal(answer(allowing(other, all), "personality", 1n), "LOG");
});

test("a rule that contradicts another is refused where libseccomp refuses it", [], () => {
  const args = [when(0, "EQ", 1n)];
  assert.throws(
    () => compileProfile(allowing(rule("SCMP_ACT_ERRNO", { args }), rule("SCMP_ACT_LOG", { args })), "x86_64"),
    /a rule for personality contradicts an earlier one: .* \[config.json \/linux\/seccomp\/syscalls\/1\]/,
  );
});

test(
  "a mask that masks nothing makes no contradiction: the rule that was there first counts, as with libseccomp",
  [],
  () => {
    const [masked, equal] = [when(0, "MASKED_EQ", 0xffffffffffffffffn, 7n), when(0, "EQ", 7n)];
    const [first, second] = [rule("SCMP_ACT_ERRNO", { args: [masked] }), rule("SCMP_ACT_LOG", { args: [equal] })];
    assert.equal(answer(allowing(first, second), "personality", 7n), "ERRNO(EPERM)");
    assert.equal(answer(allowing(second, first), "personality", 7n), "LOG");
  },
);

test("calls newer than all that the profile names answer ENOSYS, unless the default lets them through", [], () => {
  const profile = (defaultAction: string): Seccomp => ({
    defaultAction,
    syscalls: [rule("SCMP_ACT_TRAP", { names: ["openat2", "read"] })],
  });
  const openat2 = syscallTable("x86_64").get("openat2")!;
  assert.equal(answer(profile("SCMP_ACT_ERRNO"), openat2 - 1), "ERRNO(EPERM)");
  for (const number of [openat2 + 1, 1000, 0x3fffffff, 0x80000000]) {
    assert.equal(answer(profile("SCMP_ACT_ERRNO"), number), "ERRNO(ENOSYS)");
    assert.equal(answer(profile("SCMP_ACT_KILL_PROCESS"), number), "ERRNO(ENOSYS)");
    assert.equal(answer(profile("SCMP_ACT_LOG"), number), "LOG");
  }
});

test("architectures: the machine's own is always there, x32 and 32-bit ones when named, others are killed", [], () => {
  const on = (arch: number, number: number, architectures: string[]) => {
    const { instructions } = compileProfile({ ...allowing(), architectures }, "x86_64");
    return describeReturn(interpret(instructions, { arch, number }).value);
  };
  const { x86, x86_64, arm } = AUDIT_ARCH;
  assert.deepEqual([on(x86_64, 1, []), on(x86, 1, []), on(x86_64, 0x40000001, [])], ["ALLOW", "KILL", "KILL"]);
  const all = Object.keys(ARCHITECTURES);
  assert.deepEqual([on(x86_64, 1, all), on(x86, 1, all), on(x86_64, 0x40000001, all), on(arm, 1, all)], [
    ...["ALLOW", "ALLOW", "ALLOW", "KILL"],
  ]);
  assert.equal(on(x86_64, 0xffffffff, []), "ALLOW", "-1 is a call that a tracer wants skipped");
});

test("flags: SPEC_ALLOW without a list, none with an empty one, TSYNC is nothing", [], () => {
  const bits = (flags?: string[]) => compileProfile({ ...allowing(), ...(flags && { flags }) }, "x86_64").flags;
  assert.deepEqual([bits(), bits([]), bits(["SECCOMP_FILTER_FLAG_TSYNC"])], [4, 0, 0]);
  assert.equal(bits(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]), 6);
  const notifying = { ...allowing(rule("SCMP_ACT_NOTIFY")), listenerPath: "/run/agent" };
  assert.equal(compileProfile({ ...notifying, flags: ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"] }, "x86_64").flags, 40);
});

test("what a profile must not say is one error that names the place and what is expected", [], () => {
  const wrong: [Seccomp, RegExp][] = [
    [
      { defaultAction: "ALLOW" },
      /string ALLOW is not a valid action for seccomp: one of SCMP_ACT_ALLOW, .*\/defaultAction\]/,
    ],
    [{ syscalls: [rule("SCMP_ACT_LOG")] }, /string {2}is not a valid action .*\/defaultAction\]/],
    [allowing(rule("SCMP_ACT_DENY")), /SCMP_ACT_DENY is not a valid action .*\/syscalls\/0\/action\]/],
    [
      allowing(rule("SCMP_ACT_LOG", { args: [when(0, "IN", 1n)] })),
      /SCMP_CMP_IN is not a valid operator .*SCMP_CMP_EQ.*\/syscalls\/0\/args\/0\/op\]/,
    ],
    [
      allowing(rule("SCMP_ACT_LOG", { args: [when(6, "EQ", 1n)] })),
      /arguments 0 to 5, not 6 .*\/syscalls\/0\/args\/0\/index\]/,
    ],
    [allowing(rule("SCMP_ACT_ERRNO", { errnoRet: 70000 })), /70000 is no error number.*\/syscalls\/0\/errnoRet\]/],
    [{ defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 70000 }, /\/defaultErrnoRet\]/],
    [
      allowing(rule("SCMP_ACT_LOG", { names: ["read", ""] })),
      /empty string is not a valid syscall .*\/syscalls\/0\/names\/1\]/,
    ],
    [
      { ...allowing(), architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_VAX"] },
      /SCMP_ARCH_VAX is not a valid arch .*\/architectures\/1\]/,
    ],
    [{ ...allowing(), flags: ["SECCOMP_FILTER_FLAG_FAST"] }, /SECCOMP_FILTER_FLAG_FAST is not known .*\/flags\/0\]/],
    [
      { ...allowing(), flags: ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"] },
      /needs a rule with SCMP_ACT_NOTIFY .*\/flags\]/,
    ],
    [{ defaultAction: "SCMP_ACT_NOTIFY" }, /SCMP_ACT_NOTIFY cannot be used as default action .*\/defaultAction\]/],
    [
      allowing(rule("SCMP_ACT_NOTIFY", { names: ["read", "write"] })),
      /SCMP_ACT_NOTIFY cannot be used for the write syscall .*\/names\/1\]/,
    ],
    [allowing(rule("SCMP_ACT_NOTIFY")), /seccomp listenerPath is not set.*\/listenerPath\]/],
    [{ ...allowing(rule("SCMP_ACT_NOTIFY")), listenerPath: "agent" }, /no absolute path .*\/listenerPath\]/],
    [
      { ...allowing(rule("SCMP_ACT_NOTIFY")), listenerPath: "/" + "a".repeat(120) },
      /at most 107 bytes.*\/listenerPath\]/,
    ],
  ];
  for (const [profile, message] of wrong) {
    assert.throws(() => compileProfile(profile, "x86_64"), (error: Error) => {
      assert.match(error.message, message);
      assert.match(error.message, /\[config.json \/linux\/seccomp\//);
      return true;
    });
  }
});

test("names that no machine knows are skipped, and names of other machines' calls are no matter", [], () => {
  const { instructions } = compileProfile(
    allowing(rule("SCMP_ACT_ERRNO", { names: ["no_such_call", "set_tls"] })),
    "x86_64",
  );
  assert.deepEqual(instructions, compileProfile(allowing(), "x86_64").instructions);
});

test("100,000 rules are compiled where they fit, and are one error where they do not", [], () => {
  const many = Array.from(
    { length: 100_000 },
    (_, i) => rule("SCMP_ACT_ERRNO", { names: [i % 2 ? "read" : "openat"] }),
  );
  assert.ok(compileProfile(allowing(...many), "x86_64").instructions.length < 20);
  const different = Array.from(
    { length: 100_000 },
    (_, i) => rule("SCMP_ACT_ERRNO", { args: [when(0, "EQ", BigInt(i))] }),
  );
  assert.throws(
    () => compileProfile(allowing(...different), "x86_64"),
    /more than 4096 instructions, which is the most that the kernel takes: join rules, .*\[config.json \/linux\/seccomp\/syscalls\]/,
  );
});

test("a filter of nearly as many instructions as the kernel takes still jumps to the right places", [], () => {
  const values = Array.from({ length: 2000 }, (_, i) => BigInt(3 * i));
  const rules = values.map((value, i) => rule("SCMP_ACT_ERRNO", { args: [when(i % 2, "EQ", value)], errnoRet: 5 }));
  const profile = { ...allowing(...rules), architectures: ["SCMP_ARCH_X86_64"] };
  const { instructions, bytes } = compileProfile(profile, "x86_64");
  assert.ok(instructions.length > 2000 && instructions.length <= INSTRUCTIONS_MAX);
  assert.deepEqual(decode(bytes), instructions);
  for (const i of [0, 1, 2, 777, 1998, 1999]) {
    const args = i % 2 === 0 ? [values[i]!] : [1n, values[i]!];
    assert.equal(answer(profile, "personality", ...args), "ERRNO(EIO)");
    assert.equal(answer(profile, "personality", ...args.map((value) => value + 1n)), "ALLOW");
  }
});

test("a jump leads forward, to an instruction that is there", [], () => {
  const names = [...syscallTable("x86_64").keys()].filter((_, i) => i % 3 === 0);
  const args = [when(0, "GT", 5n), when(1, "MASKED_EQ", 6n, 4n), when(5, "NE", 1n << 40n)];
  const profile = {
    defaultAction: "SCMP_ACT_ERRNO",
    architectures: Object.keys(ARCHITECTURES),
    syscalls: names.map((name, i) =>
      rule("SCMP_ACT_ALLOW", { names: [name], args: [{ ...args[i % 3]!, value: BigInt(i) }] })
    ),
  };
  const { instructions } = compileProfile(profile, "x86_64");
  instructions.forEach(({ code, jt, jf, k }, at) => {
    if (code === OP.JA) assert.ok(at + 1 + k < instructions.length);
    else if (code !== OP.RET && code !== OP.LD && code !== OP.AND) {
      assert.ok(at + 1 + Math.max(jt, jf) < instructions.length);
    }
  });
  assert.equal(instructions.at(-1)!.code, OP.RET);
});

test("a listing says what each instruction does", [], () => {
  const profile = allowing(rule("SCMP_ACT_ERRNO", { args: [when(0, "MASKED_EQ", 0xf0n, 0x10n)] }));
  const lines = disassemble(compileProfile(profile, "aarch64").instructions).split("\n");
  for (
    const part of [
      /load arch/,
      /== 0xc00000b7/,
      /load call/,
      /low half of argument 0/,
      /and 0xf0/,
      /return ERRNO\(EPERM\)/,
    ]
  ) {
    assert.ok(lines.some((line) => part.test(line)), `${part} in\n${lines.join("\n")}`);
  }
  assert.equal(generate({ id: 0, returns: ACTIONS.SCMP_ACT_LOG }).length, 1);
});

test("the words of profiles are data for those who list them", [], () => {
  assert.equal(Object.keys(ACTIONS).length, 9);
  assert.equal(Object.keys(OPERATORS).length, 7);
  assert.equal(Object.keys(ARCHITECTURES).length, 18);
  assert.deepEqual(Object.keys(FLAGS).map((flag) => flag.slice("SECCOMP_FILTER_FLAG_".length)), [
    ...["TSYNC", "SPEC_ALLOW", "LOG", "WAIT_KILLABLE_RECV"],
  ]);
});
