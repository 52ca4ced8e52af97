/** Standard input, output and error: the caller's, pipes, or a terminal made inside the container. */
import { AT, AT_FDCWD, FS_MAGIC, IOCTL, MSG, OPEN_TREE, S, S_IFMT, SCM_RIGHTS, SOL_SOCKET } from "../../abi/flags.ts";
import { STATX, STATX_FIELD, STATX_SIZE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import type { Process } from "../../spec/schema.ts";
import { type Lane, slot, text } from "../builder.ts";
import type { Stdio } from "../recipe.ts";
import { makeMissing, openBeneath } from "./beneath.ts";
import { ONTO } from "./mounts.ts";

const STDIO = [0, 1, 2];
const MSGHDR_SIZE = 56;
const CMSG_SIZE = 24;
const CMSG_LEN = 20;
const CMSG_DATA = 16;
const CONSOLE = "/dev/console";
const PTMX_NAME = "/dev/ptmx";
const UNLOCKED = 0;

/**
 * Gives the process its standard descriptors.
 * @param newTerminalOn "/dev/console" gets the terminal, too (for a new container, not for exec)
 */
export function connectStdio(
  lane: Lane,
  stdio: Stdio,
  process: Process,
  newTerminalOn: "/dev/console" | "nothing",
): void {
  if (stdio === "pipes") {
    lane.task("take the pipes of the caller as standard input, output and error", { path: "/process/terminal" });
    ["stdin", "stdout", "stderr"].forEach((name, fd) => lane.sys("dup3", [slot(name), fd, 0]));
  }
  if (stdio === "terminal") openTerminal(lane, process, newTerminalOn);
}

/** A pseudo terminal of the container's devpts: its master goes to the console socket, its other end becomes stdio. */
function openTerminal(lane: Lane, process: Process, newTerminalOn: "/dev/console" | "nothing"): void {
  const b = lane.builder;
  const { O } = b;
  const statfs = b.buffer("statfs", 128);
  lane.task("make a terminal in the container", { path: "/process/terminal", error: "cannot make a terminal" });
  lane.sys("openat", [AT_FDCWD, text("/dev/pts/ptmx"), O.RDWR | O.NOCTTY | O.CLOEXEC], { out: "terminal" });
  lane.sys("fstatfs", [slot("terminal"), statfs]).load("file system", 8, statfs);
  lane.fail("cannot make a terminal: the container's /dev/pts/ptmx is not of type devpts", {
    left: slot("file system"),
    is: "!=",
    right: FS_MAGIC.DEVPTS,
  });
  const unlock = b.buffer("unlock", 8, { words: [UNLOCKED] });
  lane.sys("ioctl", [slot("terminal"), IOCTL.TIOCSPTLCK, unlock]);
  const flags = O.RDWR | O.NOCTTY | O.CLOEXEC;
  lane.sys("ioctl", [slot("terminal"), IOCTL.TIOCGPTPEER, flags], { out: "peer" });
  const { height = 0, width = 0 } = process.consoleSize ?? {};
  if (height !== 0 && width !== 0) {
    const size = b.buffer("console size", 8, { words: [height | (width << 16)] });
    lane.task(`make the terminal ${width} by ${height} characters`, { path: "/process/consoleSize" });
    lane.sys("ioctl", [slot("terminal"), IOCTL.TIOCSWINSZ, size]);
  }
  if (newTerminalOn === "/dev/console") mountOnConsole(lane);
  sendMaster(lane);
  lane.task("make the terminal standard input, output and error, and the session's own", { path: "/process/terminal" });
  for (const fd of STDIO) lane.sys("dup3", [slot("peer"), fd, 0]);
  lane.sys("ioctl", [0, IOCTL.TIOCSCTTY, 0]);
  lane.close("peer");
}

/** The terminal appears as /dev/console: mounted from its descriptor onto a descriptor (CVE-2025-52565). */
function mountOnConsole(lane: Lane): void {
  const [missing, found] = [lane.builder.unique("missing"), lane.builder.unique("found")];
  const path = text(CONSOLE);
  lane.task("mount the terminal on /dev/console", {
    path: "/process/terminal",
    error: "cannot mount the terminal on /dev/console",
  });
  openBeneath(lane, AT_FDCWD, path, "itself", { out: "destination", tolerate: [E.NOENT], to: missing });
  lane.jump(found).label(missing);
  makeMissing(lane, CONSOLE, "/process/terminal", "file", AT_FDCWD);
  openBeneath(lane, AT_FDCWD, path, "itself", { out: "destination" });
  lane.label(found);
  const flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.EMPTY_PATH;
  lane.sys("open_tree", [slot("peer"), text(""), flags], { out: "mount" });
  lane.sys("move_mount", [slot("mount"), text(""), slot("destination"), text(""), ONTO]);
  lane.close("mount", "destination");
}

/** One message: the master's name, and the master itself. The receiver may not even have accepted yet. */
function sendMaster(lane: Lane): void {
  sendDescriptor(lane, "console", "terminal", PTMX_NAME, "send the terminal's master to the console socket");
  lane.close("terminal", "console");
}

/** Sends slot `descriptor` with some text over the socket in slot `socket`. */
export function sendDescriptor(lane: Lane, socket: string, descriptor: string, message: string, why: string): void {
  const b = lane.builder;
  const length = new TextEncoder().encode(message).length;
  const iovec = b.buffer(`${socket} iovec`, 16, { words: [text(message), length] });
  // struct cmsghdr: length, then level and type as 32-bit numbers, then the descriptor.
  const level = BigInt(SOL_SOCKET) | (BigInt(SCM_RIGHTS) << 32n);
  const control = b.buffer(`${socket} control`, CMSG_SIZE, { words: [CMSG_LEN, level, 0] });
  lane.task(why).store(4, slot(descriptor), control, CMSG_DATA);
  const header = b.buffer(`${socket} message`, MSGHDR_SIZE, { words: [0, 0, iovec, 1, control, CMSG_SIZE, 0] });
  lane.sys("sendmsg", [slot(socket), header, MSG.NOSIGNAL]);
}

const NULL_MAJOR = 1;
const NULL_MINOR = 3;

/**
 * Before the user changes: standard descriptors on the host's null device are opened anew inside (so that nothing of the
 * host's file systems stays), and the others are given to the process's user, who may have to open them by name.
 */
export function ownStdio(lane: Lane, uid: number, reopensNull: boolean): void {
  const b = lane.builder;
  const statx = b.buffer("statx", STATX_SIZE);
  lane.task("give standard input, output and error to the process's user; reopen /dev/null inside", {
    path: "/process/user/uid",
  });
  lane.each(STDIO.map((fd) => ({ item: String(fd) })), STDIO.map((fd) => [fd]), ([fd], next) => {
    const [isNull, chown] = [b.unique("null"), b.unique("chown")];
    // EBADF: the caller closed it.
    lane.sys("statx", [fd!, text(""), AT.EMPTY_PATH, STATX.TYPE | STATX.UID, statx], { tolerate: [E.BADF], to: next });
    lane.load("mode", 2, statx, STATX_FIELD.mode).load("major", 4, statx, STATX_FIELD.rdevMajor);
    lane.load("minor", 4, statx, STATX_FIELD.rdevMinor).load("owner", 4, statx, STATX_FIELD.uid);
    lane.jump(chown, { left: slot("mode"), is: "!=", right: S.IFCHR, mask: S_IFMT });
    lane.jump(chown, { left: slot("major"), is: "!=", right: NULL_MAJOR });
    lane.jump(isNull, { left: slot("minor"), is: "==", right: NULL_MINOR });
    lane.label(chown).jump(next, { left: slot("owner"), is: "==", right: uid });
    // EPERM: the owner has no id in our user namespace; EROFS: a read-only /dev. EINVAL: a descriptor without an owner.
    lane.sys("fchown", [fd!, uid, -1], { tolerate: [E.PERM, E.ROFS, E.INVAL], to: next });
    lane.jump(next).label(isNull);
    if (!reopensNull) return;
    // Of an image without a /dev of the runtime's it may be anything: then the host's null device stays.
    const other = b.unique("not null");
    const flags = b.O.RDWR | b.O.NOFOLLOW | b.O.NOCTTY | b.O.CLOEXEC;
    lane.sys("openat", [AT_FDCWD, text("/dev/null"), flags], { out: "null", tolerate: [E.LOOP, E.ISDIR], to: next });
    lane.sys("statx", [slot("null"), text(""), AT.EMPTY_PATH, STATX.TYPE, statx]);
    lane.load("mode", 2, statx, STATX_FIELD.mode).load("major", 4, statx, STATX_FIELD.rdevMajor);
    lane.load("minor", 4, statx, STATX_FIELD.rdevMinor);
    lane.jump(other, { left: slot("mode"), is: "!=", right: S.IFCHR, mask: S_IFMT });
    lane.jump(other, { left: slot("major"), is: "!=", right: NULL_MAJOR });
    lane.jump(other, { left: slot("minor"), is: "!=", right: NULL_MINOR });
    lane.sys("dup3", [slot("null"), fd!, 0]);
    lane.label(other).close("null");
  });
}
