/** Intel RDT: the steps for it, which no machine of ours can run; and where its groups are. */
import assert from "node:assert/strict";
import { resctrlGroups } from "../../../src/cgroup/resctrl.ts";
import { describePlan } from "../../../src/plan/describe.ts";
import { planCreate } from "../../../src/plan/create.ts";
import type { Linux } from "../../../src/spec/schema.ts";
import { bundleSpec, factsOf, requestOf } from "../../support/plans.ts";
import { test } from "../../support/test.ts";

const resctrl = { mountpoint: "/sys/fs/resctrl", resources: ["L3", "MB"] };

/** The calls of the plan that touch resctrl, in order. */
function calls(intelRdt: NonNullable<Linux["intelRdt"]>, found: typeof resctrl | null = resctrl): string[] {
  const spec = bundleSpec("hello");
  spec.linux = { ...spec.linux, intelRdt };
  const facts = factsOf("x86_64", "v1", found === null ? {} : { resctrl: found });
  const plan = planCreate(spec, facts, requestOf(spec, facts));
  const text = describePlan(plan).split("\n\n").filter((task) => task.includes("/linux/intelRdt"));
  return text.flatMap((task) => task.split("\n").map((line) => line.replace(/^ *\d+ /, "").trim()))
    .filter((line) => /^(mkdirat|file = openat|write)\(|^file = openat/.test(line) && /resctrl|write/.test(line))
    .map((line) => line.replace(/ {2}\[.*/, ""));
}

test("a container gets a control group of its id, with its schemata, and is put into it", [], () => {
  assert.deepEqual(calls({ l3CacheSchema: "L3:0=f", memBwSchema: "MB:0=20", schemata: ["L2:0=3"] }), [
    'mkdirat(cwd, "/sys/fs/resctrl/box", 0755)',
    'file = openat(cwd, "/sys/fs/resctrl/box/schemata", cloexec|wronly)',
    'write(file, "L3:0=f\\nMB:0=20\\nL2:0=3\\n", 22)',
    'file = openat(cwd, "/sys/fs/resctrl/box/tasks", cloexec|wronly)',
    "write(file, &<pid digits>, digits)",
  ]);
});

test("a named control group is made when it gets schemata, and must be there when not", [], () => {
  assert.deepEqual(
    calls({ closID: "guests", schemata: ["L3:0=f"] })[0],
    'mkdirat(cwd, "/sys/fs/resctrl/guests", 0755)',
  );
  assert.deepEqual(calls({ closID: "guests" }), [
    'file = openat(cwd, "/sys/fs/resctrl/guests", cloexec|path)',
    'file = openat(cwd, "/sys/fs/resctrl/guests/tasks", cloexec|wronly)',
    "write(file, &<pid digits>, digits)",
  ]);
});

test("a monitoring group of the container's own is below its control group, the system's own included", [], () => {
  assert.deepEqual(calls({ closID: "/", enableMonitoring: true, schemata: ["L3:0=f"] }), [
    'mkdirat(cwd, "/sys/fs/resctrl/mon_groups/box", 0755)',
    'file = openat(cwd, "/sys/fs/resctrl/schemata", cloexec|wronly)',
    'write(file, "L3:0=f\\n", 7)',
    'file = openat(cwd, "/sys/fs/resctrl/tasks", cloexec|wronly)',
    "write(file, &<pid digits>, digits)",
    'file = openat(cwd, "/sys/fs/resctrl/mon_groups/box/tasks", cloexec|wronly)',
    "write(file, &<pid digits>, digits)",
  ]);
});

test("what this machine cannot share is refused by name", [], () => {
  const l3 = { mountpoint: "/r", resources: ["L3"] };
  assert.throws(
    () => calls({ closID: "x" }, null),
    /Intel RDT is not enabled.*\[config\.json \/linux\/intelRdt\]/,
  );
  assert.throws(() => calls({ memBwSchema: "MB:0=1" }, l3), /Intel RDT\/MBA is not enabled.*\/memBwSchema\]/);
  assert.throws(() => calls({ l3CacheSchema: "x" }, { ...l3, resources: ["MB"] }), /Intel RDT\/CAT.*\/l3CacheSchema\]/);
});

test("resctrlGroups() names the groups that state.json records", [], () => {
  assert.deepEqual(resctrlGroups({}, "/r", "box"), undefined);
  assert.deepEqual(resctrlGroups({ intelRdt: {} }, undefined, "box"), undefined);
  assert.deepEqual(resctrlGroups({ intelRdt: {} }, "/r", "box"), { control: "/r/box", monitoring: undefined });
  assert.deepEqual(resctrlGroups({ intelRdt: { closID: "c", enableMonitoring: true } }, "/r", "box"), {
    control: "/r/c",
    monitoring: "/r/c/mon_groups/box",
  });
});
