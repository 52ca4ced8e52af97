/**
 * The two lanes: the host lane clones the container's process, which goes on with the container lane, and both meet on a
 * pair of sockets. The end of one process is how the other learns that it is alone.
 */
import { AF, CLONE, MSG, POLL, PR, SOCK } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { SIG } from "../../abi/names.ts";
import { type Lane, type PlanBuilder, slot, text } from "../builder.ts";

export interface Lanes {
  readonly b: PlanBuilder;
  readonly host: Lane;
  readonly box: Lane;
}

export const CLONE_ARGS_SIZE = 88;
const CLONE_ARGS_CGROUP = 80;
const COMM_MAX = 15;
const START = "container lane starts";

/** Host lane: the pair of sockets. */
export function makeMeetingPlace({ b, host }: Lanes): void {
  const pair = b.buffer("meeting place", 8);
  host.task("make the socket on which the two lanes meet");
  host.sys("socketpair", [AF.UNIX, SOCK.SEQPACKET | SOCK.CLOEXEC, 0, pair]);
  host.load("host's end", 4, pair).load("container's end", 4, pair, 4);
}

export interface CloneOptions {
  /** Namespaces to make: CLONE_NEW* */
  readonly flags: number;
  /** Slot with the unified cgroup's directory that the process is born in. */
  readonly cgroup: string | undefined;
  readonly why: string;
  readonly path?: string;
}

/** `lane` clones the process of the container lane: its pid goes into slot "pid", a pidfd into the buffer "pidfd". */
export function cloneProcess({ b, box }: Lanes, lane: Lane, { flags, cgroup, why, path }: CloneOptions): void {
  const all = flags + CLONE.PARENT + CLONE.PIDFD + (cgroup === undefined ? 0 : CLONE.INTO_CGROUP);
  const args = b.buffer("clone args", CLONE_ARGS_SIZE, {
    words: [all, b.buffer("pidfd", 8), 0, 0, 0, 0, 0, 0, 0, 0, 0],
  });
  lane.task(why, { ...(path === undefined ? {} : { path }), error: `cannot ${why}` });
  if (cgroup !== undefined) lane.store(4, slot(cgroup), args, CLONE_ARGS_CGROUP);
  lane.sys("clone3", [args, CLONE_ARGS_SIZE], { out: "pid" });
  lane.jump(START, { left: slot("pid"), is: "==", right: 0 });
  box.label(START);
}

/**
 * A process between host and container: joins namespaces in which the host lane has nothing to do, and clones the
 * container's process from there. Its lane is what the caller makes of it, up to cloneProcess; then comes endJoiner.
 * @param cgroup slot with the unified cgroup's directory that it is born in, and what it clones, too
 */
export function startJoiner(
  { b, host }: Lanes,
  { cgroup, path, error }: { readonly cgroup?: string | undefined; readonly path?: string; readonly error?: string } =
    {},
): Lane {
  const joiner = b.section("joiner", "joiner starts");
  const flags = CLONE.PARENT + (cgroup === undefined ? 0 : CLONE.INTO_CGROUP);
  const args = b.buffer("joiner args", CLONE_ARGS_SIZE, { words: [flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] });
  host.task("make a helper that joins the namespaces first", {
    ...(path === undefined ? {} : { path }),
    ...(error === undefined ? {} : { error }),
  });
  if (cgroup !== undefined) host.store(4, slot(cgroup), args, CLONE_ARGS_CGROUP);
  host.sys("clone3", [args, CLONE_ARGS_SIZE], { out: "joiner" });
  host.jump("joiner starts", { left: slot("joiner"), is: "==", right: 0 });
  return joiner;
}

/** The joiner reports the pid that it made, as seen from the host, and ends; the host lane takes it from there. */
export function endJoiner({ b, host }: Lanes, joiner: Lane): void {
  const inbox = b.buffer("joiner's answer", 8);
  joiner.task("tell the host lane the container's pid").store(8, slot("pid"), inbox);
  joiner.sys("sendto", [slot("container's end"), inbox, 8, MSG.NOSIGNAL, 0, 0]);
  joiner.sys("exit_group", [0]);
  host.task("learn the container's pid from the helper");
  b.notify(host, "helper", ["joiner"]);
  keepOwnEnd(host);
  host.sys("recvfrom", [slot("host's end"), inbox, 8, 0, 0, 0], { out: "met" });
  host.fail("the helper that joins namespaces has ended early", { left: slot("met"), is: "!=", right: 8 });
  host.load("pid", 8, inbox);
  host.sys("pidfd_open", [slot("pid"), 0], { out: "pidfd" });
}

