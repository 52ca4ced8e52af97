/**
 * Cgroup directories, limits and membership. The host lane makes the directories, writes the limits and opens the files
 * to join by; the container's process joins by itself, writing "0" ("me") into each hierarchy's tasks file: alone in its
 * thread group it needs no lock there, where writing its pid from outside waits 5 to 12 ms for RCU.
 */
import { AT, AT_FDCWD } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import type { CgroupDirectory } from "../../cgroup/paths.ts";
import { withWholePercents } from "../../cgroup/quota.ts";
import type { CgroupWrite } from "../../cgroup/writes.ts";
import { type Lane, size, slot, type SyscallOptions, text, words } from "../builder.ts";
import { joinsWithUserNamespace, type Recipe } from "../recipe.ts";
import type { Ref } from "../types.ts";
import { limitV1 } from "./cgroups_v1.ts";
import { limitV2 } from "./cgroups_v2.ts";

export const DIRECTORY_MODE = 0o755;
/** Removing a cgroup whose last process has just died can take the kernel a moment: tries, nanoseconds between. */
const REMOVE_TRIES = 100;
const REMOVE_PAUSE = 5_000_000;
/** The same for a value that the kernel may take when it has had a moment. */
const PATIENCE_TRIES = 40;
const PATIENCE_PAUSE = 5_000_000;
const PATH = "/linux/cgroupsPath";
/** Slot with the directory that a process is born in. */
export const UNIFIED = "unified cgroup";

const isUnified = ({ controllers }: CgroupDirectory) => controllers.includes("");
/** The place of the flag that says whether a directory was made, and not there before. */
export type MadeFlag = (directory: CgroupDirectory) => Ref;

/**
 * Host lane: directories, limits, descriptors to join by.
 * @param enter adds steps for when the directories are there, and not yet their limits
 */
export function makeCgroups(recipe: Recipe, enter: () => void = () => {}): void {
  const { host, facts: { cgroups: { version } }, request: { cgroups, systemd } } = recipe;
  const { resources: asked = {} } = recipe.spec.linux ?? {};
  const resources = systemd === undefined ? asked : withWholePercents(asked);
  // Disabled, or a host without any.
  if (cgroups.length === 0 && version !== "none") return;
  const made = makeDirectories(host, cgroups);
  enter();
  if (version === "v2") limitV2(recipe, resources);
  else limitV1(recipe, resources, made);
  openCgroups(host, entrance(recipe));
}

/** How a process gets into cgroups. */
export interface Entrance {
  /** Files that it writes itself into. */
  readonly files: readonly string[];
  /** Directory of the unified hierarchy that it is born in. */
  readonly unified: string | undefined;
}

/**
 * The entrance of a new container: tasks files on v1, birth on v2. Who is cloned from within a user namespace has no
 * right to be born there, but can write through a file that was opened before.
 */
export function entrance(recipe: Pick<Recipe, "namespaces" | "request">): Entrance {
  const { cgroups, systemd } = recipe.request;
  if (systemd !== undefined) return { files: [], unified: undefined }; // see unit.ts
  const files = cgroups.filter((directory) => !isUnified(directory)).map(({ path }) => `${path}/tasks`);
  const unified = cgroups.find(isUnified)?.path;
  if (unified === undefined || !joinsWithUserNamespace(recipe)) return { files, unified };
  return { files: [...files, `${unified}/cgroup.procs`], unified: undefined };
}

