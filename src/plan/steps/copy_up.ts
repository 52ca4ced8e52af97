/**
 * "tmpcopyup": a tmpfs that begins with what the directory below has. The steps walk over the directory by descriptors, a
 * symlink is never followed, and what is made is made in the new tmpfs, which no one else can reach yet.
 */
import { AT, S, S_IFMT, STATX, STATX_FIELD, STATX_SIZE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import type { Arch } from "../../abi/arch.ts";
import { type Lane, slot, text } from "../builder.ts";
import type { Operand } from "../types.ts";

/** Directories in directories. */
const DEPTH_MAX = 256;
const FRAME = 16;
const ENTRIES_SIZE = 4096;
/** struct linux_dirent64. */
const DIRENT = { offset: 8, length: 16, name: 19 } as const;
/** Offset of st_rdev in struct stat. */
const STAT_RDEV: Readonly<Record<Arch, number>> = { x86_64: 40, aarch64: 32 };
const STAT_SIZE = 144;
const LINK_SIZE = 4096;
const CHUNK = 1 << 20;
const DOT = 46;
const SEEK_SET = 0;

/**
 * From slot "destination" to the root of slot "mount".
 * @param keepsOwner the root, too, gets its owner from below
 */
export function copyUp(lane: Lane, keepsOwner: boolean): void {
  const b = lane.builder;
  const { O } = b;
  const of = (name: string) => b.unique(`copy up: ${name}`);
  const [read, entry, next, up, done] = [of("read"), of("entry"), of("next"), of("up"), of("done")];
  const [named, dotted, directory, link, file] = [of("named"), of("dotted"), of("directory"), of("link"), of("file")];
  const [chunk, own] = [of("chunk"), of("own")];
  const [from, to, top, at, end, name] = [
    "copy.from",
    "copy.to",
    "copy.top",
    "copy.at",
    "copy.end",
    "copy.name",
  ] as const;
  const stack = b.buffer("copy stack", DEPTH_MAX * FRAME);
  const entries = b.buffer("copy entries", ENTRIES_SIZE);
  const statx = b.buffer("statx", STATX_SIZE);
  const linkText = b.buffer("copy link", LINK_SIZE);
  const plainStat = b.buffer("copy stat", STAT_SIZE);
  const type = (right: number) => ({ left: slot("mode"), is: "==" as const, right, mask: S_IFMT });
  const isDirectory = O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;
  const stat = (fd: string) => {
    lane.sys("statx", [slot(fd), text(""), AT.EMPTY_PATH, STATX.BASIC_STATS, statx]);
    lane.load("mode", 2, statx, STATX_FIELD.mode);
    lane.load("owner", 4, statx, STATX_FIELD.uid).load("group", 4, statx, STATX_FIELD.gid);
  };
  // EINVAL: an owner who has no id in our user namespace; it stays with root.
  const chown = (directory: string, path: Operand) =>
    lane.sys("fchownat", [slot(directory), path, slot("owner"), slot("group"), AT.SYMLINK_NOFOLLOW], {
      tolerate: [E.INVAL],
    });

  lane.sys("openat", [slot("destination"), text("."), isDirectory], { out: from });
  lane.sys("openat", [slot("mount"), text("."), isDirectory], { out: to });
  if (keepsOwner) {
    stat(from);
    chown(to, text("."));
  }
  lane.set(top, stack);

  lane.label(read).sys("getdents64", [slot(from), entries, ENTRIES_SIZE], { out: "copy.read" });
  lane.jump(up, { left: slot("copy.read"), is: "==", right: 0 });
  lane.set(at, entries).set(end, entries, slot("copy.read"));
  lane.label(entry).jump(read, { left: slot(at), is: "==", right: slot(end) });
  lane.set(name, slot(at), DIRENT.name);
  // Not "." and "..".
  lane.load("char", 1, slot(name)).jump(named, { left: slot("char"), is: "!=", right: DOT });
  lane.load("char", 1, slot(name), 1).jump(next, { left: slot("char"), is: "==", right: 0 });
  lane.jump(dotted, { left: slot("char"), is: "==", right: DOT }).jump(named);
  lane.label(dotted).load("char", 1, slot(name), 2).jump(next, { left: slot("char"), is: "==", right: 0 });
  lane.label(named);
  lane.sys("openat", [slot(from), slot(name), O.PATH | O.NOFOLLOW | O.CLOEXEC], { out: "copied" });
  stat("copied");
  lane.jump(directory, type(S.IFDIR)).jump(link, type(S.IFLNK)).jump(file, type(S.IFREG));
  // Devices, pipes and sockets; the number as mknod takes it is in the older struct stat only.
  lane.sys("newfstatat", [slot("copied"), text(""), plainStat, AT.EMPTY_PATH]).load(
    "device",
    8,
    plainStat,
    STAT_RDEV[b.arch],
  );
  lane.sys("mknodat", [slot(to), slot(name), slot("mode"), slot("device")]).jump(own);

  lane.label(link).sys("readlinkat", [slot("copied"), text(""), linkText, LINK_SIZE - 1], { out: "length" });
  lane.store(1, 0, slot("length"), linkText);
  lane.sys("symlinkat", [linkText, slot(to), slot(name)]);
  chown(to, slot(name));
  lane.close("copied").jump(next);

  // Opened again to be read: what was exchanged meanwhile is not waited for, and no device.
  lane.label(file);
  lane.sys("openat", [slot(from), slot(name), O.NOFOLLOW | O.NONBLOCK | O.NOCTTY | O.CLOEXEC], { out: "copy.in" });
  stat("copy.in");
  lane.fail("a file was exchanged while it was copied", { left: slot("mode"), is: "!=", right: S.IFREG, mask: S_IFMT });
  lane.sys("openat", [slot(to), slot(name), O.CREAT | O.EXCL | O.WRONLY | O.NOFOLLOW | O.CLOEXEC, 0o600], {
    out: "copy.out",
  });
  lane.label(chunk).sys("sendfile", [slot("copy.out"), slot("copy.in"), 0, CHUNK], { out: "copy.sent" });
  lane.jump(chunk, { left: slot("copy.sent"), is: "!=", right: 0 });
  lane.close("copy.in", "copy.out");
  lane.label(own);
  chown(to, slot(name));
  lane.sys("fchmodat", [slot(to), slot(name), slot("mode")]).close("copied");
  lane.label(next).load("length", 2, slot(at), DIRENT.length).set(at, slot(at), slot("length")).jump(entry);

  // Into a directory: the place to come back to is kept in the directory's own position.
  lane.label(directory).sys("mkdirat", [slot(to), slot(name), 0o700]);
  chown(to, slot(name));
  lane.sys("fchmodat", [slot(to), slot(name), slot("mode")]);
  lane.load("copy.offset", 8, slot(at), DIRENT.offset).sys("lseek", [slot(from), slot("copy.offset"), SEEK_SET]);
  lane.fail("directories are too deep to be copied", {
    left: slot(top),
    is: "==",
    right: stack.plus(DEPTH_MAX * FRAME),
  }, E.NAMETOOLONG);
  lane.store(8, slot(from), slot(top)).store(8, slot(to), slot(top), 8).set(top, slot(top), FRAME);
  lane.sys("openat", [slot(to), slot(name), isDirectory], { out: to });
  lane.sys("openat", [slot("copied"), text("."), isDirectory], { out: from });
  lane.close("copied").jump(read);
  lane.label(up).close(from, to);
  lane.jump(done, { left: slot(top), is: "==", right: stack });
  lane.set(top, slot(top), -FRAME).load(from, 8, slot(top)).load(to, 8, slot(top), 8).jump(read);
  lane.label(done);
}
