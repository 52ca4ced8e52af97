/** What is said to systemd: D-Bus messages, names of units, properties. */
import assert from "node:assert/strict";
import { withWholePercents } from "../../../src/cgroup/quota.ts";
import { socketPath } from "../../../src/cgroup/systemd/bus.ts";
import {
  callMessage,
  marshal,
  messageLength,
  parseMessage,
  splitSignature,
  unmarshal,
  type Value,
} from "../../../src/cgroup/systemd/dbus.ts";
import { annotatedProperties, parseVariant } from "../../../src/cgroup/systemd/gvariant.ts";
import {
  bitMask,
  limitProperties,
  resourceProperties,
  type SystemdFacts,
} from "../../../src/cgroup/systemd/properties.ts";
import { sliceDirectory, unitDirectory, unitOf } from "../../../src/cgroup/systemd/unit.ts";
import type { Resources } from "../../../src/spec/schema.ts";
import { test } from "../../support/test.ts";

const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

test("signatures are cut into whole types", [], () => {
  assert.deepEqual(splitSignature("ssa(sv)a(sa(sv))"), ["s", "s", "a(sv)", "a(sa(sv))"]);
  assert.deepEqual(splitSignature("aya{sv}u"), ["ay", "a{sv}", "u"]);
  assert.throws(() => splitSignature("a(s"), /bad D-Bus signature/);
});

test("values have the bytes of the specification: alignment, lengths, ends of strings", [], () => {
  assert.equal(hex(marshal("yu", [1, 2])), "0100000002000000");
  assert.equal(hex(marshal("s", ["foo"])), "03000000666f6f00");
  assert.equal(hex(marshal("at", [[5n]])), "08000000000000000500000000000000");
  assert.equal(hex(marshal("v", [{ type: "b", value: true }])), "01620000" + "01000000");
  assert.equal(hex(marshal("x", [-2])), "feffffffffffffff");
});

test("what is written is read again", [], () => {
  const values: Value[] = [
    "a name",
    [["Slice", { type: "s", value: "system.slice" }], ["PIDs", { type: "au", value: [1, 4294967295] }]],
    [["/dev/null", "rwm"]],
    18446744073709551615n,
    [1, 2, 3],
    true,
  ];
  assert.deepEqual(unmarshal("sa(sv)a(ss)tayb", marshal("sa(sv)a(ss)tayb", values)), values);
  assert.throws(() => unmarshal("s", Uint8Array.of(9, 0, 0, 0, 65)), /ends early/);
});

test("a call has its length in its header, and is read as what it is", [], () => {
  const call = { destination: "org.example", path: "/a/b", interface: "org.example.I", member: "Do" };
  const message = callMessage(7, { ...call, signature: "su", body: ["x", 9] });
  assert.equal(messageLength(message), message.length);
  assert.equal(messageLength(message.subarray(0, 15)), undefined);
  const { type, path, member, body } = parseMessage(message);
  assert.deepEqual([type, path, member, body], [1, "/a/b", "Do", ["x", 9]]);
  assert.deepEqual(parseMessage(callMessage(1, call)).body, []);
});

test("a bus's address gives its socket", [], () => {
  assert.equal(socketPath("unix:path=/run/user/1000/bus"), "/run/user/1000/bus");
  assert.equal(socketPath("tcp:host=x;unix:guid=1,path=/a%20b"), "/a b");
  assert.throws(() => socketPath("unix:abstract=/tmp/x"), /has no path/);
});

