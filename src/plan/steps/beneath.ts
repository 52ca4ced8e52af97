/**
 * Paths inside the rootfs. Nothing is ever found by a plain path there: openat2(2) resolves beneath the rootfs's
 * descriptor (a symlink cannot lead out, a magic link is not followed), and what is missing is made through descriptors.
 */
import { RESOLVE, S } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { type Lane, place, type PlanBuilder, slot, text, words } from "../builder.ts";
import type { Operand, Ref } from "../types.ts";

const OPEN_HOW_SIZE = 24;
const IN_ROOT = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;

/** struct open_how: only a descriptor for the path (O_PATH), resolved inside the root. */
function how(b: PlanBuilder, kind: "any" | "itself" | "directory" | "ordinary directory" | "no symlinks"): Ref {
  const { O } = b;
  const flags = {
    "any": O.PATH | O.CLOEXEC,
    // A symlink as the last component is not followed.
    "itself": O.PATH | O.CLOEXEC | O.NOFOLLOW,
    "directory": O.PATH | O.CLOEXEC | O.DIRECTORY,
    // Not even a symlink as the last component.
    "ordinary directory": O.PATH | O.CLOEXEC | O.DIRECTORY | O.NOFOLLOW,
    // Not one on the way either; one at the end is what is opened.
    "no symlinks": O.PATH | O.CLOEXEC | O.NOFOLLOW,
  }[kind];
  return words([flags, 0, kind === "no symlinks" ? IN_ROOT | RESOLVE.NO_SYMLINKS : IN_ROOT], `{${kind}, in root}`);
}

/** Opens `path` beneath the root in slot `root`. */
export function openBeneath(
  lane: Lane,
  root: Operand,
  path: Operand,
  kind: Parameters<typeof how>[1],
  options: Parameters<Lane["sys"]>[2],
): void {
  lane.sys("openat2", [root, path, how(lane.builder, kind), OPEN_HOW_SIZE], options);
}

/** The parts of an absolute path inside the root: "/a/b" -> ["a", "b"]. */
export const components = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

/** What is to be made at the end of a path. */
export type Making = "directory" | "file";

/**
 * Makes what is missing of `path`: its directories, and at its end another or an empty file. A symlink of the rootfs that
 * leads nowhere is a name for what is made where it leads to, inside the root. The steps exist once in a plan and are
 * jumped to (cold: most rootfs have what they need).
 * @param configPath where in config.json the path comes from
 * @param root descriptor of the root; AT_FDCWD where the working directory is the root
 */
export function makeMissing(
  lane: Lane,
  path: string,
  configPath: string,
  making: Making = "directory",
  root: Operand = slot("rootfs"),
): void {
  const b = lane.builder;
  let section = sections.get(b);
  if (section === undefined) sections.set(b, section = addSection(b, lane.name));
  const back = b.unique("made what was missing");
  lane.set("index", section.items.push({ item: path, path: configPath }) - 1);
  lane.set("make.root", root).set("make.path", text("./" + components(path).join("/")));
  lane.set("make.file", making === "file" ? 1 : 0);
  lane.set("make.back", place(back));
  lane.jump(section.label).label(back);
}

interface Section {
  readonly label: string;
  readonly items: { item: string; path: string }[];
}
const sections = new WeakMap<PlanBuilder, Section>();
const PATH_SIZE = 8192;
const LINK_SIZE = 4096;
/** As the kernel's own limit on symlinks in a path. */
const LINKS_MAX = 40;
const SLASH = 47;

/**
 * Walks over the path, which is kept in a buffer: "./a/b". Of each component, the path up to its end is opened beneath
 * the root; what is not there is made in its parent's descriptor.
 */
