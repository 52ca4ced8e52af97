/** Wrong values of a process and of what belongs to it: each is refused by name. */
import assert from "node:assert/strict";
import { checkProcess, checkProcessDomains } from "../../../src/spec/process_checks.ts";
import type { Linux, Process } from "../../../src/spec/schema.ts";
import { test } from "../../support/test.ts";

const good: Process = { cwd: "/", args: ["sh"] };
const nobody = (message: string) => {
  throw new Error(`unexpected warning: ${message}`);
};

const WRONG: readonly [change: Partial<Process>, path: string, words: RegExp][] = [
  [{ cwd: "" }, "/process/cwd", /^Cwd property must not be empty/],
  [
    { capabilities: { permitted: ["CAP_KILL"], effective: ["CAP_KILL", "CAP_CHOWN"] } },
    "/process/capabilities/effective",
    /^unable to apply caps: CAP_CHOWN is effective and not permitted/,
  ],
  [{ cwd: "relative" }, "/process/cwd", /^Cwd must be an absolute path/],
  [{ cwd: "/a\0b" }, "/process/cwd", /nul byte/],
  [{ args: [] }, "/process/args", /^args must not be empty/],
  [{ args: ["sh", "a\0b"] }, "/process/args/1", /nul byte/],
  [{ selinuxLabel: "a\0" }, "/process/selinuxLabel", /nul byte/],
  [{ apparmorProfile: "\0" }, "/process/apparmorProfile", /nul byte/],
  [{ user: { uid: 0xffffffff } }, "/process/user/uid", /^unable to setup user: uids and gids must be in range/],
  [{ user: { gid: 0xffffffff } }, "/process/user/gid", /^unable to setup user/],
  [{ user: { additionalGids: [1, 0xffffffff] } }, "/process/user/additionalGids/1", /^unable to setup user/],
  [{ user: { umask: 0o1000 } }, "/process/user/umask", /umask 512/],
  [{ oomScoreAdj: 1001 }, "/process/oomScoreAdj", /from -1000 to 1000/],
  [{ oomScoreAdj: -1001 }, "/process/oomScoreAdj", /from -1000 to 1000/],
  [{ terminal: true, consoleSize: { height: 65536, width: 1 } }, "/process/consoleSize/height", /at most 65535/],
  [{ terminal: true, consoleSize: { height: 1, width: 70000 } }, "/process/consoleSize/width", /at most 65535/],
  [{ rlimits: [{ type: "RLIMIT_X", soft: 1, hard: 1 }] }, "/process/rlimits/0", /^wrong rlimit value: RLIMIT_X/],
  [{ rlimits: [{ type: "RLIMIT_CPU", soft: 2n ** 64n - 1n, hard: 1 }] }, "/process/rlimits/0", /above the hard limit/],
  [
    { rlimits: [1, 2].map((soft) => ({ type: "RLIMIT_CPU", soft, hard: 2 })) },
    "/process/rlimits/1",
    /^duplicated rlimit RLIMIT_CPU/,
  ],
  [{ scheduler: { policy: "" } }, "/process/scheduler/policy", /^scheduler policy is required/],
  [{ scheduler: { policy: "SCHED_X" } }, "/process/scheduler/policy", /^invalid scheduler policy: SCHED_X/],
  [{ scheduler: { policy: "toString" } }, "/process/scheduler/policy", /^invalid scheduler policy/],
  [{ scheduler: { policy: "SCHED_OTHER", nice: 20 } }, "/process/scheduler/nice", /^invalid scheduler\.nice: 20 when/],
  [{ scheduler: { policy: "SCHED_BATCH", nice: -21 } }, "/process/scheduler/nice", /^invalid scheduler\.nice: -21/],
  [{ scheduler: { policy: "SCHED_OTHER", priority: 1 } }, "/process/scheduler/priority", /only be specified for/],
  [{ scheduler: { policy: "SCHED_FIFO" } }, "/process/scheduler/priority", /from 1 to 99, not 0/],
  [{ scheduler: { policy: "SCHED_RR", priority: 100 } }, "/process/scheduler/priority", /from 1 to 99, not 100/],
  [{ scheduler: { policy: "SCHED_OTHER", flags: ["X"] } }, "/process/scheduler/flags/0", /^invalid scheduler flag: X/],
  [{ scheduler: { policy: "SCHED_IDLE", runtime: 1 } }, "/process/scheduler", /runtime\/deadline\/period can only/],
  [{ scheduler: { policy: "SCHED_DEADLINE" } }, "/process/scheduler", /1024 <= runtime/],
  [
    { scheduler: { policy: "SCHED_DEADLINE", runtime: 3000, deadline: 2000, period: 4000 } },
    "/process/scheduler",
    /runtime <= deadline/,
  ],
  [{ ioPriority: { class: "IOPRIO_CLASS_X", priority: 0 } }, "/process/ioPriority/class", /^invalid ioPriority\.Class/],
  [{ ioPriority: { class: "IOPRIO_CLASS_BE", priority: 8 } }, "/process/ioPriority/priority", /Priority: 8/],
  [{ ioPriority: { class: "IOPRIO_CLASS_BE", priority: -1 } }, "/process/ioPriority/priority", /Priority: -1/],
  [{ execCPUAffinity: { initial: "x" } }, "/process/execCPUAffinity/initial", /^bad CPUAffinity\.Initial/],
  [{ execCPUAffinity: { final: "3-1" } }, "/process/execCPUAffinity/final", /^bad CPUAffinity\.Final/],
];