/**
 * Host lane, slot "pidfd" set: from here on a failure kills the process; the starter hears of it, and may look at what is
 * about to be taken back.
 */
export function ownProcess({ b, host }: Lanes): void {
  b.undo("let the starter look why", (undo) => b.ask(undo, "undoing", []));
  undoProcess(b);
  b.notify(host, "cloned", ["pid"]);
}

/** Its end is the first thing that a failure brings about, or the last before what was added to the undo earlier. */
export function undoProcess(b: PlanBuilder): void {
  b.undo("kill the container's process and wait for its end", (undo) => {
    const wait = b.buffer("wait for end", 8);
    undo.sys("pidfd_send_signal", [slot("pidfd"), SIG.KILL, 0, 0], { tolerate: [E.SRCH] });
    undo.store(8, BigInt(POLL.IN) << 32n, wait).store(4, slot("pidfd"), wait);
    undo.sys("ppoll", [wait, 1, 0, 0, 0]);
  });
}

/** Host lane, after its clone: a closed socket is how it learns of the other process's end. */
export function keepOwnEnd(host: Lane): void {
  host.task("know when the cloned process ends: only it holds the other end now").close("container's end");
}

/** Container lane: the first things that its process does. */
export function beginContainerLane({ box }: Lanes, program: string): void {
  box.task("know when the host lane ends: only it holds the other end now").close("host's end");
  box.task("be found in ps by the name that runc's init has");
  box.sys("prctl", [PR.SET_NAME, text(`${program}:[2:INIT]`.slice(0, COMM_MAX)), 0, 0, 0]);
  box.task("start a new session, so that no terminal of the caller is ours").sys("setsid", []);
}

/** One lane tells the other that it has come to `name`; the other waits for that. */
export function meet({ b, host, box }: Lanes, from: "host" | "container", name: string): void {
  const [sender, receiver] = from === "host" ? [host, box] : [box, host];
  const [mine, theirs] = from === "host" ? ["host's end", "container's end"] : ["container's end", "host's end"];
  const inbox = b.buffer(`${receiver.name} inbox`, 8);
  sender.task(`meet: ${name}`);
  receiver.task(`meet: ${name}`);
  // The container's process may have its seccomp filter already: read and write are what few profiles stop.
  if (from === "host") {
    sender.sys("sendto", [slot(mine), text("."), 1, MSG.NOSIGNAL, 0, 0], { sync: name });
    receiver.sys("read", [slot(theirs), inbox, 1], { out: "met", sync: name });
  } else {
    sender.sys("write", [slot(mine), text("."), 1], { sync: name });
    receiver.sys("recvfrom", [slot(theirs), inbox, 1, 0, 0, 0], { out: "met", sync: name });
  }
  const error = from === "host" ? "the host lane has ended" : "the container's process has ended early";
  receiver.fail(error, { left: slot("met"), is: "==", right: 0 });
}

/**
 * The container's process tells the host lane the number of its descriptor in slot `from`; the host lane takes the same
 * one into its slot `to`. Both wait for no answer: see meet().
 */
export function lend({ b, host, box }: Lanes, from: string, to: string, name: string): void {
  const [number, inbox] = [b.buffer(from, 8), b.buffer("host inbox", 8)];
  box.store(4, slot(from), number).sys("write", [slot("container's end"), number, 4], { sync: name });
  host.sys("recvfrom", [slot("host's end"), inbox, 4, 0, 0, 0], { out: "met", sync: name });
  host.fail("the container's process has ended early", { left: slot("met"), is: "==", right: 0 });
  host.load(from, 4, inbox).sys("pidfd_getfd", [slot("pidfd"), slot(from), 0], { out: to });
}
