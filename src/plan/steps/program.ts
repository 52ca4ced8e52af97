/** The program: its environment, where it lies in the container's PATH, and the execve that ends the runtime's part. */
import { AT, AT_FDCWD, S, S_IFMT, STATX, STATX_FIELD, STATX_SIZE } from "../../abi/flags.ts";
import { E, errnoText } from "../../abi/errno.ts";
import { RunkError } from "../../errors.ts";
import type { Process } from "../../spec/schema.ts";
import { type Lane, size, slot, text, words } from "../builder.ts";
import { byteLength } from "../recipe.ts";
import type { Operand } from "../types.ts";
import { type Confinement, refusal } from "./seccomp.ts";

const HOME_MAX = 4096;
const [COLON, NEWLINE] = [58, 10];
const PROT_READ = 1;
const MAP_PRIVATE = 2;
const ALL = 0xffffffff;

export interface Environment {
  /** NAME=VALUE, each name once. */
  readonly entries: readonly string[];
  /** HOME is to be looked up in the container's /etc/passwd. */
  readonly needsHome: boolean;
  readonly path: string;
}

/**
 * The environment as runc makes it: of entries with the same name the last one counts, an empty HOME counts as none.
 * @throws {RunkError} for an entry without a name or "="
 */
export function environmentOf(process: Process): Environment {
  const seen = new Set<string>();
  const entries: string[] = [];
  let path = "";
  let needsHome = true;
  for (const entry of (process.env ?? []).toReversed()) {
    const equals = entry.indexOf("=");
    if (equals < 0) {
      throw new RunkError(
        `invalid environment variable: missing '=': ${JSON.stringify(entry)} [config.json /process/env]`,
      );
    }
    if (equals === 0) {
      throw new RunkError("invalid environment variable: name cannot be empty [config.json /process/env]");
    }
    const name = entry.slice(0, equals);
    if (seen.has(name)) continue;
    seen.add(name);
    if (name === "PATH") path = entry.slice(equals + 1);
    if (name === "HOME") {
      needsHome = equals === entry.length - 1;
      if (needsHome) continue;
    }
    entries.unshift(entry);
  }
  return { entries, needsHome, path };
}

/** The environment as an array for execve; its last entry is HOME where that is looked up. */
export function environmentWords(lane: Lane, environment: Environment): Operand {
  const home: Operand[] = environment.needsHome ? [lane.builder.buffer("home", HOME_MAX)] : [];
  return words([...environment.entries.map(text), ...home, 0], `[${environment.entries.map(nameOf).join(" ")} …]`);
}
const nameOf = (entry: string) => entry.slice(0, entry.indexOf("="));

/**
 * Finds the home directory of a user in the container's /etc/passwd: the line whose third field is the uid, its sixth
 * field. "/" where there is none. The file is the container's and may hold anything.
 */
