/** The builder refuses what cannot be meant. */
import assert from "node:assert/strict";
import { PlanBuilder, slot, text } from "../../../src/plan/builder.ts";
import { checkPlan } from "../../../src/plan/check.ts";
import { test } from "../../support/test.ts";

const builder = () => new PlanBuilder("x86_64");
const end = (b: PlanBuilder) => b.host.task("end").sys("exit_group", [0]);

test("a slot that is read before anything sets it is refused, with the step", [], () => {
  const b = builder();
  b.host.task("close it").sys("close", [slot("file")]);
  b.host.sys("openat", [-100, text("/"), 0o2000000, 0], { out: "file" });
  end(b);
  assert.throws(
    () => checkPlan(b.build()),
    /step 0 \(host lane, close, "close it"\) reads slot "file" before anything sets it/,
  );
});

test("a label that nothing binds is refused, and one that is bound twice", [], () => {
  const b = builder();
  b.host.task("jump").jump("nowhere");
  end(b);
  assert.throws(() => checkPlan(b.build()), /goes to "nowhere", which nothing binds/);
  b.host.label("here");
  assert.throws(() => b.host.label("here"), /label "here" is bound twice/);
  assert.throws(() => b.container.label("here"), /label "here" is bound twice/);
});

test("a label at the end of a lane, where no step follows, is refused", [], () => {
  const b = builder();
  const section = b.section("host", "apart");
  section.task("apart").jump("the very end").label("the very end");
  b.host.task("go").jump("apart");
  end(b);
  assert.throws(() => b.build(), /nothing follows label "the very end" in its lane/);
});

test("a buffer of one name has one size, and an input's name is no one else's", [], () => {
  const b = builder();
  assert.deepEqual(b.buffer("memory", 8), b.buffer("memory", 8));
  assert.throws(() => b.buffer("memory", 16), /buffer "memory" has two sizes/);
  b.input("console", "a socket");
  assert.throws(() => b.input("console", "another"), /input "console" is a slot already/);
  assert.throws(() => b.input("report", "the executor's own"), /input "report" is a slot already/);
});

test("undos run last first, and end where the lane ends", [], () => {
  const b = builder();
  const make = (name: string) => {
    b.host.task(`make ${name}`).sys("mkdirat", [-100, text(name), 0o755]);
    b.undo(`remove ${name}`, (undo) => undo.sys("unlinkat", [-100, text(name), 0x200]));
  };
  make("/a");
  make("/b");
  b.host.task("go on").sys("getpid", []);
  end(b);
  const plan = checkPlan(b.build());
  const step = (call: string) => plan.steps.find((step) => step.call === call)!;
  const visited: string[] = [];
  for (let at = plan.labels.get(step("getpid").fail)!; plan.steps[at]!.call !== "exit_group";) {
    const { op, to, task } = plan.steps[at]!;
    visited.push(task.why);
    at = op === "jump" ? plan.labels.get(to!)! : at + 1;
  }
  assert.deepEqual([...new Set(visited)], ["remove /b", "remove /a"]);
  // What failed is not made, so only what came before is undone.
  assert.match(plan.steps.filter(({ call }) => call === "mkdirat")[1]!.fail, /remove \/a/);
});

test("the same config, facts and request make the same plan", [], async () => {
  const { BUNDLES, bundleSpec, planFor } = await import("../../support/plans.ts");
  for (const name of BUNDLES) assert.deepEqual(planFor(bundleSpec(name)), planFor(bundleSpec(name)));
});
