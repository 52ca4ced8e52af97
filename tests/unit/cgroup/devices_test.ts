/** Device rules and what they come to. */
import assert from "node:assert/strict";
import { DEFAULT_RULES, deviceAccess, deviceRules, deviceWritesV1 } from "../../../src/cgroup/devices.ts";
import { test } from "../../support/test.ts";

type Devices = NonNullable<Parameters<typeof deviceRules>[0]>["devices"];

const writes = (devices: Devices) =>
  deviceWritesV1(deviceAccess(deviceRules({ devices }))).map(({ file, value }) => `${file.slice(8)} ${value}`);
const DEFAULTS = [
  ..."c *:* m,b *:* m,c 1:3 rwm,c 1:8 rwm,c 1:7 rwm,c 5:0 rwm,c 1:5 rwm,c 1:9 rwm,c 136:* rwm,c 5:2 rwm,c 10:200 rwm"
    .split(","),
].map((value) => `allow ${value}`);

test("without rules only the default devices are allowed", [], () => {
  assert.deepEqual(writes(undefined), ["deny a", ...DEFAULTS]);
  assert.deepEqual(writes([{ allow: false, access: "rwm" }]), ["deny a", ...DEFAULTS]);
  assert.equal(DEFAULT_RULES.length, 11);
});

test("when all is allowed, default devices are no exceptions", [], () => {
  assert.deepEqual(writes([{ allow: true, access: "rwm" }]), ["allow a"]);
  assert.deepEqual(
    writes([{ allow: true, access: "rwm" }, { allow: false, type: "c", major: 10, minor: 229, access: "r" }]),
    [
      "allow a",
      "deny c 10:229 r",
    ],
  );
});

test("rules before one for everything count for nothing", [], () => {
  const everything = { allow: false, access: "rwm" };
  assert.deepEqual(
    writes([{ allow: true, type: "c", major: 7, minor: 7, access: "rw" }, everything]),
    writes([everything]),
  );
});

test(
  "rules for one device are one write, whatever they add or take, and a default one is not written twice",
  [],
  () => {
    const rule = (allow: boolean, minor: number, access: string) => ({ allow, type: "c", major: 1, minor, access });
    const result = writes([
      rule(true, 3, "r"),
      rule(true, 200, "r"),
      rule(true, 200, "w"),
      rule(false, 200, "r"),
      rule(true, 3, "m"),
    ]);
    assert.equal(result.filter((write) => write.includes("c 1:3 ")).length, 1);
    assert.ok(result.includes("allow c 1:3 rwm"));
    assert.ok(result.includes("allow c 1:200 w"));
    assert.equal(new Set(result).size, result.length);
    assert.deepEqual(
      writes([rule(true, 201, "rw"), rule(false, 201, "rwm")]),
      writes(undefined),
      "taken back altogether",
    );
  },
);

test("a rule that would take a part out of a wider exception is refused, naming both and the place", [], () => {
  const wide = { allow: true, type: "c", major: 1, access: "rw" };
  assert.throws(
    () => writes([wide, { allow: false, type: "c", major: 1, minor: 3, access: "r" }]),
    /requested rule \[c 1:3 r\] not supported .* hole in existing wildcard rule \[c 1:\* rw\]\) \[config.json \/linux\/resources\/devices\/1\]/,
  );
  assert.doesNotThrow(() => writes([wide, { allow: false, type: "c", major: 1, minor: 3, access: "m" }]));
});

test("the highest number of all and -1 are what they are", [], () => {
  assert.ok(
    writes([{ allow: true, type: "b", major: 4294967295n, minor: -1, access: "r" }]).includes(
      "allow b 4294967295:* r",
    ),
  );
});

test("wrong rules are refused with their place", [], () => {
  assert.throws(
    () => writes([{ allow: true, type: "x", access: "r" }]),
    /devices\/0\/type: invalid cgroup device type "x"/,
  );
  assert.throws(() => writes([{ allow: true, type: "c" }]), /device access at 0 field cannot be empty/);
  assert.throws(
    () => writes([{ allow: true, type: "c", access: "x" }]),
    /devices\/0\/access: expected letters of "rwm", got "x"/,
  );
  // In 32 bits it would be major 1.
  assert.throws(
    () => writes([{ allow: true, type: "c", major: 2 ** 32 + 1, minor: 3, access: "r" }]),
    /devices\/0\/major: 4294967297 is no number of a device/,
  );
  assert.throws(() => writes([{ allow: true, type: "c", minor: -2, access: "r" }]), /devices\/0\/minor: -2 is no/);
});

test("letters of an access that mean nothing are left out of a rule", [], () => {
  assert.deepEqual(
    writes([{ allow: true, type: "c", major: 7, minor: 7, access: "raw" }]),
    ["deny a", "allow c 7:7 rw", ...DEFAULTS],
  );
});
