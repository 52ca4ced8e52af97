/**
 * The orders and forms of calls that a container's security rests on, and that a later change must not break unseen.
 * Each rule is a function over the plan's calls; what a rule says is the text it reports.
 */
import { O } from "../abi/arch.ts";
import { CLONE, FSMOUNT, FSOPEN, FSPICK, MFD, OPEN_TREE, PR, RESOLVE, SOCK } from "../abi/flags.ts";
import type { SyscallName } from "../abi/syscalls.ts";
import type { Broken } from "./check.ts";
import { type Operand, type Plan, REF, type Ref, type Step } from "./types.ts";

/** A system call of a lane, and its place in the plan. */
interface Call {
  readonly step: Step;
  readonly index: number;
}

const ALL = 0xffffffff;
const SET_SECCOMP = 22;

/** Tells `broken` of every rule that a plan breaks, with the step. */
export function checkOrders(plan: Plan, broken: Broken): void {
  const calls = plan.steps.map((step, index) => ({ step, index })).filter(({ step }) => step.op === "syscall");
  const host = calls.filter(({ step }) => step.lane === "host");
  checkExecs(calls, broken);
  checkDescriptors(plan, calls, broken);
  checkPaths(calls, broken);
  checkContainer(mainLane(calls.filter(({ step }) => step.lane === "container")), broken);
  checkUndo(plan, host, broken);
  checkMeetings(plan.steps, broken);
}

/** The container lane itself, without the sequences that it jumps to: up to the end that follows execve. */
function mainLane(box: readonly Call[]): readonly Call[] {
  const exec = box.findIndex(({ step }) => step.call === "execve");
  const end = box.findIndex(({ step }, i) => i > exec && step.call === "exit_group");
  return exec < 0 ? [] : box.slice(0, end + 1);
}

const is = (operand: Operand | undefined, kind: number, name?: string): operand is Ref =>
  typeof operand === "object" && operand.kind === kind && (name === undefined || operand.name === name);
const isPrctl = (option: number) => ({ call, args }: Step) => call === "prctl" && args[0] === option;
const isCall = (...names: SyscallName[]) => ({ call }: Step) => call !== undefined && names.includes(call);
const isSeccomp = (step: Step) => step.call === "seccomp" || isPrctl(SET_SECCOMP)(step);
/** The change to the user of config.json; root's inside a user namespace comes earlier. */
const isUser = ({ call, task }: Step) => call === "setresuid" && task.path === "/process/user/uid";
const changesMounts = isCall(
  ...["pivot_root", "chroot", "move_mount", "mount_setattr", "open_tree", "fsopen", "fsmount", "umount2"] as const,
);
/** Not the one that makes the permitted capabilities effective, to load a filter with them. */
const dropsCapabilities = ({ call, task }: Step) => call === "capset" && task.path === "/process/capabilities";
const changesRights = isCall("setresuid", "setresgid", "setgroups", "capset");

/** Every program starts with the descriptors that are meant for it, and replaces its process's steps. */
function checkExecs(calls: readonly Call[], broken: Broken): void {
  calls.forEach(({ step, index }, i) => {
    if (step.call !== "execve") return;
    const lane = calls.slice(0, i).filter(({ step: { lane } }) => lane === step.lane);
    const filter = lane.findLast(({ step }) => isSeccomp(step));
    const before = lane.findLast((call) => call !== filter)?.step;
    // A filter that refuses close_range has them closed one by one.
    const closes = (before?.call === "close_range" && before.args[1] === ALL) ||
      (before?.call === "close" && filter !== undefined);
    if (!closes) broken(step, index, "is not preceded by closing all descriptors");
    // Marked is not enough for the container's own: its program's path could lead through one (CVE-2024-21626).
    if (step.lane === "container" && before.call === "close_range" && before.args[2] !== 0) {
      broken(step, index, "has descriptors that are only marked");
    }
    for (const { step: next, index } of calls.slice(i + 1)) {
      if (next.lane !== step.lane || next.call === "exit_group") break;
      if (next.call !== "write") broken(next, index, "comes after execve, where only its failure can be told");
    }
  });
}

