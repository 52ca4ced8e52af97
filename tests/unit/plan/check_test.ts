/** Every rule on plans: a plan that breaks it is refused. The broken plans are good ones with one thing changed. */
import assert from "node:assert/strict";
import { CLONE_ARGS_SIZE } from "../../../src/plan/steps/lanes.ts";
import { place, PlanBuilder, slot, text, words } from "../../../src/plan/builder.ts";
import { checkPlan } from "../../../src/plan/check.ts";
import { CLONE, PR } from "../../../src/abi/flags.ts";
import { E } from "../../../src/abi/errno.ts";
import { type Plan, REF, Ref, type Step } from "../../../src/plan/types.ts";
import { planHooks } from "../../../src/plan/hooks.ts";
import { bundleSpec, factsOf, planFor } from "../../support/plans.ts";
import { test } from "../../support/test.ts";

const good = planFor(bundleSpec("limits"));

/** The plan with its steps edited: labels keep pointing at the steps they pointed at. */
function edited(plan: Plan, edit: (step: Step, index: number) => readonly Step[]): Plan {
  const places: number[] = [];
  const steps: Step[] = [];
  plan.steps.forEach((step, index) => {
    places.push(steps.length);
    steps.push(...edit(step, index));
  });
  return { ...plan, steps, labels: new Map([...plan.labels].map(([name, index]) => [name, places[index]!])) };
}

type Matches = (step: Step) => boolean;
const inBox = (matches: Matches): Matches => (step) => step.lane === "container" && matches(step);
const isCall = (name: string): Matches => ({ call }) => call === name;
const isPrctl = (option: number): Matches => ({ call, args }) => call === "prctl" && args[0] === option;
const isUser: Matches = ({ call, task }) => call === "setresuid" && task.path === "/process/user/uid";
const find = (matches: Matches, plan = good) => {
  const index = plan.steps.findIndex(matches);
  assert.ok(index >= 0, "the plan has such a step");
  return index;
};
const change = (matches: Matches, changes: Partial<Step>, plan = good): Plan => {
  const at = find(matches, plan);
  return edited(plan, (step, index) => [index === at ? { ...step, ...changes } : step]);
};
const insertBefore = (matches: Matches, step: Partial<Step>, plan = good): Plan => {
  const at = find(matches, plan);
  return edited(plan, (found, index) => (index === at ? [{ ...found, ...NOTHING, ...step }, found] : [found]));
};
const remove = (matches: Matches, plan = good): Plan => edited(plan, (step) => (matches(step) ? [] : [step]));
const move = (what: Matches, before: Matches, plan = good): Plan => {
  const [from, to] = [find(what, plan), find(before, plan)];
  const moved = plan.steps[from]!;
  return edited(plan, (step, index) => index === from ? [] : index === to ? [moved, step] : [step]);
};
const NOTHING = {
  op: "syscall",
  out: undefined,
  when: undefined,
  tolerate: undefined,
  to: undefined,
  sync: undefined,
} as const;

const refused = (plan: Plan, rule: RegExp) => assert.throws(() => checkPlan(plan), rule);

test("good plans are accepted as they are, and edited without a change", [], () => {
  assert.equal(checkPlan(good), good);
  checkPlan(edited(good, (step) => [step]));
  planHooks(factsOf(), {
    kind: "poststop",
    hooks: [{ path: "/bin/true" }],
    state: { id: "box", status: "stopped", bundle: "/", annotations: {} },
    pid: undefined,
    environment: [],
    reports: true,
  });
});

test("references must lead somewhere", [], () => {
  const first = (step: Step) => step === good.steps[0];
  refused(
    insertBefore(first, { call: "close", args: [slot("nobody")] }),
    /step 0 .* reads slot "nobody" before anything sets it/,
  );
  refused(insertBefore(first, { call: "close", args: [slot("pid")] }), /reads slot "pid" before anything sets it/);
  refused(insertBefore(first, { call: "read", args: [0, new Ref(REF.BUFFER, "none"), 1] }), /uses buffer "none"/);
  refused(
    insertBefore(first, { op: "set", out: "x", call: undefined, args: [place("nowhere")] }),
    /names label "nowhere"/,
  );
  refused(insertBefore(first, { op: "jump", call: undefined, args: [], to: "nowhere" }), /goes to "nowhere"/);
  refused(insertBefore(first, { fail: "nowhere", call: "close", args: [0] }), /fails to "nowhere"/);
  const inTable = (word: Ref) => insertBefore(first, { call: "writev", args: [1, words([word], "list"), 1] });
  refused(inTable(new Ref(REF.BUFFER, "none")), /uses buffer "none"/);
  refused(inTable(slot("index")), /has a slot in a constant/);
  refused(
    { ...good, buffers: [...good.buffers, { name: "b", size: 8, words: [new Ref(REF.BUFFER, "none")] }] },
    /buffer "b" holds the address of buffer "none", which there is not/,
  );
  const when = { left: slot("nobody"), is: "==", right: 0 } as const;
  refused(
    insertBefore(first, { op: "jump", call: undefined, args: [], to: "host failed", when }),
    /reads slot "nobody"/,
  );
});

