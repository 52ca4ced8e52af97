/**
 * Cgroup directories, limits and membership. The host lane makes the directories, writes the limits and opens the files
 * to join by; the container's process joins by itself, writing "0" ("me") into each hierarchy's tasks file: alone in its
 * thread group it needs no lock there, where writing its pid from outside waits 5 to 12 ms for RCU.
 */
import { AT, AT_FDCWD } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import type { CgroupDirectory } from "../../cgroup/paths.ts";
import { deviceRules, deviceWritesV1 } from "../../cgroup/devices.ts";
import { type CgroupWrite, writesV1 } from "../../cgroup/v1.ts";
import { RunkError } from "../../errors.ts";
import { type Lane, size, slot, text, words } from "../builder.ts";
import type { Recipe } from "../recipe.ts";

const DIRECTORY_MODE = 0o755;
const READ_SIZE = 4096;
/** Removing a cgroup whose last process has just died can take the kernel a moment: tries, nanoseconds between. */
const REMOVE_TRIES = 100;
const REMOVE_PAUSE = 5_000_000;
const PATH = "/linux/cgroupsPath";
const UNIFIED = "unified cgroup";

const isUnified = ({ controllers }: CgroupDirectory) => controllers.includes("");
/** Host lane: directories, limits, descriptors to join by. */
export function makeCgroups({ host, spec, request }: Recipe): void {
  const resources = spec.linux?.resources;
  const { cgroups } = request;
  const writes = writesV1(resources ?? {});
  const missing = writes.find(({ controller }) => !cgroups.some(({ controllers }) => controllers.includes(controller)));
  if (missing !== undefined) {
    throw new RunkError(
      `cannot set ${missing.controller} limit: the ${missing.controller} controller is not mounted [config.json ${missing.path}]`,
    );
  }
  if (cgroups.length === 0) return;
  makeDirectories(host, cgroups);
  for (const directory of cgroups) {
    for (const controller of directory.controllers) {
      const own = writes.filter((write) => write.controller === controller);
      if (controller === "cpuset") inheritCpuset(host, directory, own);
      if (controller === "devices") limitDevices(host, directory, deviceRules(resources));
      writeLimits(host, directory.path, own);
    }
  }
  openCgroups(host, tasksFiles(cgroups), unifiedPath(cgroups));
}

/** Host lane: descriptors for joinCgroups, and of the unified cgroup for the clone in slot "unified cgroup". */
export function openCgroups(host: Lane, files: readonly string[], unified: string | undefined): void {
  const b = host.builder;
  const places = b.buffer("tasks files", 8 * files.length);
  host.task("open the cgroups' tasks files, for the container's process to join by", {
    path: PATH,
    error: "cannot open {item}",
  });
  host.each(
    files.map((item) => ({ item })),
    files.map((path, i) => [text(path), places.plus(8 * i)]),
    ([path, place]) => {
      host.sys("openat", [AT_FDCWD, path!, b.O.WRONLY | b.O.CLOEXEC], { out: "file" });
      host.store(8, slot("file"), place!);
    },
  );
  if (unified === undefined) return;
  host.task("open the unified cgroup, for the container's process to be born in", { path: PATH });
  host.sys("openat", [AT_FDCWD, text(unified), b.O.DIRECTORY | b.O.CLOEXEC], { out: UNIFIED });
}

/** Container lane: join every v1 hierarchy; clone3 already put the process into the unified one. */
export function joinCgroups(box: Lane, files: readonly string[], unified: string | undefined): void {
  const places = box.builder.buffer("tasks files", 8 * files.length);
  box.task("join the cgroups", { path: PATH, error: "cannot join a cgroup through {item}" });
  box.each(files.map((item) => ({ item })), files.map((_, i) => [places.plus(8 * i)]), ([place]) => {
    box.load("file", 8, place!);
    box.sys("write", [slot("file"), text("0"), 1]);
    box.close("file");
  });
  if (unified !== undefined) box.close(UNIFIED);
}

/** By which files a process joins a container's v1 cgroups. */
export const tasksFiles = (directories: readonly CgroupDirectory[]): string[] =>
  directories.filter((directory) => !isUnified(directory)).map(({ path }) => `${path}/tasks`);

