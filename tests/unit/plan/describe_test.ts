/** Plans in words and as data. */
import assert from "node:assert/strict";
import { CLONE, F, F_SEAL, FS_MAGIC, PR, S, S_IFMT } from "../../../src/abi/flags.ts";
import type { SyscallName } from "../../../src/abi/syscalls.ts";
import { PlanBuilder, slot, text, u32s, words } from "../../../src/plan/builder.ts";
import { describePlan, describeStep, planToJson, summarizePlan } from "../../../src/plan/describe.ts";
import type { Operand, Plan } from "../../../src/plan/types.ts";
import { bundleSpec, CLIENT_CONFIGS, clientConfig, planFor } from "../../support/plans.ts";
import { test } from "../../support/test.ts";

/** A plan of these steps, and the words for its first. */
function described(steps: (b: PlanBuilder) => void, arch: "x86_64" | "aarch64" = "x86_64"): string {
  const b = new PlanBuilder(arch);
  b.host.task("test");
  steps(b);
  b.host.sys("exit_group", [0]);
  const plan = b.build();
  return describeStep(plan.steps[0]!, plan);
}
const call = (name: SyscallName, ...args: Operand[]) => described((b) => b.host.sys(name, args));

test("flags and small numbers of calls are told by name", [], () => {
  const cases: [string, string][] = [
    [call("openat", -100, text("/x"), 0o2000000, 0), 'openat(cwd, "/x", rdonly|cloexec, 0)'],
    [call("openat", slot("dir"), text("x"), 0o2000101, 0o644), 'openat(dir, "x", creat|cloexec|wronly, 0644)'],
    [call("openat", slot("dir"), text("x"), 0o12000000, 0), 'openat(dir, "x", cloexec|path, 0)'],
    [call("fsmount", slot("fs"), 1, 0x6), "fsmount(fs, cloexec, nosuid|nodev)"],
    [call("fsconfig", slot("fs"), 1, text("size"), text("64k"), 0), 'fsconfig(fs, set_string, "size", "64k")'],
    [call("fsconfig", slot("fs"), 0, text("ro"), 0, 0), 'fsconfig(fs, set_flag, "ro")'],
    [call("fsconfig", slot("fs"), 6, 0, 0, 0), "fsconfig(fs, create)"],
    [call("mknodat", slot("dev"), text("null"), S.IFCHR | 0o666, 0x103), 'mknodat(dev, "null", chr|0666, 1:3)'],
    [call("mknodat", -100, text("/gate"), S.IFIFO | 0o622, 0), 'mknodat(cwd, "/gate", fifo|0622, 0:0)'],
    [call("mknodat", slot("dev"), text("x"), S.IFBLK | 0o600, 0x0110_3402), 'mknodat(dev, "x", blk|0600, 52:4354)'],
    [call("prctl", PR.CAPBSET_DROP, 21, 0, 0, 0), "prctl(capbset_drop, CAP_SYS_ADMIN)"],
    [call("prctl", PR.CAP_AMBIENT, 4, 0, 0, 0), "prctl(cap_ambient, clear_all)"],
    [call("prctl", PR.CAP_AMBIENT, 2, 13, 0, 0), "prctl(cap_ambient, raise, CAP_NET_RAW)"],
    [call("prlimit64", 0, 7, words([1, 2], "{soft 1, hard 2}"), 0), "prlimit64(0, RLIMIT_NOFILE, {soft 1, hard 2})"],
    [call("pidfd_send_signal", slot("pidfd"), 9, 0, 0), "pidfd_send_signal(pidfd, SIGKILL)"],
    [call("fcntl", slot("f"), F.ADD_SEALS, F_SEAL.SEAL | F_SEAL.WRITE), "fcntl(f, add_seals, seal|write)"],
    [call("socketpair", 1, 0o2000005, 0, 0), "socketpair(unix, seqpacket|cloexec, 0, 0)"],
    [call("setns", slot("ns"), CLONE.NEWNET), "setns(ns, newnet)"],
    [call("close_range", 3, 0xffffffff, 4), "close_range(3, all, cloexec)"],
    [
      call("keyctl", 5, slot("keyring"), 0x3f1b0000, 0),
      "keyctl(setperm, keyring, {possessor all, user view|read|search|link})",
    ],
    [call("umask", 0o22), "umask(022)"],
    [call("umount2", text("."), 2), 'umount2(".", detach)'],
    [call("fchown", 0, 1000, -1), "fchown(0, 1000, unchanged)"],
    [call("fchownat", -100, text("/x"), 100000, 100000, 0), 'fchownat(cwd, "/x", 100000, 100000, 0)'],
    [call("statx", slot("f"), text(""), 0x1000, 0x7ff, 0), 'statx(f, "", empty_path, basic_stats)'],
    [
      call("capset", u32s([0x20080522, 0], "{version 3, self}"), u32s([0x21, 0x21, 0, 0, 0, 0], "{}")),
      "capset({version 3, self}, {effective chown|kill, permitted the same, inheritable none})",
    ],
    [
      call("capset", u32s([0x20080522, 0], "{}"), u32s([0xffffffff, 1, 0, 0x1ff, 0, 0], "{}")),
      "capset({}, {effective all 41, permitted chown, inheritable none})",
    ],
  ];
  for (const [got, expected] of cases) assert.equal(got, expected);
});

