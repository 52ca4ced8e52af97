/** Where the seccomp filter stands in the plans of create and exec, and what stands behind it. */
import assert from "node:assert/strict";
import { describePlan, describeStep } from "../../../src/plan/describe.ts";
import { planCreate } from "../../../src/plan/create.ts";
import { planExec } from "../../../src/plan/exec.ts";
import type { Plan } from "../../../src/plan/types.ts";
import type { Seccomp, Spec } from "../../../src/spec/schema.ts";
import { bundleSpec, clientConfig, execRequestOf, factsOf, requestOf } from "../../support/plans.ts";
import { test } from "../../support/test.ts";

const profile = (more: Partial<Seccomp> = {}): Seccomp => ({
  defaultAction: "SCMP_ACT_ALLOW",
  syscalls: [{ names: ["sethostname"], action: "SCMP_ACT_ERRNO" }],
  ...more,
});
const agent = profile({
  listenerPath: "/run/agent.sock",
  syscalls: [{ names: ["sethostname"], action: "SCMP_ACT_NOTIFY" }],
});

function plan(seccomp: Seccomp, noNewPrivileges: boolean, change: (spec: Spec) => Spec = (spec) => spec): Plan {
  const spec = bundleSpec("hello");
  const process = { ...spec.process!, noNewPrivileges };
  const facts = factsOf();
  const changed = change({ ...spec, process, linux: { ...spec.linux, seccomp } });
  return planCreate(changed, facts, requestOf(changed, facts));
}

/** The container lane's calls from the filter on to the program. */
function behind({ steps }: Plan): string[] {
  const box = steps.filter(({ lane, op }) => lane === "container" && op === "syscall").map(({ call }) => call!);
  return box.slice(box.indexOf("seccomp") + 1, box.indexOf("execve") + 1);
}

test(
  "with no_new_privs nothing but execve stands behind the filter, and all descriptors are closed before it",
  [],
  () => {
    const { steps } = plan(profile(), true);
    const at = steps.findIndex(({ call }) => call === "seccomp");
    assert.deepEqual(steps.slice(at - 1, at + 2).map(({ call }) => call), ["close_range", "seccomp", "execve"]);
  },
);

test("without, the filter stands behind the change of user and before CAP_SYS_ADMIN is given up", [], () => {
  const made = plan(profile(), false);
  const calls = behind(made);
  assert.deepEqual([...new Set(calls)].sort(), ["capset", "close", "close_range", "execve", "openat", "read", "write"]);
  const user = made.steps.findIndex(({ call }) => call === "setresuid");
  assert.ok(user < made.steps.findIndex(({ call }) => call === "seccomp"));
  const sets = made.steps.filter(({ call, lane }) => call === "capset" && lane === "container");
  assert.deepEqual(sets.map((step) => describeStep(step, made).includes("sys_admin")), [true, false]);
});

test("an agent gets its descriptor before the starter is left, and the process only writes until then", [], () => {
  for (const noNewPrivileges of [true, false]) {
    const made = plan(agent, noNewPrivileges);
    assert.deepEqual(behind(made).slice(0, 3), ["write", "read", "close"]);
    const host = made.steps.filter(({ lane }) => lane === "host").map(({ call, sync }) => sync ?? call);
    assert.ok(host.indexOf("pidfd_getfd") < host.indexOf("ready to run"));
    assert.ok(host.indexOf("connect") > host.indexOf("descriptor taken"), "the process may wait for no agent");
  }
});

test(
  "an ordinary user's starter takes the descriptor while the new container's process lets itself be traced",
  [],
  () => {
    const spec = { ...bundleSpec("hello"), linux: { ...bundleSpec("hello").linux, seccomp: agent } };
    const facts = factsOf("x86_64", "v1", { uid: 1000, gid: 1000 });
    const made = planCreate(spec, facts, requestOf(spec, facts));
    const box = made.steps.filter(({ lane, op }) => lane === "container" && op === "syscall")
      .map((step) => describeStep(step, made).replace(/^.* = /, ""));
    const at = box.findIndex((text) => text.startsWith("seccomp("));
    assert.equal(box[at - 1], "prctl(set_dumpable, 1)");
    assert.equal(box[at + 4], "prctl(set_dumpable, 0)");
    const process = planExec(spec.process!, facts, execRequestOf("v1", { seccomp: agent }));
    assert.ok(!describePlan(process).includes("prctl(set_dumpable, 1)"), "in a container that runs it stays hidden");
  },
);

test("exec has the container's filter in the same places", [], () => {
  const { process } = bundleSpec("hello");
  for (const noNewPrivileges of [true, false]) {
    const made = planExec({ ...process!, noNewPrivileges }, factsOf(), execRequestOf("v1", { seccomp: profile() }));
    assert.deepEqual(behind(made).at(-1), "execve");
    assert.equal(behind(made).includes("capset"), !noNewPrivileges);
  }
});

test("a plan says in words what its filter is, on both machines", [], () => {
  const spec = clientConfig("docker-default.json");
  for (const arch of ["x86_64", "aarch64"] as const) {
    const facts = factsOf(arch);
    const text = describePlan(planCreate(spec, facts, requestOf(spec, facts)));
    assert.match(
      text,
      /seccomp\(set_mode_filter, spec_allow, \{filter of \d+ instructions, default ERRNO\(EPERM\)\}\)/,
    );
  }
});

test("profiles that stop clone3 or close_range are met by other calls behind the filter", [], () => {
  const seccomp = profile({ syscalls: [{ names: ["clone3", "close_range"], action: "SCMP_ACT_ERRNO" }] });
  const hooks = { startContainer: [{ path: "/bin/true" }] };
  for (const noNewPrivileges of [false, true]) {
    const calls = behind(plan(seccomp, noNewPrivileges, (spec) => ({ ...spec, hooks })));
    assert.ok(calls.includes("clone") && !calls.includes("clone3"), "hooks are behind the filter, too");
    assert.equal(calls.at(-2), "close");
  }
  assert.equal(behind(plan(seccomp, true)).length, 1);
});