/** The slot with the unified hierarchy's directory, for CLONE_INTO_CGROUP; undefined where there is none. */
export const unifiedSlot = (
  unified: string | undefined,
): string | undefined => (unified === undefined ? undefined : UNIFIED);

/** The directory in the unified hierarchy. */
export const unifiedPath = (directories: readonly CgroupDirectory[]): string | undefined =>
  directories.find(isUnified)?.path;

/** Makes the directories, and those above them in their hierarchies; what was made is taken back if the container fails. */
function makeDirectories(host: Lane, directories: readonly CgroupDirectory[]): void {
  const paths = directories.flatMap(ladder);
  const made = host.builder.buffer("cgroups made", 8 * paths.length);
  const rows = paths.map((path, i) => [text(path), made.plus(8 * i)] as const);
  const all = paths.map((item) => ({ item, path: PATH }));
  host.builder.undo("remove the cgroups that were made", (undo) => {
    undo.each(all.toReversed(), rows.toReversed(), ([path, flag], next) => {
      const [again, busy] = [undo.builder.unique("remove"), undo.builder.unique("busy")];
      undo.load("made", 8, flag!).jump(next, { left: slot("made"), is: "==", right: 0 });
      undo.set("tries", 0).label(again);
      undo.sys("unlinkat", [AT_FDCWD, path!, AT.REMOVEDIR], { tolerate: [E.BUSY], to: busy });
      undo.jump(next).label(busy).set("tries", slot("tries"), 1);
      undo.sys("nanosleep", [words([0, REMOVE_PAUSE], "5 ms"), 0]);
      undo.jump(again, { left: slot("tries"), is: "<", right: REMOVE_TRIES });
      undo.fail("cgroup {item} stays busy", undefined, E.BUSY);
    });
  });
  host.task("make the cgroups", { path: PATH, error: "cannot make the cgroup {item}" });
  const leaves = new Set(directories.map(({ path }) => path));
  host.set("existing", 0);
  host.each(
    all,
    rows.map(([path, flag], i) => [path, flag, leaves.has(paths[i]!) ? 1 : 0]),
    ([path, flag, isLeaf], next) => {
      const exists = host.builder.unique("exists");
      host.sys("mkdirat", [AT_FDCWD, path!, DIRECTORY_MODE], { tolerate: [E.EXIST], to: exists });
      host.store(8, 1, flag!).jump(next);
      host.label(exists).set("existing", slot("existing"), isLeaf!);
    },
  );
  const unused = host.builder.unique("unused");
  host.task("let the starter look whether a cgroup that was there already is in use", { path: PATH });
  host.jump(unused, { left: slot("existing"), is: "==", right: 0 });
  host.builder.ask(host, "existing", []);
  host.label(unused);
}

/** The directories from below the one that exists down to a cgroup. */
function ladder({ path, base }: CgroupDirectory): string[] {
  const result: string[] = [];
  for (let at = path; at.length > base.length; at = parentOf(at)) result.unshift(at);
  return result;
}

const parentOf = (path: string) => path.slice(0, path.lastIndexOf("/"));

/** A v1 cpuset starts empty, and nothing can join it so: copy what the parent has, level by level. */
function inheritCpuset(host: Lane, directory: CgroupDirectory, own: readonly CgroupWrite[]): void {
  const { O } = host.builder;
  const [parent, child] = [host.builder.buffer("cpuset parent", READ_SIZE), host.builder.buffer("cpuset child", 8)];
  const files = ladder(directory).flatMap((path) =>
    ["cpuset.cpus", "cpuset.mems"]
      .filter((file) => path !== directory.path || !own.some((write) => write.file === file))
      .map((file) => ({ file: `${path}/${file}`, from: `${parentOf(path)}/${file}` }))
  );
  host.task("give cpuset cgroups what their parents have, where they have nothing", {
    path: PATH,
    error: "cannot set {item}",
  });
  host.each(
    files.map(({ file }) => ({ item: file, path: PATH })),
    files.map(({ file, from }) => [text(file), text(from)]),
    ([file, from]) => {
      const done = host.builder.unique("inherited");
      host.sys("openat", [AT_FDCWD, file!, O.RDWR | O.CLOEXEC], { out: "file" });
      host.sys("read", [slot("file"), child, 8], { out: "length" });
      // An empty list reads as one line end.
      host.jump(done, { left: slot("length"), is: "!=", right: 1 });
      host.sys("openat", [AT_FDCWD, from!, O.CLOEXEC], { out: "from" });
      host.sys("read", [slot("from"), parent, READ_SIZE], { out: "length" });
      host.sys("write", [slot("file"), parent, slot("length")]);
      host.close("from").label(done).close("file");
    },
  );
}