function addSection(b: PlanBuilder, laneName: string): Section {
  const label = "make what is missing";
  const items: Section["items"] = [];
  const lane = b.section(laneName, label);
  const [at, end, char, links] = ["make.at", "make.end", "make.char", "make.links"] as const;
  const [path, link] = [b.buffer("make path", PATH_SIZE), b.buffer("make link", LINK_SIZE)];
  const of = (name: string) => `make missing: ${name}`;
  const [walk, scan, byte, scanned, last, there] = [
    of("walk"),
    of("scan"),
    of("byte"),
    of("scanned"),
    of("last"),
    of("there"),
  ];
  const [missing, directory, file, made] = [of("missing"), of("directory"), of("file"), of("made")];
  const [exists, relative, done] = [of("exists"), of("relative"), of("done")];
  lane.task("make what is missing in the rootfs, each in its parent, nothing outside", {
    error: `make mountpoint "{item}"`,
    each: items,
  });
  lane.set("make.to", path).set("make.from", slot("make.path"));
  copyText(lane, path.plus(PATH_SIZE - 1));
  lane.store(1, 0, slot("make.to"));
  lane.set(links, 0);
  // From the beginning: behind "./".
  lane.label(walk).set(at, path.plus(2));
  lane.label(scan).set(end, slot(at));
  lane.label(byte).load(char, 1, slot(end));
  lane.jump(scanned, { left: slot(char), is: "==", right: 0 }).jump(scanned, {
    left: slot(char),
    is: "==",
    right: SLASH,
  });
  lane.set(end, slot(end), 1).jump(byte);
  lane.label(scanned).store(1, 0, slot(end));
  lane.jump(last, { left: slot(char), is: "==", right: 0 });
  openBeneath(lane, slot("make.root"), path, "directory", { out: "make.fd", tolerate: [E.NOENT], to: missing });
  lane.jump(there).label(last);
  openBeneath(lane, slot("make.root"), path, "any", { out: "make.fd", tolerate: [E.NOENT], to: missing });
  lane.label(there).close("make.fd");
  lane.store(1, slot(char), slot(end)).jump(done, { left: slot(char), is: "==", right: 0 });
  lane.set(at, slot(end), 1).jump(scan);
  // In its parent, whose path ends where the name begins.
  lane.label(missing).store(1, 0, slot(at), -1);
  openBeneath(lane, slot("make.root"), path, "directory", { out: "make.parent" });
  lane.store(1, SLASH, slot(at), -1);
  const known = { tolerate: [E.EXIST], to: exists };
  lane.jump(directory, { left: slot(char), is: "!=", right: 0 });
  lane.jump(file, { left: slot("make.file"), is: "!=", right: 0 });
  lane.label(directory).sys("mkdirat", [slot("make.parent"), slot(at), 0o755], known);
  lane.jump(made).label(file);
  lane.sys("mknodat", [slot("make.parent"), slot(at), S.IFREG | 0o644, 0], known);
  lane.label(made).close("make.parent");
  lane.store(1, slot(char), slot(end)).jump(walk);
  // Made by someone else meanwhile, or a symlink that leads nowhere: then what it leads to is made. Its text takes the
  // place of its name (a path from "/" on that of all before it), and the walk begins anew.
  lane.label(exists).set(links, slot(links), 1);
  lane.fail("too many symbolic links", { left: slot(links), is: "==", right: LINKS_MAX }, E.LOOP);
  lane.sys("readlinkat", [slot("make.parent"), slot(at), link, LINK_SIZE - 1], {
    out: "make.length",
    tolerate: [E.INVAL, E.NOENT],
    to: made,
  });
  lane.close("make.parent");
  lane.store(1, 0, slot("make.length"), link);
  // The rest of the path goes behind the link's text first, in a buffer of its own.
  const rest = b.buffer("make rest", PATH_SIZE);
  lane.set("make.to", rest).set("make.from", slot(end));
  lane.store(1, slot(char), slot(end));
  copyText(lane, rest.plus(PATH_SIZE - 1));
  lane.store(1, 0, slot("make.to"));
  lane.set("make.to", slot(at)).set("make.from", link).load(char, 1, link);
  lane.jump(relative, { left: slot(char), is: "!=", right: SLASH });
  lane.set("make.to", path.plus(1));
  lane.label(relative);
  copyText(lane, path.plus(PATH_SIZE - 1));
  lane.set("make.from", rest);
  copyText(lane, path.plus(PATH_SIZE - 1));
  lane.store(1, 0, slot("make.to")).jump(walk);
  lane.label(done).jumpBack("make.back");
  return { label, items };
}

/** Copies bytes from slot "make.from" to "make.to", up to a NUL, which is not copied. */
function copyText(lane: Lane, full: Operand): void {
  const [copy, end] = [lane.builder.unique("copy"), lane.builder.unique("copied")];
  const [from, to, byte] = ["make.from", "make.to", "make.byte"] as const;
  lane.label(copy).load(byte, 1, slot(from)).jump(end, { left: slot(byte), is: "==", right: 0 });
  lane.fail("the path is too long", { left: slot(to), is: "==", right: full }, E.NAMETOOLONG);
  lane.store(1, slot(byte), slot(to)).set(from, slot(from), 1).set(to, slot(to), 1).jump(copy);
  lane.label(end);
}