export function findHome(lane: Lane, environment: Environment, uid: number): void {
  if (!environment.needsHome) return;
  const b = lane.builder;
  const home = b.buffer("home", HOME_MAX, { bytes: new TextEncoder().encode("HOME=/") });
  const statx = b.buffer("statx", STATX_SIZE);
  const [none, line, field, compare, found, skip, copy] = ["none", "line", "field", "compare", "found", "skip", "copy"]
    .map((name) => `home: ${name}`) as [
      ...[string, string, string, string, string, string, string],
    ];
  const [at, end, char, count, wanted, digit, to] = ["at", "end", "char", "fields", "wanted", "digit", "to"].map((
    name,
  ) => `home.${name}`) as [...[string, string, string, string, string, string, string]];
  const is = (right: Operand) => ({ left: slot(char), is: "==" as const, right });
  const next = () =>
    lane.jump(none, { left: slot(at), is: "==", right: slot(end) }).load(char, 1, slot(at)).set(at, slot(at), 1);

  lane.task(`look up the home directory of user ${uid}, because the environment has no HOME`, { path: "/process/env" });
  const flags = b.O.CLOEXEC | b.O.NONBLOCK | b.O.NOCTTY;
  const absent = { tolerate: [E.NOENT, E.ACCES, E.NOTDIR, E.LOOP, E.NXIO, E.PERM], to: none };
  lane.sys("openat", [AT_FDCWD, text("/etc/passwd"), flags], { out: "passwd", ...absent });
  lane.sys("statx", [slot("passwd"), text(""), AT.EMPTY_PATH, STATX.TYPE | STATX.SIZE, statx]);
  lane.load("mode", 2, statx, STATX_FIELD.mode).load("size", 8, statx, STATX_FIELD.size);
  lane.jump(none, { left: slot("mode"), is: "!=", right: S.IFREG, mask: S_IFMT });
  lane.jump(none, { left: slot("size"), is: "==", right: 0 });
  const unmappable = { tolerate: [E.NODEV, E.ACCES, E.NOMEM], to: none };
  lane.sys("mmap", [0, slot("size"), PROT_READ, MAP_PRIVATE, slot("passwd"), 0], { out: "text", ...unmappable });
  lane.close("passwd");
  lane.set(at, slot("text")).set(end, slot("text"), slot("size"));
  // A line: skip two fields, compare the third with the uid.
  lane.label(line).set(count, 0);
  lane.label(field);
  next();
  lane.jump(line, is(NEWLINE));
  lane.jump(field, { left: slot(char), is: "!=", right: COLON });
  lane.set(count, slot(count), 1).jump(field, { left: slot(count), is: "!=", right: 2 });
  lane.set(wanted, text(`${uid}:`));
  lane.label(compare).load(digit, 1, slot(wanted)).jump(found, { left: slot(digit), is: "==", right: 0 });
  next();
  lane.set(wanted, slot(wanted), 1).jump(compare, is(slot(digit)));
  lane.jump(line, is(NEWLINE));
  lane.label(skip);
  next();
  lane.jump(line, is(NEWLINE)).jump(skip);
  // Found: the sixth field is two further on.
  lane.label(found).set(count, 0);
  lane.label("home: to the directory");
  next();
  lane.jump(none, is(NEWLINE));
  lane.jump("home: to the directory", { left: slot(char), is: "!=", right: COLON });
  lane.set(count, slot(count), 1).jump("home: to the directory", { left: slot(count), is: "!=", right: 2 });
  lane.set(to, home.plus(byteLength("HOME=")));
  const full = home.plus(HOME_MAX - 1);
  lane.label(copy).jump("home: done", { left: slot(at), is: "==", right: slot(end) });
  lane.load(char, 1, slot(at)).jump("home: done", is(COLON)).jump("home: done", is(NEWLINE));
  lane.jump("home: done", { left: slot(to), is: "==", right: full });
  lane.store(1, slot(char), slot(to)).set(to, slot(to), 1).set(at, slot(at), 1).jump(copy);
  lane.label("home: done").store(1, 0, slot(to));
  lane.sys("munmap", [slot("text"), slot("size")]);
  lane.label(none);
}

/**
 * Finds args[0] as the user who will run it: in slot "program". Not finding it is create's error, in runc's words,
 * which clients match.
 */
export function findProgram(lane: Lane, process: Process, environment: Environment): void {
  const b = lane.builder;
  const name = process.args?.[0] ?? "";
  const statx = b.buffer("statx", STATX_SIZE);
  const quoted = JSON.stringify(name);
  const path = { path: "/process/args/0" };
  lane.task("find the program", { ...path, error: `exec: ${quoted}` });
  if (name.includes("/")) {
    const found = b.unique("found");
    const failed = b.unique("not found");
    const absent = [E.NOENT, E.NOTDIR, E.LOOP, E.ACCES];
    lane.sys("statx", [AT_FDCWD, text(name), 0, STATX.TYPE, statx], { out: "found", tolerate: absent, to: failed });
    lane.load("mode", 2, statx, STATX_FIELD.mode);
    lane.fail(`exec: ${quoted}: ${errnoText(E.ISDIR)}`, { left: slot("mode"), is: "==", right: S.IFDIR, mask: S_IFMT });
    lane.sys("faccessat2", [AT_FDCWD, text(name), 1, AT.EACCESS], {
      out: "found",
      tolerate: [E.ACCES, E.PERM],
      to: failed,
    });
    lane.set("program", text(name)).jump(found).label(failed);
    for (const errno of [E.NOENT, E.NOTDIR, E.LOOP]) {
      lane.fail(`exec: ${quoted}: stat ${name}: ${errnoText(errno)}`, { left: slot("found"), is: "==", right: -errno });
    }
    lane.fail(`exec: ${quoted}: ${errnoText(E.ACCES)}`);
    lane.label(found);
    return;
  }
  const found = b.unique("found");
  // As Go's LookPath: an empty element is the working directory.
  const candidates = environment.path.split(":").map((directory) => `${directory === "" ? "." : directory}/${name}`);
  lane.set("program", 0);
  const usable = name === "" || environment.path === "" ? [] : candidates;
  const anyRelative = usable.some((path) => !path.startsWith("/"));
  const columns = usable.map((path) => [text(path), ...(anyRelative ? [path.startsWith("/") ? 0 : 1] : [])]);
  lane.each(usable.map((item) => ({ item })), columns, ([candidate, relative], next) => {
    const absent = { tolerate: [E.NOENT, E.NOTDIR, E.ACCES, E.LOOP, E.NAMETOOLONG], to: next };
    lane.sys("statx", [AT_FDCWD, candidate!, 0, STATX.TYPE, statx], absent);
    lane.load("mode", 2, statx, STATX_FIELD.mode);
    lane.jump(next, { left: slot("mode"), is: "==", right: S.IFDIR, mask: S_IFMT });
    lane.sys("faccessat2", [AT_FDCWD, candidate!, 1, AT.EACCESS], { tolerate: [E.ACCES, E.PERM], to: next });
    if (relative !== undefined) {
      const where = "cannot run executable found relative to current directory";
      lane.fail(`exec: ${quoted}: ${where}`, { left: relative, is: "!=", right: 0 });
    }
    lane.set("program", candidate!).jump(found);
  });
  lane.fail(`exec: ${quoted}: executable file not found in $PATH`);
  lane.label(found);
}