test("checkProcess() refuses every wrong value in words that name its place", [], () => {
  checkProcess(good, nobody);
  for (const [change, path, words] of WRONG) {
    assert.throws(
      () => checkProcess({ ...good, ...change }, nobody),
      (error: Error) => words.test(error.message) && error.message.endsWith(`[config.json ${path}]`),
      JSON.stringify(change, (_, value) => (typeof value === "bigint" ? String(value) : value)),
    );
  }
});

test("checkProcess() takes the ends of every range", [], () => {
  const ends: Partial<Process>[] = [
    { oomScoreAdj: -1000, user: { umask: 0o777 } },
    { consoleSize: { height: 70000, width: 70000 } },
    { terminal: true, consoleSize: { height: 65535, width: 0 } },
    { scheduler: { policy: "SCHED_OTHER", nice: -20 } },
    { scheduler: { policy: "SCHED_FIFO", priority: 99 } },
    { scheduler: { policy: "SCHED_FIFO", flags: ["SCHED_FLAG_KEEP_PARAMS"] } },
    { scheduler: { policy: "SCHED_DEADLINE", runtime: 1024, deadline: 1024 } },
    { ioPriority: { class: "IOPRIO_CLASS_IDLE", priority: 7 } },
    { execCPUAffinity: {} },
  ];
  for (const change of ends) checkProcess({ ...good, ...change }, nobody);
});

test("checkProcess() warns of capabilities that there are not, once each, and goes on", [], () => {
  const warnings: string[] = [];
  checkProcess(
    { ...good, capabilities: { bounding: ["CAP_KILL", "CAP_FOO"], effective: ["CAP_FOO", "kill"] } },
    (text) => warnings.push(text),
  );
  assert.deepEqual(warnings, ["ignoring unknown or unavailable capabilities: [CAP_FOO kill]"]);
});

const WRONG_DOMAINS: readonly [linux: Linux, path: string, words: RegExp][] = [
  [{ personality: { domain: "LINUX33" } }, "/linux/personality/domain", /^invalid personality domain LINUX33/],
  [{ memoryPolicy: { mode: "MPOL_X" } }, "/linux/memoryPolicy/mode", /^invalid memory policy mode "MPOL_X"/],
  [{ memoryPolicy: { mode: "MPOL_BIND" } }, "/linux/memoryPolicy/nodes", /at least one node/],
  [
    { memoryPolicy: { mode: "MPOL_BIND", nodes: "b" } },
    "/linux/memoryPolicy/nodes",
    /^invalid memory policy nodes "b"/,
  ],
  [{ memoryPolicy: { mode: "MPOL_LOCAL", nodes: "0" } }, "/linux/memoryPolicy/nodes", /requires 0 nodes but got 1/],
  [
    { memoryPolicy: { mode: "MPOL_BIND", nodes: "0", flags: ["X"] } },
    "/linux/memoryPolicy/flags/0",
    /^invalid memory policy flag "X"/,
  ],
  [
    { memoryPolicy: { mode: "MPOL_BIND", nodes: "0", flags: ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"] } },
    "/linux/memoryPolicy/flags",
    /both static and relative/,
  ],
  [{ intelRdt: { closID: ".." } }, "/linux/intelRdt/closID", /^invalid intelRdt\.ClosID "\.\."/],
  [{ intelRdt: { closID: "a/b" } }, "/linux/intelRdt/closID", /^invalid intelRdt\.ClosID/],
];

test("checkProcessDomains() refuses every wrong value in words that name its place", [], () => {
  for (const [linux, path, words] of WRONG_DOMAINS) {
    assert.throws(
      () => checkProcessDomains(linux, nobody),
      (error: Error) => words.test(error.message) && error.message.endsWith(`[config.json ${path}]`),
      JSON.stringify(linux),
    );
  }
  const warnings: string[] = [];
  checkProcessDomains({ personality: { domain: "LINUX", flags: ["X", "Y"] } }, (text) => warnings.push(text));
  assert.deepEqual(warnings, ["ignoring unsupported personality flags: [X Y]"]);
});
