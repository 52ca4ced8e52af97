/**
 * Cgroup directories, limits and membership. The host lane makes the directories, writes the limits and opens the files
 * to join by; the container's process joins by itself, writing "0" ("me") into each hierarchy's tasks file: alone in its
 * thread group it needs no lock there, where writing its pid from outside waits 5 to 12 ms for RCU.
 */
import { AT, AT_FDCWD } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import type { CgroupDirectory } from "../../cgroup/paths.ts";
import type { CgroupWrite } from "../../cgroup/writes.ts";
import { type Lane, size, slot, text, words } from "../builder.ts";
import type { Recipe } from "../recipe.ts";
import { limitV1 } from "./cgroups_v1.ts";
import { limitV2 } from "./cgroups_v2.ts";

const DIRECTORY_MODE = 0o755;
/** Removing a cgroup whose last process has just died can take the kernel a moment: tries, nanoseconds between. */
const REMOVE_TRIES = 100;
const REMOVE_PAUSE = 5_000_000;
const PATH = "/linux/cgroupsPath";
const UNIFIED = "unified cgroup";

const isUnified = ({ controllers }: CgroupDirectory) => controllers.includes("");
/** Host lane: directories, limits, descriptors to join by. */
export function makeCgroups(recipe: Recipe): void {
  const { host, facts: { cgroups: { version } }, request: { cgroups } } = recipe;
  const resources = recipe.spec.linux?.resources ?? {};
  // Disabled, or a host without any.
  if (cgroups.length === 0 && version !== "none") return;
  makeDirectories(host, cgroups);
  if (version === "v2") limitV2(recipe, resources);
  else limitV1(recipe, resources);
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
export function ladder({ path, base }: CgroupDirectory): string[] {
  const result: string[] = [];
  for (let at = path; at.length > base.length; at = parentOf(at)) result.unshift(at);
  return result;
}

export const parentOf = (path: string) => path.slice(0, path.lastIndexOf("/"));

/** Writes limits in order; one that only the controller's later values make right is written once more at the end. */
export function writeLimits(host: Lane, directory: string, writes: readonly CgroupWrite[]): void {
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