/** Where each call that opens something says that it is to be closed by execve. */
const CLOEXEC: Partial<Record<SyscallName, (O: number) => readonly [argument: number, bit: number]>> = {
  openat: (O) => [2, O],
  open_tree: () => [2, OPEN_TREE.CLOEXEC],
  fsopen: () => [1, FSOPEN.CLOEXEC],
  fsmount: () => [1, FSMOUNT.CLOEXEC],
  fspick: () => [2, FSPICK.CLOEXEC],
  memfd_create: () => [1, MFD.CLOEXEC],
  socket: () => [1, SOCK.CLOEXEC],
  socketpair: () => [1, SOCK.CLOEXEC],
  pipe2: (O) => [1, O],
};

/** No descriptor outlives an execve by accident. */
function checkDescriptors({ arch }: Plan, calls: readonly Call[], broken: Broken): void {
  for (const { step, index } of calls) {
    const [argument, bit] = CLOEXEC[step.call!]?.(O[arch].CLOEXEC) ?? [];
    const flags = argument === undefined ? undefined : step.args[argument];
    if (typeof flags === "number" && (flags & bit!) === 0) broken(step, index, "opens something without close-on-exec");
  }
}

/** Calls that look a path up: where its directory and the path stand. */
const LOOKUPS: Partial<Record<SyscallName, readonly [directory: number, path: number]>> = {
  openat: [0, 1],
  mkdirat: [0, 1],
  mknodat: [0, 1],
  symlinkat: [1, 2],
  fchownat: [0, 1],
  fchmodat: [0, 1],
  unlinkat: [0, 1],
  open_tree: [0, 1],
  statx: [0, 1],
};
/** Directories that are the kernel's or the host's, not the container's. */
const TRUSTED = ["proc", "process", "old root"];

/**
 * Nothing inside a root file system is found by a plain path, which a symlink could lead anywhere: only openat2(2), kept
 * inside by its flags, takes a path of several parts from a descriptor.
 */
function checkPaths(calls: readonly Call[], broken: Broken): void {
  for (const { step, index } of calls) {
    if (step.call === "openat2") {
      const how = step.args[2];
      const resolve = is(how, REF.WORDS) ? (how.data as readonly Operand[])[2] : undefined;
      const isKept = typeof resolve === "number" && (resolve & (RESOLVE.IN_ROOT | RESOLVE.BENEATH)) !== 0;
      if (!isKept) broken(step, index, "does not keep its path inside the directory");
    }
    if (step.lane !== "container" && step.lane !== "criu") continue;
    const [at, path] = LOOKUPS[step.call!] ?? [];
    if (at === undefined) continue;
    const [directory, name] = [step.args[at], step.args[path!]];
    if (!is(directory, REF.SLOT) || TRUSTED.includes(directory.name) || !is(name, REF.TEXT)) continue;
    if (/\/|^\.\.$/.test(name.name)) broken(step, index, `looks up ${JSON.stringify(name.name)} without openat2`);
  }
}

/** Calls whose failure means that the container is less confined than it should be. */
const STRICT: readonly ((step: Step) => boolean)[] = [
  isCall("setresuid", "setresgid", "capset", "pivot_root", "chroot", "close_range", "unshare", "seccomp", "setsid"),
  ...[PR.SET_NO_NEW_PRIVS, PR.CAPBSET_DROP, PR.SET_DUMPABLE, PR.SET_KEEPCAPS, SET_SECCOMP].map(isPrctl),
];

