/** The end of setting up: the container is recorded, then waits for `start` (or runs at once), with nothing of the host's. */
import { AT_FDCWD } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import type { Process } from "../../spec/schema.ts";
import { signalName } from "../../abi/names.ts";
import { type Lane, slot, text, words } from "../builder.ts";
import { hasCpuset, hostRoot, isNew, PIDFD_SOCKET, type Recipe } from "../recipe.ts";
import { limitMemory } from "./cgroups_v1.ts";
import { sendDescriptor } from "./console.ts";
import { meet } from "./lanes.ts";
import { limitReady } from "./limits.ts";

/** Host lane: the pipe on which a created container waits until someone opens it to read. */
export function makeStartGate({ b, host, spec, request }: Recipe): void {
  if (request.gate !== "fifo") return;
  const path = text(`${request.stateDirectory}/exec.fifo`);
  host.task("make the start gate");
  host.sys("mknodat", [AT_FDCWD, path, 0o010622, 0]);
  b.undo("remove the start gate", (undo) => {
    undo.sys("unlinkat", [AT_FDCWD, path, 0], { tolerate: [E.NOENT] });
  });
  // mknod's mode went through the umask.
  host.sys("fchmodat", [AT_FDCWD, path, 0o622]);
  host.sys("fchownat", [AT_FDCWD, path, hostRoot(spec, "uid"), hostRoot(spec, "gid"), 0]);
  host.sys("openat", [AT_FDCWD, path, b.O.PATH | b.O.CLOEXEC], { out: "gate" });
}

/**
 * Both lanes: the container's process is ready; limits are set, the starter records the container, the pid file is
 * written last, and the process may go on.
 */
export function readyToRun(recipe: Recipe, process: Process): void {
  const { b, host, request } = recipe;
  meet(recipe, "container", "ready to run");
  limitReady(recipe, process, hasCpuset(recipe));
  limitMemory(recipe);
  if (request.pidfdSocket) sendPidfd(host, "standard");
  host.task("let the starter record the container before it can be started");
  b.ask(host, "ready", ["pid"]);
  if (request.gate === "fifo") {
    writePidFile(host, request.pidFile);
    meet(recipe, "host", "recorded");
  } else {
    // Who waits for the pid file of a container that runs at once expects it to run.
    meet(recipe, "host", "recorded");
    writePidFile(host, request.pidFile);
  }
  host.task("end: the container is on its own now").sys("exit_group", [0]);
}

/** Host lane: a descriptor of the process goes to whoever asked for it, with what runc calls this kind of process. */
export function sendPidfd(host: Lane, kind: "standard" | "setns"): void {
  sendDescriptor(host, PIDFD_SOCKET, "pidfd", kind, "send a pidfd of the process to the pidfd socket");
  host.close(PIDFD_SOCKET);
}

/** Written under another name and renamed: whoever sees the file sees the pid. */
export function writePidFile(host: Lane, path: string | undefined): void {
  if (path === undefined) return;
  const b = host.builder;
  const slash = path.lastIndexOf("/");
  const draft = text(`${path.slice(0, slash)}/.${path.slice(slash + 1)}`);
  const digits = b.buffer("pid digits", 24);
  host.task("write the pid file, as the last thing: clients take it as done", {
    error: `cannot write pid file ${path}`,
  });
  host.sys("openat", [AT_FDCWD, draft, b.O.WRONLY | b.O.CREAT | b.O.EXCL | b.O.TRUNC | b.O.CLOEXEC, 0o666], {
    out: "file",
  });
  b.undo("remove the draft of the pid file", (undo) => {
    undo.sys("unlinkat", [AT_FDCWD, draft, 0], { tolerate: [E.NOENT] });
  });
  host.format(slot("pid"), digits, "digits");
  host.sys("write", [slot("file"), digits, slot("digits")]).close("file");
  host.sys("renameat2", [AT_FDCWD, draft, AT_FDCWD, text(path), 0]);
}

/** Container lane: from here on no one hears of a failure; the other end may be gone for hours. */
export function closeReports(box: Lane): void {
  box.task("close the sockets to host lane and starter").close("container's end", "report").set("report", -1);
}

/** HUP, INT, QUIT, ABRT, TERM: what ends runc's process that waits, which is a program of its own. */
const ENDING = [1, 2, 3, 6, 15];
const SIGSET_SIZE = 8;
/** An address that holds no code. */
const NOWHERE = 4;

/**
 * Container lane: the kernel keeps signals from the first process of a pid namespace that does not handle them; one that
 * waits at the gate is to end by them all the same, whoever sends them. A handler that cannot be run ends it (by SIGSEGV),
 * and execve takes it away. Before there is a filter, which need not allow this.
 */
export function endBySignals(recipe: Recipe): void {
  const { box, request } = recipe;
  if (request.gate !== "fifo" || !isNew(recipe, "pid")) return;
  box.task("end by signals while waiting at the start gate, though first in a pid namespace");
  const action = words([NOWHERE, 0, 0, 0], "{what ends the process}");
  box.each(ENDING.map((number) => ({ item: signalName(number) })), ENDING.map((number) => [number]), ([number]) => {
    box.sys("rt_sigaction", [number!, action, 0, SIGSET_SIZE]);
  });
}

/**
 * Container lane: opening the gate to write waits until someone opens it to read, which is what `start` does. It goes
 * through the runtime's own procfs, by a descriptor of the pipe alone: no directory of the host's stays open here.
 */
export function waitAtGate({ b, box, request }: Recipe): void {
  if (request.gate !== "fifo") return;
  const prefix = "self/fd/";
  const path = b.buffer("gate path", 32, { bytes: new TextEncoder().encode(prefix) });
  box.task("wait at the start gate until `start` opens it to read");
  box.format(slot("gate"), path.plus(prefix.length));
  box.sys("openat", [slot("proc"), path, b.O.WRONLY | b.O.CLOEXEC], { out: "start" });
  box.sys("write", [slot("start"), text("0"), 1]);
  box.close("start", "gate", "proc");
}