test("slice:prefix:name is a scope in a slice, and a name that is a slice is one", [], () => {
  const scope = unitOf("machine.slice:libpod:abc", "id", false);
  assert.equal(unitDirectory(scope), "/machine.slice/libpod-abc.scope");
  assert.equal(unitDirectory(unitOf(undefined, "box", false)), "/system.slice/runc-box.scope");
  assert.equal(unitOf("", "box", true).slice, "user.slice");
  assert.equal(
    unitDirectory(unitOf("kubepods-burstable-pod1.slice:cri:x", "id", false)),
    [
      "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice",
      "/cri-x.scope",
    ].join(""),
  );
  assert.equal(unitDirectory(unitOf("a.slice:x:a-b.slice", "id", false)), "/a.slice/a-b.slice");
  assert.equal(sliceDirectory("-.slice"), "");
  for (const wrong of ["/foo/bar", "a:b", "a.slice:b:c:d"]) {
    assert.throws(() => unitOf(wrong, "id", false), /expected cgroupsPath to be of format "slice:prefix:name"/);
  }
  for (const wrong of ["a", "-a.slice", "a--b.slice", ".slice", "a/b.slice"]) {
    assert.throws(() => sliceDirectory(wrong), /invalid slice name/);
  }
});

test("GVariant's texts are read with their types", [], () => {
  const cases: [string, string, unknown][] = [
    ["'inactive-or-failed'", "s", "inactive-or-failed"],
    ['"a \\"b\\""', "s", 'a "b"'],
    ["uint64 5000", "t", 5000n],
    ["-7", "i", -7],
    ["0x10", "i", 16],
    ["1.5", "d", 1.5],
    ["true", "b", true],
    ["['a', 'b']", "as", ["a", "b"]],
    ["@as []", "as", []],
    ["@a(ss) []", "a(ss)", []],
    ["[('a', uint32 1), ('b', uint32 2)]", "a(su)", [["a", 1], ["b", 2]]],
    ["@au [1, 2]", "au", [1, 2]],
  ];
  for (const [text, type, value] of cases) assert.deepEqual(parseVariant(text), { type, value }, text);
  for (const wrong of ["", "[1, 'a']", "'a", "uint64 'a'", "foo", "1 2", "[]"]) {
    assert.throws(() => parseVariant(wrong), /is no value of a property/, wrong);
  }
});

test("annotations become properties, seconds microseconds", [], () => {
  assert.deepEqual(
    annotatedProperties({
      "org.systemd.property.TimeoutStopSec": "uint64 3",
      "org.systemd.property.CollectMode": "'inactive-or-failed'",
      "org.systemd.property.RuntimeMaxSec": "1.5",
      "other": "x",
    }),
    [
      ["TimeoutStopUSec", { type: "t", value: 3000000n }],
      ["CollectMode", { type: "s", value: "inactive-or-failed" }],
      ["RuntimeMaxUSec", { type: "t", value: 1500000n }],
    ],
  );
  assert.throws(() => annotatedProperties({ "org.systemd.property.foo": "1" }), /names no property/);
  assert.throws(() => annotatedProperties({ "org.systemd.property.FooSec": "'x'" }), /is no number of seconds/);
});

const DEVICES = "Character devices:\n  1 mem\n136 pts\n 10 misc\n\nBlock devices:\n259 blkext\n";
const facts = (changes: Partial<SystemdFacts> = {}): SystemdFacts => ({
  version: 252,
  cgroups: "v2",
  devices: DEVICES,
  ...changes,
});
const limits = (resources: Resources, changes: Partial<SystemdFacts> = {}) =>
  Object.fromEntries(limitProperties(resources, facts(changes)).map(([name, { value }]) => [name, value]));

test("limits are the properties that stand for the same files", [], () => {
  assert.deepEqual(
    limits({
      memory: { limit: 1000000, swap: 3000000, reservation: 500000 },
      cpu: { shares: 1024, quota: 25000, period: 50000, cpus: "0-1", mems: "0" },
      pids: { limit: 10 },
      blockIO: { weight: 10, throttleWriteIOPSDevice: [{ major: 8, minor: 0, rate: 7 }] },
      unified: { "memory.high": "900000", "memory.oom.group": "1" },
    }),
    {
      MemoryMax: 1000000n,
      MemorySwapMax: 2000000n,
      MemoryLow: 500000n,
      CPUWeight: 100n,
      IOWeight: 1n,
      IOWriteIOPSMax: [["/dev/block/8:0", 7n]],
      CPUQuotaPeriodUSec: 50000n,
      CPUQuotaPerSecUSec: 500000n,
      AllowedCPUs: [3],
      AllowedMemoryNodes: [1],
      TasksMax: 10n,
      MemoryHigh: 900000n,
    },
  );
});