function checkContainer(calls: readonly Call[], broken: Broken): void {
  const first = (matches: (step: Step) => boolean) => calls.findIndex(({ step }) => matches(step));
  const last = (matches: (step: Step) => boolean) => calls.findLastIndex(({ step }) => matches(step));
  const refuse = (at: number, rule: string) => broken(calls[at]!.step, calls[at]!.index, rule);
  /** No call of the first kind comes after the one at `end`. */
  const noneAfter = (matches: (step: Step) => boolean, end: number, rule: string) => {
    if (end >= 0 && last(matches) > end) refuse(last(matches), rule);
  };
  const user = first(isUser);
  const capset = first(isCall("capset"));
  const exec = first(isCall("execve"));

  for (const { step, index } of calls) {
    if (step.tolerate === undefined || !STRICT.some((matches) => matches(step))) continue;
    broken(step, index, "must not tolerate a failure");
  }
  noneAfter(isPrctl(PR.CAPBSET_DROP), user, "drops capabilities from the bounding set after the user changed");
  noneAfter(
    ({ call, task }) => call === "setgroups" && task.path !== undefined,
    user,
    "sets groups after the user changed",
  );
  noneAfter(isCall("setresgid"), user, "sets the group after the user changed");
  noneAfter(changesMounts, user, "changes mounts after the user changed");
  noneAfter(isUser, capset, "changes the user after the capabilities were set");
  const keeps = first((step) => isPrctl(PR.SET_KEEPCAPS)(step) && step.args[1] === 1);
  if (user >= 0 && capset > user && (keeps < 0 || keeps > user)) {
    refuse(user, "loses the capabilities that are set later");
  }

  const noNewPrivileges = first(isPrctl(PR.SET_NO_NEW_PRIVS));
  noneAfter(isPrctl(PR.SET_NO_NEW_PRIVS), exec, "forbids new privileges after execve");
  calls.forEach(({ step, index }, at) => {
    if (!isSeccomp(step)) return;
    noneAfter(isUser, at, "changes the user behind the seccomp filter");
    noneAfter(changesMounts, at, "changes mounts behind the seccomp filter");
    // Loading a filter takes no_new_privs, or CAP_SYS_ADMIN, which does not outlast the set-up.
    if (noNewPrivileges >= 0 && noNewPrivileges < at) {
      noneAfter(changesRights, at, "changes rights behind the seccomp filter");
    } else if (noNewPrivileges > at) broken(step, index, "loads a filter before new privileges are forbidden");
    else if (last(dropsCapabilities) >= 0 && last(dropsCapabilities) < at) {
      broken(step, index, "loads a filter after the capabilities were dropped");
    }
  });

  const closed = first(({ call, args }) => call === "close" && is(args[0], REF.SLOT, "report"));
  const reports = ({ call, args }: Step) => call === "sendto" && is(args[0], REF.SLOT, "report");
  noneAfter(reports, closed, "reports after the starter's socket was closed");
}

/** What the host lane makes, an undo takes back. */
function checkUndo(plan: Plan, host: readonly Call[], broken: Broken): void {
  const end = host.findIndex(({ step }) => step.call === "exit_group");
  const [main, undo] = [host.slice(0, end), host.slice(end + 1).map(({ step }) => step)];
  for (const { step, index } of main) {
    const { call, args } = step;
    const unlinks = (path: Operand | undefined) =>
      undo.some((step) => step.call === "unlinkat" && (!is(path, REF.TEXT) || is(step.args[1], REF.TEXT, path.name)));
    const isTakenBack = call === "mkdirat" || call === "mknodat" || (call === "openat" && creates(plan, args[2]))
      ? unlinks(args[1])
      : call === "clone3" && isContainer(plan, args[0])
      ? undo.some(isCall("pidfd_send_signal"))
      : call === "clone3"
      ? main.some(({ step }) => step.call === "waitid")
      : true;
    if (!isTakenBack) broken(step, index, "makes something that nothing takes back");
  }
}

const creates = ({ arch }: Plan, flags: Operand | undefined) =>
  typeof flags === "number" && (flags & O[arch].CREAT) !== 0;

/** The clone of a process that stays: a child of the starter's, where a helper is the lane's own and waited for. */
function isContainer({ buffers }: Plan, args: Operand | undefined): boolean {
  const buffer = buffers.find(({ name }) => is(args, REF.BUFFER, name));
  const flags = buffer?.words?.[0];
  return typeof flags === "number" && Math.floor(flags / CLONE.PARENT) % 2 === 1;
}

/** The lanes meet in the same order, and whoever waits is told: else both would wait for ever. */
function checkMeetings(steps: readonly Step[], broken: Broken): void {
  const between = steps.map((step, index) => ({ step, index }))
    // Through the report socket a lane meets the starter.
    .filter(({ step }) => step.sync !== undefined && !is(step.args[0], REF.SLOT, "report"));
  const [host, box] = [true, false].map((isHost) => between.filter(({ step }) => (step.lane === "host") === isHost));
  for (let i = 0; i < Math.max(host!.length, box!.length); i++) {
    const [mine, theirs] = [host![i], box![i]];
    const at = (mine ?? theirs)!;
    if (mine?.step.sync !== theirs?.step.sync) {
      broken(at.step, at.index, `meets another lane that is not at "${at.step.sync}"`);
    }
    if (tells(mine!.step) === tells(theirs!.step)) {
      broken(at.step, at.index, "meets a lane that does the same, not the other half");
    }
  }
}

const tells = isCall("sendto", "write");