test("flags whose numbers differ between the machines have the same names", [], () => {
  for (const arch of ["x86_64", "aarch64"] as const) {
    const line = described((b) => b.host.sys("openat", [-100, text("/"), b.O.DIRECTORY | b.O.NOFOLLOW, 0]), arch);
    assert.equal(line, 'openat(cwd, "/", rdonly|directory|nofollow, 0)');
  }
});

test("results, tolerated errors, moves and conditions read as a program", [], () => {
  const fs = { left: slot("fs type"), is: "==", right: FS_MAGIC.PROC } as const;
  const lines = [
    described((b) =>
      b.host.sys("chdir", [text("/")], { out: "changed", tolerate: [2, 13], to: "elsewhere" }).label("elsewhere")
    ),
    described((b) => b.host.sys("close", [slot("a file")], { tolerate: [9] })),
    described((b) => b.host.set("a", slot("b"), 8)),
    described((b) => b.host.load("mode", 2, b.buffer("statx", 256), 28)),
    described((b) => b.host.store(8, 1n << 32n, b.buffer("poll", 8))),
    described((b) => b.host.format(slot("pid"), b.buffer("digits", 24), "count")),
    described((b) => b.host.jump("end", { left: slot("mode"), is: "!=", right: S.IFDIR, mask: S_IFMT }).label("end")),
    described((b) => b.host.jump("end", { left: slot("found"), is: "==", right: -2 }).label("end")),
    described((b) => b.host.fail("not here", fs, 16)),
  ];
  assert.deepEqual(lines, [
    'changed = chdir("/")  [ENOENT, EACCES: go to <elsewhere>]',
    "close(<a file>)  [EBADF: fine]",
    "a = b + 8",
    "mode = 16 bits at &<statx> + 28",
    "64 bits at &<poll> = 0x100000000",
    "count = decimal digits of pid at &<digits>",
    "if type of mode != dir: go to <end>",
    "if found == -ENOENT: go to <end>",
    "if <fs type> == proc's: fail: not here (device or resource busy)",
  ]);
});

test("a list is shown row by row, each value as the argument that it becomes", [], () => {
  const b = new PlanBuilder("x86_64");
  const rows = [[text("a"), S.IFREG | 0o644], [text("b"), S.IFDIR | 0o755]];
  b.host.task("make files").each([{ item: "a" }, { item: "the second" }], rows, ([name, mode]) => {
    b.host.sys("mknodat", [slot("dir"), name!, mode!, 0]);
  });
  b.host.sys("exit_group", [0]);
  const text_ = describePlan(b.build());
  assert.match(text_, /make files, for each of a list\n/);
  assert.match(text_, /= the list\n {12}"a", reg\|0644\n {12}the second: "b", dir\|0755\n/);
  assert.match(text_, /< the end of the list: go to/);
});

const KEYS = {
  plan: ["version", "arch", "inputs", "steps"],
  step: ("index lane op call number arguments result when tolerate goto onFailure meets why path each rows text").split(
    " ",
  ),
};

test("the plan as data has version 1 and its keys, and every reference in it leads to a step", [], () => {
  for (const plan of [planFor(bundleSpec("hooks")), ...CLIENT_CONFIGS.map((name) => planFor(clientConfig(name)))]) {
    const document = JSON.parse(JSON.stringify(planToJson(plan)));
    assert.deepEqual(Object.keys(document), KEYS.plan);
    assert.equal(document.version, 1);
    for (const [index, step] of document.steps.entries()) {
      assert.deepEqual(Object.keys(step).filter((key) => !KEYS.step.includes(key)), []);
      assert.equal(step.index, index);
      assert.ok(step.why.length > 0 && step.text.length > 0 && Array.isArray(step.arguments));
      for (const place of [step.goto, step.onFailure]) {
        assert.ok(place === undefined || document.steps[place] !== undefined);
      }
      assert.equal(step.op === "syscall", typeof step.call === "string" && typeof step.number === "number");
    }
  }
});

/** What stands behind a step's number: nothing that only a machine can read. */
const noise = (plan: Plan) =>
  describePlan(plan).split("\n").filter((line) =>
    /undefined|\[object|NaN|0x-|\(, |, ,/.test(line.replace(/"(\\.|[^"\\])*"/g, '""'))
  );

test("no line of any plan has an undefined value or an empty argument", [], () => {
  for (const name of CLIENT_CONFIGS) assert.deepEqual(noise(planFor(clientConfig(name))), [], name);
});

test("where the lanes meet, both say so, and with whom", [], () => {
  const lines = describePlan(planFor(bundleSpec("hello"))).split("\n").filter((line) => line.includes("~~"));
  const of = (name: string) =>
    lines.filter((line) => line.includes(`~~ ${name},`)).map((line) => line.replace(/.*, /, ""));
  assert.deepEqual(of("ready to run").sort(), ["with the container lane", "with the host lane"]);
  assert.deepEqual(of("ready"), ["with the starter", "with the starter"]);
});

test("the short form has every task of the two lanes once, in order", [], () => {
  const plan = planFor(bundleSpec("hello"));
  const short = summarizePlan(plan);
  const whys = [...new Set(plan.steps.filter(({ lane }) => lane === "container").map(({ task }) => task.why))];
  const places = whys.map((why) => short.lastIndexOf(why));
  assert.ok(places.every((place) => place > 0));
  assert.deepEqual(places, places.toSorted((a, b) => a - b));
});