test("unlimited is systemd's infinity, an odd quota is rounded up to a percent, unified wins", [], () => {
  const infinity = 2n ** 64n - 1n;
  assert.deepEqual(limits({ memory: { limit: -1 }, pids: { limit: -1 } }), {
    MemoryMax: infinity,
    MemorySwapMax: infinity,
    TasksMax: infinity,
  });
  assert.deepEqual(limits({ cpu: { quota: 1001 } }), { CPUQuotaPerSecUSec: 20000n });
  assert.deepEqual(limits({ cpu: { quota: -1 } }), { CPUQuotaPerSecUSec: infinity });
  assert.deepEqual(limits({ pids: { limit: 5 }, unified: { "pids.max": "9", "cpu.max": "max 1000" } }), {
    TasksMax: 9n,
    CPUQuotaPeriodUSec: 1000n,
    CPUQuotaPerSecUSec: infinity,
  });
});

test("the quota that is written is the one that systemd would write", [], () => {
  const whole = (cpu: Resources["cpu"]) => withWholePercents({ cpu }).cpu;
  assert.deepEqual(whole({ quota: 500000, period: 900000 }), { quota: 504000n, period: 900000 });
  assert.deepEqual(whole({ quota: 1001 }), { quota: 2000n });
  for (const cpu of [{ quota: 20000, period: 50000 }, { quota: -1 }, { period: 1000 }, {}]) {
    assert.equal(whole(cpu), cpu);
  }
});

test("old systemds are asked only for what they know; v1 has other names", [], () => {
  assert.deepEqual(limits({ cpu: { period: 50000, quota: 25000, cpus: "0", idle: 1 } }, { version: 240 }), {
    CPUQuotaPerSecUSec: 500000n,
  });
  assert.deepEqual(limits({ cpu: { idle: 1 } }), { CPUWeight: 0n });
  assert.deepEqual(limits({ unified: { "cpu.weight": "8", "cpu.idle": "1" } }), { CPUWeight: 0n });
  assert.deepEqual(limits({ unified: { "cpu.weight": "8", "cpu.idle": "0" } }), { CPUWeight: 8n });
  assert.deepEqual(
    limits({ memory: { limit: 5, swap: 9 }, cpu: { shares: 7 }, blockIO: { weight: 11 } }, { cgroups: "v1" }),
    { MemoryLimit: 5n, CPUShares: 7n, BlockIOWeight: 11n },
  );
});

test("lists of CPUs are masks", [], () => {
  assert.deepEqual(bitMask("0"), [1]);
  assert.deepEqual(bitMask("0-2,8"), [7, 1]);
  assert.deepEqual(bitMask("15"), [0, 128]);
  // As many as would fill all memory, and what is no list: the kernel says so.
  for (const list of ["0-4294967295", "x", "3-1", ""]) assert.deepEqual(bitMask(list), [], list);
});

test("device rules are paths, groups of drivers and wildcards; what systemd has no words for is left out", [], () => {
  const rules = (devices: Resources["devices"]) => {
    const all = Object.fromEntries(resourceProperties({ devices }, facts()).map(([name, { value }]) => [name, value]));
    return [all["DevicePolicy"], new Map(all["DeviceAllow"] as [string, string][])] as const;
  };
  const [policy, allowed] = rules([
    { allow: false, access: "rwm" },
    { allow: true, type: "b", major: 259, access: "r" },
    { allow: true, type: "c", major: 77, access: "r" },
    { allow: true, type: "c", minor: 3, access: "r" },
  ]);
  assert.equal(policy, "strict");
  assert.equal(allowed.get("char-*"), "m");
  assert.equal(allowed.get("/dev/char/1:3"), "rwm");
  assert.equal(allowed.get("char-pts"), "rwm");
  assert.equal(allowed.get("block-blkext"), "r");
  assert.ok(![...allowed.keys()].some((path) => path.includes("77")));
  assert.deepEqual(rules([{ allow: true, access: "rwm" }]), ["auto", new Map()]);
});