/** Errors of execve that a user meets, with the text for the container's standard error. */
const EXEC_ERRORS = [E.NOEXEC, E.ACCES, E.NOENT, E.NOTDIR, E.PERM, E.TXTBSY] as const;
/** Exit status of a container that ends before its program: what it would have said stands on its standard error. */
export const EXEC_FAILED = 255;

/**
 * Closes everything but standard and preserved descriptors: not only marked, because the program's path could lead
 * through one of them (CVE-2024-21626). One by one where the filter, loaded already, knows no better: an old profile.
 */
export function closeAll(lane: Lane, preserveFds: number, confinement: Confinement | undefined): void {
  const first = 3 + preserveFds;
  lane.task("close every descriptor that the program is not to have");
  const isLoaded = confinement?.loaded !== "last";
  if (!isLoaded || refusal(confinement, "close_range", [first, ALL, 0]) === undefined) {
    lane.sys("close_range", [first, ALL, 0]);
    return;
  }
  const each = lane.builder.unique("each descriptor");
  lane.set("descriptor", first).label(each);
  lane.sys("close", [slot("descriptor")], { tolerate: [E.BADF] }).set("descriptor", slot("descriptor"), 1);
  lane.jump(each, { left: slot("descriptor"), is: "<", right: first + DESCRIPTORS_MAX });
}
/** More than a plan has open: the kernel gives the lowest number that is free. */
const DESCRIPTORS_MAX = 1024;

/** Runs the program; a failure is the container's own end. */
export function runProgram(lane: Lane, process: Process, environment: Environment): void {
  const b = lane.builder;
  const args = process.args ?? [];
  const failed = b.unique("execve failed");
  lane.task("run the program", { path: "/process/args", error: `exec ${args[0]}` });
  const [unusual, end] = [b.unique("unusual error"), b.unique("end")];
  lane.failingTo(unusual, () => {
    lane.sys("execve", [
      slot("program"),
      words([...args.map(text), 0], JSON.stringify(args)),
      environmentWords(lane, environment),
    ], {
      out: "failure",
      tolerate: EXEC_ERRORS,
      to: failed,
    });
  });
  lane.label(failed);
  lane.task("tell the container's standard error why the program does not run", { path: "/process/args" });
  const writable = { tolerate: [E.BADF, E.PIPE, E.AGAIN, E.IO] };
  const lines = EXEC_ERRORS.map((errno) => `exec ${args[0]}: ${errnoText(errno)}\n`);
  lane.each(
    lines.map((item) => ({ item })),
    lines.map((line, i) => [-EXEC_ERRORS[i]!, text(line), size(line)]),
    ([errno, line, length], next) => {
      lane.jump(next, { left: slot("failure"), is: "!=", right: errno! });
      lane.sys("write", [2, line!, length!], writable);
      lane.jump(end);
    },
  );
  lane.label(unusual);
  const start = `exec ${args[0]}: error number `;
  const line = b.buffer("error line", byteLength(start) + 24, { bytes: new TextEncoder().encode(start) });
  lane.format(slot("errno"), line.plus(byteLength(start)), "digits");
  lane.sys("write", [2, line, byteLength(start)], writable);
  lane.sys("write", [2, line.plus(byteLength(start)), slot("digits")], writable);
  lane.label(end).sys("exit_group", [EXEC_FAILED]);
}
