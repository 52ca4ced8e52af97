/** Access to devices -> eBPF program, checked by running the program. */
import assert from "node:assert/strict";
import fc from "../../support/random.ts";
import { ACCESS, DEVICE, deviceFilter, instructionCount } from "../../../src/cgroup/device_filter.ts";
import { DEFAULT_RULES, type DeviceAccess, deviceAccess, type DeviceRule } from "../../../src/cgroup/devices.ts";
import { deviceContext, runFilter } from "../../support/ebpf.ts";
import { test } from "../../support/test.ts";

const [M, R, W] = [1, 2, 4];
const rule = (allow: boolean, type: "a" | "b" | "c", major: number, minor: number, access = "rwm"): DeviceRule => ({
  allow,
  type,
  major,
  minor,
  access,
});
const verdict = (policy: DeviceAccess, type: "b" | "c", access: number, major: number, minor: number) =>
  runFilter(deviceFilter(policy), deviceContext(DEVICE[type], access, major, minor)) === 1;

test("without rules every device is denied, with the default ones those of every container are allowed", [], () => {
  assert.equal(verdict(deviceAccess([]), "c", R, 1, 3), false);
  const policy = deviceAccess(DEFAULT_RULES);
  assert.equal(verdict(policy, "c", R | W, 1, 3), true, "/dev/null");
  assert.equal(verdict(policy, "c", R | W, 136, 77), true, "a pseudo terminal");
  assert.equal(verdict(policy, "c", M, 250, 1), true, "any node may be made");
  assert.equal(verdict(policy, "b", M, 8, 0), true);
  assert.equal(verdict(policy, "b", R, 8, 0), false, "but not opened");
  assert.equal(verdict(policy, "c", R, 1, 1), false, "/dev/mem");
  assert.equal(verdict(policy, "c", M | R, 1, 1), false, "both at once needs both");
});

test("a rule for everything starts over: what came before it says nothing any more", [], () => {
  const policy = deviceAccess([rule(true, "c", 1, 1), rule(false, "a", -1, -1), rule(true, "b", 8, 1, "r")]);
  assert.equal(verdict(policy, "c", R, 1, 1), false);
  assert.equal(verdict(policy, "b", R, 8, 1), true);
  assert.equal(verdict(policy, "b", W, 8, 1), false);
});

test("where everything is allowed, an exception denies any of its accesses and no others", [], () => {
  const policy = deviceAccess([rule(true, "a", -1, -1), rule(false, "c", 1, -1, "w")]);
  assert.equal(verdict(policy, "c", W, 1, 3), false);
  assert.equal(verdict(policy, "c", R | W, 1, 3), false);
  assert.equal(verdict(policy, "c", R, 1, 3), true);
  assert.equal(verdict(policy, "b", W, 1, 3), true);
});

/** The kernel's own rule for v1: an allowing exception covers all that is asked for, a denying one touches it. */
function isAllowed({ allowsAll, exceptions }: DeviceAccess, type: string, major: number, minor: number, bits: number) {
  const matching = exceptions
    .filter((rule) => rule.type === type && [-1, major].includes(Number(rule.major)))
    .filter((rule) => [-1, minor].includes(Number(rule.minor)))
    .map((rule) => [...rule.access].reduce((sum, letter) => sum | ACCESS[letter as keyof typeof ACCESS], 0));
  return allowsAll ? !matching.some((access) => access & bits) : matching.some((access) => (access & bits) === bits);
}

test("the program decides as the policy does, for any rules and any device", [], () => {
  const number = fc.constantFrom(-1, 0, 1, 2, 255, 4095, 1048575);
  const anyRule = fc.record({
    allow: fc.boolean(),
    type: fc.constantFrom("a", "b", "c", "c") as fc.Arbitrary<"a" | "b" | "c">,
    major: number,
    minor: number,
    access: fc.constantFrom("r", "w", "m", "rw", "rm", "wm", "rwm"),
  });
  const device = fc.record({
    type: fc.constantFrom("b", "c") as fc.Arbitrary<"b" | "c">,
    access: fc.integer({ min: 1, max: 7 }),
    major: fc.constantFrom(0, 1, 2, 3, 255, 4095),
    minor: fc.constantFrom(0, 1, 2, 3, 255, 1048575),
  });
  let policies = 0;
  fc.assert(
    fc.property(
      fc.array(anyRule, { maxLength: 8 }),
      fc.array(device, { minLength: 1, maxLength: 20 }),
      (rules, asked) => {
        let policy: DeviceAccess;
        try {
          policy = deviceAccess(rules);
        } catch {
          return;
        }
        policies++;
        for (const { type, access, major, minor } of asked) {
          assert.equal(verdict(policy, type, access, major, minor), isAllowed(policy, type, major, minor, access));
        }
      },
    ),
    { numRuns: 2000 },
  );
  assert.ok(policies > 500, `only ${policies} lists of rules made a policy`);
});

test("the filter of Docker's rules is short", [], () => {
  assert.ok(instructionCount(deviceFilter(deviceAccess([rule(false, "a", -1, -1), ...DEFAULT_RULES]))) < 80);
});