/** Host lane: descriptors for joinCgroups, and of the unified cgroup for the clone in slot UNIFIED. */
export function openCgroups(host: Lane, { files, unified }: Entrance): void {
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
export function joinCgroups(box: Lane, { files, unified }: Entrance): void {
  const places = box.builder.buffer("tasks files", 8 * files.length);
  box.task("join the cgroups", { path: PATH, error: "cannot join a cgroup through {item}" });
  box.each(files.map((item) => ({ item })), files.map((_, i) => [places.plus(8 * i)]), ([place]) => {
    box.load("file", 8, place!);
    box.sys("write", [slot("file"), text("0"), 1]);
    box.close("file");
  });
  if (unified !== undefined) box.close(UNIFIED);
}

/**
 * Makes the directories, and those above them in their hierarchies; what was made is taken back if the container fails.
 * @returns where a directory's flag is: 1 when it was made
 */
function makeDirectories(host: Lane, directories: readonly CgroupDirectory[]): MadeFlag {
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
  host.each(all, rows, ([path, flag], next) => {
    host.sys("mkdirat", [AT_FDCWD, path!, DIRECTORY_MODE], { tolerate: [E.EXIST], to: next });
    host.store(8, 1, flag!);
  });
  const flags = new Map(paths.map((path, i) => [path, made.plus(8 * i)]));
  return ({ path }) => flags.get(path)!;
}

/** The directories from below the one that exists down to a cgroup. */
export function ladder({ path, base }: CgroupDirectory): string[] {
  const result: string[] = [];
  for (let at = path; at.length > base.length; at = parentOf(at)) result.unshift(at);
  return result;
}

/** The directory above. */
export const parentOf = (path: string) => path.slice(0, path.lastIndexOf("/"));

/** Writes limits in order; one that only the controller's later values make right is written once more at the end. */
export function writeLimits(host: Lane, directory: string, writes: readonly CgroupWrite[]): void {
  const retries: { write: CgroupWrite; flag: string }[] = [];
  for (const write of writes) {
    task(host, directory, write);
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
    task(host, directory, write);
    host.jump(done, { left: slot(flag), is: "==", right: 0 });
    writeFile(host, directory, write);
    host.label(done);
  }
}

const task = (host: Lane, directory: string, { file, value, path }: CgroupWrite) =>
  host.task(`set ${file} to ${value}`, {
    path,
    error: `failed to write ${JSON.stringify(value)} to ${directory}/${file}`,
  });

function writeFile(host: Lane, directory: string, write: CgroupWrite, retryLabel?: string): void {
  const { otherFile, value } = write;
  if (write.patientOn !== undefined) return writePatiently(host, directory, write, retryLabel);
  const flags = host.builder.O.WRONLY | host.builder.O.CLOEXEC;
  const done = host.builder.unique("done");
  const absent = write.tolerate === undefined ? {} : { tolerate: write.tolerate, to: done };
  const late = retryLabel === undefined ? {} : { tolerate: write.retryOn!, to: retryLabel };
  const open = (file: string, options: SyscallOptions) =>
    host.sys("openat", [AT_FDCWD, text(`${directory}/${file}`), flags], { out: "file", ...options });
  const put = (value: string) => host.sys("write", [slot("file"), text(value), size(value)], late);
  if (otherFile === undefined) {
    open(write.file, absent);
    put(value);
  } else {
    const { otherValue = value } = write;
    const [other, opened, written] = ["other name", "open", "written"].map((name) => host.builder.unique(name)) as [
      string,
      string,
      string,
    ];
    open(write.file, { tolerate: [E.NOENT], to: other });
    if (otherValue === value) host.jump(opened);
    else put(value).jump(written);
    host.label(other);
    open(otherFile, absent);
    host.label(opened);
    put(otherValue);
    host.label(written);
  }
  host.close("file").label(done);
}

/** As writeFile, for a value that the kernel may take when it has had a moment. */
function writePatiently(host: Lane, directory: string, write: CgroupWrite, retryLabel: string | undefined): void {
  const { O } = host.builder;
  const { file, value, path, retryOn = [], patientOn = [] } = write;
  const [again, refused, busy, done] = ["write again", "refused", "busy", "done"].map((name) =>
    host.builder.unique(name)
  ) as [string, string, string, string];
  host.sys("openat", [AT_FDCWD, text(`${directory}/${file}`), O.WRONLY | O.CLOEXEC], { out: "file" });
  host.set("tries", 0).label(again);
  host.sys("write", [slot("file"), text(value), size(value)], {
    out: "written",
    tolerate: [...patientOn, ...(retryLabel === undefined ? [] : retryOn)],
    to: refused,
  });
  host.close("file").jump(done).label(refused);
  if (retryLabel !== undefined) {
    for (const errno of patientOn) host.jump(busy, { left: slot("written"), is: "==", right: -errno });
    host.jump(retryLabel);
  }
  host.label(busy).set("tries", slot("tries"), 1);
  host.sys("nanosleep", [words([0, PATIENCE_PAUSE], "5 ms"), 0]);
  host.jump(again, { left: slot("tries"), is: "<", right: PATIENCE_TRIES });
  const [what, which] = path.split("/").slice(-2);
  host.fail(`unable to set ${what} ${which} to ${value}`, undefined, patientOn[0]);
  host.label(done);
}
