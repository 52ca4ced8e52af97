/**
 * Hooks: programs that config.json has run at points of a container's life. A lane runs them one after the other, each
 * in a process of its own with the container's state on standard input, waits with a timeout, and fails when one fails.
 */
import {
  CLD,
  CLONE,
  CLOSE_RANGE,
  F,
  F_SEAL,
  MFD,
  MSG,
  P,
  POLL,
  SIGINFO_FIELD,
  SIGINFO_SIZE,
  W,
} from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { SIG, signalText } from "../../abi/names.ts";
import { formatJson, SortedMap } from "../../spec/json.ts";
import type { HookKind } from "../../spec/hook_kinds.ts";
import { OCI_VERSION } from "../../spec/version.ts";
import type { Hook } from "../../spec/schema.ts";
import { json, jsonSize, type Lane, size, slot, text, words } from "../builder.ts";
import { hookInput, type HookStream } from "../recipe.ts";
import { MESSAGE, type Operand, TEXT } from "../types.ts";
import { CLONE_ARGS_SIZE } from "./lanes.ts";

const NOT_STARTED = 127;
const ALL = 0xffffffff;
const SIGNALS_WITH_TEXT = 31;
/** How much of a failed hook's output its error quotes. */
const QUOTED = 2048;

/** The state that hooks read, as config.md's "State" has it. */
export interface HookState {
  readonly id: string;
  readonly status: "creating" | "created" | "running" | "stopped";
  readonly bundle: string;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface HookOptions {
  readonly kind: HookKind;
  readonly hooks: readonly Hook[];
  readonly state: HookState;
  /** The pid that the state names; undefined for a container that has ended. */
  readonly pid: Operand | undefined;
  /** What a hook without an environment of its own gets: NAME=VALUE entries, or an array for execve. */
  readonly environment: readonly string[] | Operand;
  /** The directory hooks run in; undefined for the lane's own. */
  readonly directory?: string;
  /** Streams that go to files: their inputs are named by hookInput. */
  readonly files?: readonly HookStream[] | undefined;
  /** The starter hears of failures; behind the start gate, no one does, and tellFailure says them. */
  readonly reports: boolean;
  /** How a hook's process is made. */
  readonly clone?: "clone3" | "clone";
}

/** Runs all hooks of a kind; the first that fails fails the lane. */
export function runHooks(lane: Lane, options: HookOptions): void {
  const { kind, hooks } = options;
  if (hooks.length === 0) return;
  const b = lane.builder;
  lane.task(`run the ${kind} hooks`, { path: `/hooks/${kind}`, error: `error running ${kind} hooks` });
  writeState(lane, options);
  const child = b.unique(`${kind} hook starts`);
  const timespec = (seconds: number | undefined): Operand => seconds ? words([seconds, 0], `${seconds} s`) : 0;
  const fallback = isEntries(options.environment)
    ? arrayOf(options.environment, "the caller's environment")
    : options.environment;
  const lines = hooks.map(({ path }, i) => `error running ${kind} hook #${i}: ${path}`);
  lane.each(
    items(options),
    hooks.map(({ path, args, env, timeout }, i) => [
      text(path),
      arrayOf(args && args.length > 0 ? args : [path], JSON.stringify(args ?? [path])),
      env === undefined ? fallback : arrayOf(env, JSON.stringify(env)),
      timespec(timeout),
      ...(options.reports ? [] : [text(lines[i]!), size(lines[i]!)]),
    ]),
    ([path, argv, env, timeout, line, length], next) => {
      if (line !== undefined) lane.set("hook words", line).set("hook words length", length!).set("hook code", 0);
      startHook(lane, child, options);
      waitForHook(lane, options, timeout!, next);
      childLane(lane, options, child, path!, argv!, env!);
    },
  );
  lane.close("hook state");
}

const items = ({ kind, hooks }: HookOptions) =>
  hooks.map(({ timeout = 0 }, i) => ({ item: `#${i}`, path: `/hooks/${kind}/${i}`, note: `${timeout.toFixed(1)}s` }));
const isEntries = (value: HookOptions["environment"]): value is readonly string[] => Array.isArray(value);
const arrayOf = (texts: readonly string[], means: string) => words([...texts.map(text), 0], means);

/** The state as JSON in a sealed memory file: a hook that does not read it cannot block anyone, nor change it for the next. */
function writeState(lane: Lane, { state, pid }: HookOptions): void {
  const annotations = Object.keys(state.annotations).length === 0 ? undefined : new SortedMap(state.annotations);
  const document = formatJson({
    ociVersion: OCI_VERSION,
    id: state.id,
    status: state.status,
    pid: 0,
    bundle: state.bundle,
    annotations,
  });
  const marker = '"pid":0,';
  const split = document.indexOf(marker);
  const [older, made] = [lane.builder.unique("older kernel"), lane.builder.unique("state file")];
  const write = (piece: string) => lane.sys("write", [slot("hook state"), json(piece), jsonSize(piece)]);
  lane.sys("memfd_create", [text("state"), MFD.CLOEXEC | MFD.ALLOW_SEALING | MFD.NOEXEC_SEAL], {
    out: "hook state",
    tolerate: [E.INVAL],
    to: older,
  });
  lane.jump(made).label(older);
  lane.sys("memfd_create", [text("state"), MFD.CLOEXEC | MFD.ALLOW_SEALING], { out: "hook state" });
  lane.label(made);
  write(document.slice(0, split));
  if (pid !== undefined) {
    const digits = lane.builder.buffer("pid digits", 24);
    write('"pid":');
    lane.format(pid, digits, "digits").sys("write", [slot("hook state"), digits, slot("digits")]);
    write(",");
  }
  write(document.slice(split + marker.length));
  lane.sys("fcntl", [slot("hook state"), F.ADD_SEALS, F_SEAL.SEAL | F_SEAL.SHRINK | F_SEAL.GROW | F_SEAL.WRITE]);
}

function startHook(lane: Lane, child: string, { clone = "clone3", files = [] }: HookOptions): void {
  const b = lane.builder;
  const pidfd = b.buffer("hook pidfd", 8);
  const args = b.buffer("hook clone args", CLONE_ARGS_SIZE, {
    words: [CLONE.PIDFD, pidfd, 0, 0, SIG.CHLD, 0, 0, 0, 0, 0, 0],
  });
  lane.sys("lseek", [slot("hook state"), 0, 0]);
  for (const stream of ["stdout", "stderr"] as const) {
    const out = `hook ${stream}`;
    if (files.includes(stream)) lane.sys("fcntl", [slot(hookInput(stream)), F.DUPFD_CLOEXEC, 0], { out });
    else lane.sys("memfd_create", [text(stream), MFD.CLOEXEC], { out });
  }
  if (clone === "clone3") lane.sys("clone3", [args, CLONE_ARGS_SIZE], { out: "hook" });
  else lane.sys("clone", [CLONE.PIDFD | SIG.CHLD, 0, pidfd, 0, 0], { out: "hook" });
  lane.jump(child, { left: slot("hook"), is: "==", right: 0 });
  lane.load("hook pidfd", 4, pidfd);
}

function waitForHook(lane: Lane, { kind, reports, files = [] }: HookOptions, timeout: Operand, next: string): void {
  const b = lane.builder;
  const pollfds = b.buffer("hook poll", 16);
  const info = b.buffer("hook info", SIGINFO_SIZE);
  const [ended, failed, closed] = [b.unique("hook ended"), b.unique("hook failed"), b.unique("hook done")];
  // The second tells of the starter's end (an error is always polled for): no hook is to outlive it unwatched.
  lane.store(8, BigInt(POLL.IN) << 32n, pollfds).store(4, slot("hook pidfd"), pollfds);
  lane.store(8, 0, pollfds, 8).store(4, slot("report"), pollfds, 8);
  lane.sys("ppoll", [pollfds, 2, timeout, 0, 0], { out: "ready" });
  lane.load("hook over", 2, pollfds, 6);
  lane.jump(ended, { left: slot("hook over"), is: "!=", right: 0 });
  lane.sys("pidfd_send_signal", [slot("hook pidfd"), SIG.KILL, 0, 0], { tolerate: [E.SRCH] });
  lane.sys("waitid", [P.PIDFD, slot("hook pidfd"), info, W.EXITED, 0]);
  lane.close("hook pidfd", "hook stdout", "hook stderr");
  lane.fail(`error running ${kind} hook {item}: whoever started it has ended`, {
    left: slot("ready"),
    is: "!=",
    right: 0,
  });
  lane.fail(`error running ${kind} hook {item}: hook ran past specified timeout of {note}`);
  lane.label(ended);
  lane.sys("waitid", [P.PIDFD, slot("hook pidfd"), info, W.EXITED, 0]);
  lane.load("hook code", 4, info, SIGINFO_FIELD.code).load("hook status", 4, info, SIGINFO_FIELD.status);
  lane.jump(failed, { left: slot("hook code"), is: "!=", right: CLD.EXITED });
  lane.jump(closed, { left: slot("hook status"), is: "==", right: 0 });
  lane.label(failed);
  if (reports) quoteHook(lane, files);
  else if (!files.includes("stderr")) repeatHook(lane);
  lane.fail(`error running ${kind} hook {item}`);
  lane.label(closed).close("hook pidfd", "hook stdout", "hook stderr");
  lane.jump(next);
}

/** Says what the hook said, to the container's standard error: no one else is left to hear it. */
function repeatHook(lane: Lane): void {
  const words = lane.builder.buffer("hook's own words", QUOTED);
  lane.sys("lseek", [slot("hook stderr"), 0, 0]);
  lane.sys("read", [slot("hook stderr"), words, QUOTED], { out: "length" });
  lane.sys("write", [2, words, slot("length")], { tolerate: [E.BADF, E.PIPE, E.AGAIN, E.IO] });
}

/** Sends how the hook ended and what it said. */
function quoteHook(lane: Lane, files: readonly HookStream[]): void {
  const b = lane.builder;
  const said = b.unique("said");
  const message = b.buffer("hook words", 8 + QUOTED);
  const send = (length: Operand) =>
    lane.sys("sendto", [slot("report"), message, length, MSG.NOSIGNAL, 0, 0], { tolerate: [E.PIPE] });
  const header = (tag: number) => lane.store(4, MESSAGE.TEXT, message).store(4, tag, message, 4);
  header(TEXT.EXIT);
  lane.jump(said, { left: slot("hook code"), is: "==", right: CLD.EXITED });
  header(TEXT.SIGNAL);
  lane.label(said);
  lane.format(slot("hook status"), message.plus(8), "digits").set("length", slot("digits"), 8);
  send(slot("length"));
  for (const [stream, tag] of [["stdout", TEXT.STDOUT], ["stderr", TEXT.STDERR]] as const) {
    if (files.includes(stream)) continue;
    const name = `hook ${stream}`;
    header(tag);
    lane.sys("lseek", [slot(name), 0, 0]);
    lane.sys("read", [slot(name), message.plus(8), QUOTED], { out: "length" }).set("length", slot("length"), 8);
    send(slot("length"));
  }
}

/** The hook's own process: standard descriptors, directory, and the program. */
function childLane(
  parent: Lane,
  options: HookOptions,
  label: string,
  path: Operand,
  argv: Operand,
  env: Operand,
): void {
  const { kind, directory, reports } = options;
  const lane = parent.builder.section(`${kind} hook`, label);
  const each = options.hooks.map(({ path }, i) => ({ item: `#${i}`, path: `/hooks/${kind}/${i}`, note: path }));
  const error = `error running ${kind} hook {item}: fork/exec {note}`;
  lane.task(`be the ${kind} hook`, { path: `/hooks/${kind}`, error, each });
  ["hook state", "hook stdout", "hook stderr"].forEach((name, fd) => lane.sys("dup3", [slot(name), fd, 0]));
  if (directory !== undefined) lane.sys("chdir", [text(directory)]);
  lane.sys("close_range", [3, ALL, reports ? CLOSE_RANGE.CLOEXEC : 0]);
  lane.sys("execve", [path, argv, env], { error });
  lane.sys("exit_group", [NOT_STARTED]);
}

/** Behind the start gate: says on the container's standard error which hook failed, and how it ended. */
export function tellFailure(lane: Lane): void {
  const [exited, end] = [lane.builder.unique("exited"), lane.builder.unique("end of line")];
  const write = (words: Operand, length: Operand) =>
    lane.sys("write", [2, words, length], { tolerate: [E.BADF, E.PIPE, E.AGAIN, E.IO] });
  const say = (words: string) => write(text(words), size(words));
  write(slot("hook words"), slot("hook words length"));
  lane.jump(end, { left: slot("hook code"), is: "==", right: 0 });
  lane.jump(exited, { left: slot("hook code"), is: "==", right: CLD.EXITED });
  const signals = Array.from({ length: SIGNALS_WITH_TEXT }, (_, i) => `: signal: ${signalText(i + 1)}`);
  lane.each(
    signals.map((item) => ({ item })),
    signals.map((words, i) => [i + 1, text(words), size(words)]),
    ([number, words, length], next) => {
      lane.jump(next, { left: slot("hook status"), is: "!=", right: number! });
      write(words!, length!);
    },
  );
  lane.jump(end, { left: slot("hook code"), is: "!=", right: CLD.DUMPED });
  say(" (core dumped)");
  lane.jump(end).label(exited);
  say(": exit status ");
  const digits = lane.builder.buffer("hook status digits", 24);
  lane.format(slot("hook status"), digits, "digits");
  write(digits, slot("digits"));
  lane.label(end);
  say("\n");
}