/** Rules go into devices.deny and devices.allow one by one, in order. */
function limitDevices(host: Lane, { path }: CgroupDirectory, rules: ReturnType<typeof deviceRules>): void {
  const { O } = host.builder;
  const files = ["devices.deny", "devices.allow"];
  host.task("limit access to devices", { path: "/linux/resources/devices" });
  for (const file of files) {
    host.sys("openat", [AT_FDCWD, text(`${path}/${file}`), O.WRONLY | O.CLOEXEC], { out: file });
  }
  const writes = deviceWritesV1(rules);
  host.each(
    writes.map(({ file, value, path }) => ({
      item: `${file.replace("devices.", "")} "${value}"`,
      ...(path === undefined ? {} : { path }),
    })),
    // Which of the two files is a number here, and a slot in the loop.
    writes.map(({ file, value }) => [files.indexOf(file), text(value), size(value)]),
    ([file, value, length], next) => {
      const allow = host.builder.unique("allow");
      host.jump(allow, { left: file!, is: "==", right: 1 });
      host.sys("write", [slot("devices.deny"), value!, length!]);
      host.jump(next);
      host.label(allow).sys("write", [slot("devices.allow"), value!, length!]);
    },
  );
  host.close(...files);
}

/** Writes limits in order; one that only the controller's later values make right is written once more at the end. */
function writeLimits(host: Lane, directory: string, writes: readonly CgroupWrite[]): void {
  const retries: { write: CgroupWrite; flag: string }[] = [];
  for (const write of writes) {
    task(host, write);
    if (write.retryOn === undefined) {
      writeFile(host, directory, write);
      continue;
    }
    const flag = `retry ${write.file}`;
    const [late, done] = [host.builder.unique("late"), host.builder.unique("written")];
    retries.push({ write, flag });
    writeFile(host, directory, write, late);
    host.jump(done).label(late).set(flag, 1).close("file").label(done);
  }
  for (const { write, flag } of retries) {
    const done = host.builder.unique("written");
    task(host, write);
    host.jump(done, { left: slot(flag), is: "==", right: 0 });
    writeFile(host, directory, write);
    host.label(done);
  }
}

const task = (host: Lane, { file, value, path }: CgroupWrite) =>
  host.task(`set ${file} to ${value}`, { path, error: `cannot set ${file} to ${JSON.stringify(value)}` });

function writeFile(host: Lane, directory: string, write: CgroupWrite, retryLabel?: string): void {
  const { O } = host.builder;
  const [other, open, done] = ["other name", "open", "done"].map((name) => host.builder.unique(name)) as [
    string,
    string,
    string,
  ];
  const flags = O.WRONLY | O.CLOEXEC;
  if (write.otherFile !== undefined) {
    host.sys("openat", [AT_FDCWD, text(`${directory}/${write.file}`), flags], {
      out: "file",
      tolerate: [E.NOENT],
      to: other,
    });
    host.jump(open).label(other);
  }
  const absent = write.tolerate === undefined ? {} : { tolerate: write.tolerate, to: done };
  host.sys("openat", [AT_FDCWD, text(`${directory}/${write.otherFile ?? write.file}`), flags], {
    out: "file",
    ...absent,
  });
  const late = retryLabel === undefined ? {} : { tolerate: write.retryOn!, to: retryLabel };
  host.label(open).sys("write", [slot("file"), text(write.value), size(write.value)], late);
  host.close("file").label(done);
}