test("steps must fit into the executor's records", [], () => {
  const first = (step: Step) => step === good.steps[0];
  const close = { call: "close", args: [0] } as const;
  refused(insertBefore(first, { ...close, args: [0, 1, 2, 3, 4, 5, 6] }), /has more than 6 arguments/);
  refused(insertBefore(first, { ...close, tolerate: [] }), /tolerates 0 errors/);
  refused(insertBefore(first, { ...close, tolerate: [1, 2, 3, 4, 5, 6, 7] }), /tolerates 7 errors/);
  refused(insertBefore(first, { ...close, tolerate: [512] }), /tolerates 512, which is no error number/);
  refused(insertBefore(first, { ...close, tolerate: [-2] }), /tolerates -2, which is no error number/);
  refused(insertBefore(first, { ...close, to: "host failed" }), /goes somewhere without an error that it tolerates/);
  refused({ ...good, steps: Array.from({ length: 65_535 }, () => good.steps[0]!) }, /65535 steps are too many/);
});

test("a lane does not run into another", [], () => {
  const end = find((step) => step.call === "exit_group" && step.lane === "container");
  refused(
    edited(good, (step, index) => (index > end && step.lane === "container" ? [] : index === end ? [] : [step])),
    /runs into|does not|reads/,
  );
  const b = new PlanBuilder("x86_64");
  b.host.task("do something").set("a", 1);
  assert.throws(() => b.build(), /the host lane does not end after "do something"/);
});

test("close_range comes right before execve, and closes for good", [], () => {
  const closing = inBox(isCall("close_range"));
  refused(remove(closing), /is not preceded by closing all descriptors/);
  refused(insertBefore(inBox(isCall("execve")), { call: "chdir", args: [text("/")] }), /is not preceded by closing/);
  refused(change(closing, { args: [3, 100, 0] }), /is not preceded by closing/);
  refused(change(closing, { args: [3, 0xffffffff, 4] }), /descriptors that are only marked/);
});

test("nothing but the telling of its failure comes after execve", [], () => {
  const exec = find(inBox(isCall("execve")));
  const after = (step: Step) => step === good.steps[exec + 1];
  refused(insertBefore(after, { call: "mkdirat", args: [0, text("x"), 0] }), /comes after execve/);
});

test("the bounding set, the groups and the root change before the user does", [], () => {
  const user = inBox(isUser);
  const afterUser = (step: Step) => step === good.steps[find(user) + 1];
  refused(
    insertBefore(afterUser, { call: "prctl", args: [PR.CAPBSET_DROP, 1, 0, 0, 0] }),
    /drops capabilities from the bounding set after/,
  );
  refused(
    move(({ call, task }) => call === "setgroups" && task.path !== undefined, afterUser),
    /sets groups after the user changed/,
  );
  refused(
    move(inBox(({ call, task }) => call === "setresgid" && task.path !== undefined), afterUser),
    /sets the group after/,
  );
  refused(move(inBox(isCall("pivot_root")), afterUser), /changes mounts after the user changed/);
  refused(insertBefore(afterUser, { call: "umount2", args: [text("."), 2] }), /changes mounts after the user changed/);
});

test("the user changes before the capabilities are set, and keeps them until then", [], () => {
  const keep = inBox((step) => isPrctl(PR.SET_KEEPCAPS)(step) && step.args[1] === 1);
  refused(move(inBox(isCall("capset")), inBox(isUser)), /changes the user after the capabilities were set/);
  refused(remove(keep), /loses the capabilities that are set later/);
});

test("no_new_privs comes before execve", [], () => {
  const forbid = inBox(isPrctl(PR.SET_NO_NEW_PRIVS));
  const exec = find(inBox(isCall("execve")));
  refused(
    move(forbid, (step) => step === good.steps[exec + 1]),
    /comes after execve|forbids new privileges after execve/,
  );
});

test(
  "a seccomp filter takes no_new_privs, or the capabilities that go after it; nothing is set up behind it",
  [],
  () => {
    const filter = { call: "seccomp", args: [1, 0, words([0, 0], "{filter}")] } as const;
    const forbid = inBox(isPrctl(PR.SET_NO_NEW_PRIVS));
    const without = remove(forbid);
    const [closing, capset, root] = [
      inBox(isCall("close_range")),
      inBox(isCall("capset")),
      inBox(isCall("pivot_root")),
    ];
    checkPlan(insertBefore(closing, filter));
    checkPlan(insertBefore(inBox(isCall("execve")), filter));
    checkPlan(insertBefore(capset, filter, without));
    refused(insertBefore(closing, filter, without), /loads a filter after the capabilities were dropped/);
    refused(
      insertBefore(closing, { call: "prctl", args: [22, 2, 0, 0, 0] }, without),
      /after the capabilities were dropped/,
    );
    refused(insertBefore(capset, filter), /changes rights behind the seccomp filter/);
    refused(insertBefore(inBox(isUser), filter), /changes the user behind the seccomp filter/);
    refused(insertBefore(root, filter, remove(inBox(isUser))), /changes mounts behind the seccomp filter/);
    refused(insertBefore(capset, filter, move(forbid, closing)), /loads a filter before new privileges are forbidden/);
  },
);

test("calls that confine have no failure that is tolerated", [], () => {
  for (const name of ["setresuid", "setresgid", "capset", "pivot_root", "unshare", "setsid", "close_range"]) {
    refused(change(inBox(isCall(name)), { tolerate: [E.PERM] }), /must not tolerate a failure/);
  }
  refused(change(inBox(isPrctl(PR.SET_NO_NEW_PRIVS)), { tolerate: [E.INVAL] }), /must not tolerate a failure/);
});

test("no one reports to a starter whose socket is closed", [], () => {
  const report = { call: "sendto", args: [slot("report"), text("x"), 1, 0, 0, 0] } as const;
  refused(insertBefore(inBox(isCall("close_range")), report), /reports after the starter's socket was closed/);
});

test("what the host lane makes, its undo takes back", [], () => {
  const first = (step: Step) => step === good.steps[find(isCall("socketpair"))];
  refused(
    insertBefore(first, { call: "mkdirat", args: [-100, text("/x"), 0o755] }),
    /makes something that nothing takes back/,
  );
  refused(
    insertBefore(first, { call: "mknodat", args: [-100, text("/x"), 0o755, 0] }),
    /makes something that nothing takes back/,
  );
  refused(
    insertBefore(first, { call: "openat", args: [-100, text("/x"), 0o2000101, 0] }),
    /makes something that nothing takes back/,
  );
  checkPlan(insertBefore(first, { call: "openat", args: [-100, text("/x"), 0o2000001, 0] }));
  refused(
    remove(({ call, lane }) => lane === "host" && call === "pidfd_send_signal"),
    /makes something that nothing takes back/,
  );
});

test("a helper of the host lane's is waited for", [], () => {
  const plan = (flags: number) => {
    const b = new PlanBuilder("x86_64");
    const args = b.buffer("args", CLONE_ARGS_SIZE, { words: [flags] });
    b.host.task("make a helper").sys("clone3", [args, CLONE_ARGS_SIZE]).sys("exit_group", [0]);
    return b.build();
  };
  refused(plan(0), /makes something that nothing takes back/);
  refused(plan(CLONE.PARENT), /makes something that nothing takes back/);
});

test("what is opened is close-on-exec", [], () => {
  const first = (step: Step) => step === good.steps[0];
  const cases: [NonNullable<Step["call"]>, Step["args"]][] = [
    ["openat", [-100, text("/"), 0, 0]],
    ["open_tree", [-100, text("/"), 1]],
    ["fsopen", [text("proc"), 0]],
    ["fsmount", [0, 0, 0]],
    ["memfd_create", [text("x"), 2]],
    ["socketpair", [1, 5, 0, 0]],
    ["pipe2", [0, 0]],
  ];
  for (const [call, args] of cases) {
    refused(insertBefore(first, { call, args }), /opens something without close-on-exec/);
  }
});

test("paths inside the root file system are looked up by openat2 alone, which stays inside", [], () => {
  const pivot = inBox(isCall("pivot_root"));
  refused(
    insertBefore(pivot, { call: "openat", args: [slot("rootfs"), text("etc/passwd"), 0o2000000, 0] }),
    /looks up "etc\/passwd" without openat2/,
  );
  refused(
    insertBefore(pivot, { call: "mkdirat", args: [slot("rootfs"), text(".."), 0o755] }),
    /looks up ".." without openat2/,
  );
  checkPlan(insertBefore(pivot, { call: "mkdirat", args: [slot("rootfs"), text("etc"), 0o755] }));
  const how = (resolve: number) =>
    ({ call: "openat2", args: [slot("rootfs"), text("/a/b"), words([0o2000000, 0, resolve], "how"), 24] }) as const;
  refused(insertBefore(pivot, how(2)), /does not keep its path inside/);
  checkPlan(insertBefore(pivot, how(16)));
});

test("the lanes meet in one order, each with its half", [], () => {
  const meeting = good.steps.find(({ sync, lane, args }) =>
    sync !== undefined && lane === "container" && (args[0] as Ref).name !== "report"
  )!;
  const half = inBox(({ sync, call }) => sync === meeting.sync && call === meeting.call);
  refused(change(half, { sync: "somewhere else" }), /meets another lane that is not at/);
  refused(remove(half), /meets another lane that is not at|reads slot/);
  const opposite = meeting.call === "write" ? "read" : "write";
  refused(change(half, { call: opposite }), /does the same, not the other half/);
});
