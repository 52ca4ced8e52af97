/**
 * The mounts of config.json, in order. Sources of bind mounts are opened before anything is mounted; a destination is
 * found beneath the rootfs's descriptor and mounted on through its own; nothing is looked up twice.
 */
import { AT, AT_FDCWD, FS_MAGIC, MOUNT_ATTR, MOUNT_ATTR__ATIME, MOVE_MOUNT, MS, OPEN_TREE } from "../../abi/flags.ts";
import { FSCONFIG, FSPICK, S, S_IFMT, STATX, STATX_FIELD, STATX_SIZE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { cleanPath } from "../../cgroup/paths.ts";
import type { Mount } from "../../spec/schema.ts";
import { type Lane, slot, text } from "../builder.ts";
import { attributesOf, type MountOptions, parseMountOptions, superblockFlags } from "../../spec/mount_options.ts";
import type { Recipe } from "../recipe.ts";
import type { Task } from "../types.ts";
import { components, makeDirectories, openBeneath } from "./beneath.ts";
import { mountCgroups } from "./cgroup_mount.ts";
import { contextParameter } from "./labels.ts";
import { freshMount, MOUNT_ATTR_SIZE, mountAttr, type Parameter, setPropagation } from "./rootfs.ts";

export const ONTO = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH;
const ATIME_FLAGS = MS.NOATIME | MS.NODIRATIME | MS.RELATIME | MS.STRICTATIME;
/** Places under /proc that lxcfs and others emulate; nothing else may be covered there. */
const ALLOWED_UNDER_PROC = [
  ...["/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime"],
  ...["/proc/loadavg", "/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"],
];

/** A mount of config.json with what its options mean. */
export interface MountEntry {
  readonly mount: Mount;
  readonly options: MountOptions;
  readonly isBind: boolean;
  readonly index: number;
  readonly task: Task;
  /** The destination, absolute and clean. */
  readonly destination: string;
}

export function mountEntries({ spec }: Pick<Recipe, "spec">): MountEntry[] {
  return (spec.mounts ?? []).map((mount, index) => {
    const options = parseMountOptions(mount.options ?? []);
    const isBind = (options.flags & MS.BIND) !== 0;
    const type = isBind ? "bind mount" : mount.type ?? "";
    return {
      mount,
      options,
      isBind,
      index,
      destination: cleanPath("/" + mount.destination),
      task: {
        why: `mount ${type} ${JSON.stringify(mount.source ?? "")} on ${JSON.stringify(mount.destination)}`,
        path: `/mounts/${index}`,
        error: `error mounting ${JSON.stringify(mount.source ?? "")} to rootfs at ${JSON.stringify(mount.destination)}`,
      },
    };
  });
}

const sourceSlot = ({ index }: MountEntry) => `source ${index}`;
const hostSourceSlot = ({ index }: MountEntry) => `host's source ${index}`;

/** The absolute path of a bind mount's source. */
function sourcePath({ request }: Recipe, { mount }: MountEntry): string {
  const source = mount.source ?? "";
  return source.startsWith("/") ? source : `${request.bundle}/${source}`;
}

const treeFlags = ({ options }: MountEntry) =>
  OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | (options.flags & MS.REC ? AT.RECURSIVE : 0);

/**
 * Host lane, for containers with a user namespace: the container's root may not be able to reach a source that the
 * caller can.
 */
export function openSourcesOnHost(recipe: Recipe): void {
  const { host, facts } = recipe;
  if (!recipe.namespaces.has("user") || facts.uid !== 0) return;
  for (const entry of mountEntries(recipe)) {
    if (!entry.isBind) continue;
    host.task(entry.task.why, { path: entry.task.path!, error: entry.task.error! });
    host.sys("open_tree", [AT_FDCWD, text(sourcePath(recipe, entry)), treeFlags(entry)], {
      out: hostSourceSlot(entry),
    });
  }
}

/** Container lane: the sources of bind mounts, each a mount tree of its own from here on. */
export function openSources(recipe: Recipe): void {
  const { b, box, facts } = recipe;
  const hasHostSources = recipe.namespaces.has("user") && facts.uid === 0;
  for (const entry of mountEntries(recipe)) {
    if (!entry.isBind) continue;
    box.task(entry.task.why, { path: entry.task.path!, error: entry.task.error! });
    const arguments_ = [AT_FDCWD, text(sourcePath(recipe, entry)), treeFlags(entry)] as const;
    if (!hasHostSources) {
      box.sys("open_tree", arguments_, { out: sourceSlot(entry) });
      continue;
    }
    const [unreachable, done] = [b.unique("unreachable"), b.unique("opened")];
    box.sys("open_tree", arguments_, { out: sourceSlot(entry), tolerate: [E.ACCES], to: unreachable });
    box.close(hostSourceSlot(entry)).jump(done).label(unreachable);
    box.set(sourceSlot(entry), slot(hostSourceSlot(entry)));
    setPropagation(box, slot(sourceSlot(entry)), MS.SLAVE | MS.REC);
    box.label(done);
  }
}

/** Container lane: all mounts. */
export function mountAll(recipe: Recipe): void {
  for (const entry of mountEntries(recipe)) {
    recipe.box.task(entry.task.why, { path: entry.task.path!, error: entry.task.error! });
    if (entry.isBind) mountBind(recipe, entry);
    else if (entry.mount.type === "cgroup") mountCgroups(recipe, entry);
    else if (entry.options.flags & MS.REMOUNT) remount(recipe, entry);
    else mountFresh(recipe, entry);
  }
}

/** Opens the destination in slot "destination", making it first where it is missing. */
export function openDestination(
  lane: Lane,
  entry: Pick<MountEntry, "destination" | "index">,
  kind: "any" | "ordinary directory",
  makeMissing: () => void,
): void {
  const [missing, found] = [lane.builder.unique("missing"), lane.builder.unique("found")];
  const { destination } = entry;
  openBeneath(lane, slot("rootfs"), text(destination), kind, { out: "destination", tolerate: [E.NOENT], to: missing });
  lane.jump(found).label(missing);
  makeMissing();
  openBeneath(lane, slot("rootfs"), text(destination), kind, { out: "destination" });
  lane.label(found);
}

const makeDirectory = (lane: Lane, { destination, index }: Pick<MountEntry, "destination" | "index">) =>
  makeDirectories(lane, destination, `/mounts/${index}/destination`);

/** Refuses a destination on procfs that is not in the list: its files steer the kernel and the runtime (CVE-2019-19921). */
function refuseProcfs(lane: Lane, { destination, mount }: MountEntry): void {
  if (ALLOWED_UNDER_PROC.includes(destination)) return;
  const statfs = lane.builder.buffer("statfs", 128);
  lane.sys("fstatfs", [slot("destination"), statfs]);
  lane.load("file system", 8, statfs);
  lane.fail(
    `error mounting ${JSON.stringify(mount.source ?? "")} to rootfs at ${JSON.stringify(mount.destination)}: ` +
      `${JSON.stringify(destination)} cannot be mounted because it is inside /proc`,
    { left: slot("file system"), is: "==", right: FS_MAGIC.PROC },
  );
}

function mountFresh(recipe: Recipe, entry: MountEntry): void {
  const { box } = recipe;
  const { mount, options, destination } = entry;
  const isKernel = mount.type === "proc" || mount.type === "sysfs";
  const statx = box.builder.buffer("statx", STATX_SIZE);
  const keepsMode = mount.type === "tmpfs" && !options.data.some((option) => /(^|,)mode=/.test(option));
  if (keepsMode) box.store(2, 0, statx, STATX_FIELD.mode);
  openDestination(box, entry, isKernel ? "ordinary directory" : "any", () => makeDirectory(box, entry));
  if (keepsMode) {
    box.sys("statx", [slot("destination"), text(""), AT.EMPTY_PATH, STATX.MODE, statx]);
    box.load("mode", 2, statx, STATX_FIELD.mode);
  }
  if (destination !== "/proc") refuseProcfs(box, entry);
  // Files are still to be made in these; they become read-only at the end.
  const isLate = isReadonlyLater(entry);
  const flags = isLate ? options.flags & ~MS.RDONLY : options.flags;
  const source: Parameter[] = mount.source ? [["source", mount.source]] : [];
  freshMount(
    box,
    mount.type ?? "",
    [
      ...source,
      ...superblockFlags(flags).map((name) => [name] as Parameter),
      ...parameters(options.data),
      ...(isKernel ? [] : contextParameter(recipe.spec.linux?.mountLabel)),
    ],
    attributesOf(flags),
  );
  if (keepsMode) box.sys("fchmodat", [slot("mount"), text("."), slot("mode")]);
  attach(recipe, entry, "mount");
  if (isLate) box.set(`mount ${entry.index}`, slot("mount"));
  else box.close("mount");
}

/** "mode=755,size=65536k" -> [["mode", "755"], ["size", "65536k"]]; a comma behind a backslash is part of the value. */
function parameters(data: readonly string[]): Parameter[] {
  return data.flatMap((option) => option.split(/(?<!\\),/)).map((option) => {
    const equals = option.indexOf("=");
    return equals < 0 ? [option] : [option.slice(0, equals), option.slice(equals + 1).replaceAll("\\,", ",")];
  });
}

function mountBind(recipe: Recipe, entry: MountEntry): void {
  const { b, box } = recipe;
  const { options, destination } = entry;
  const source = sourceSlot(entry);
  openDestination(box, entry, "any", () => makeTarget(box, entry, source));
  if (destination === "/proc") requireProcfs(box, entry, source);
  else refuseProcfs(box, entry);
  const asked = options.flags & ~(MS.BIND | MS.REC | MS.REMOUNT);
  if (asked !== 0 || options.cleared !== 0) {
    const set = attributesOf(options.flags);
    const setsAtime = (options.flags & ATIME_FLAGS) !== 0;
    const atime = setsAtime ? MOUNT_ATTR__ATIME | MOUNT_ATTR.NODIRATIME : 0;
    const { RDONLY, NOSUID, NODEV, NOEXEC, NOSYMFOLLOW } = MOUNT_ATTR;
    // A field that is set must be cleared as a whole; a bit must not be both.
    const clear = (RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW | atime) & ~(set & ~MOUNT_ATTR__ATIME);
    const [locked, done] = [b.unique("locked"), b.unique("flags set")];
    const target = [slot(source), text(""), AT.EMPTY_PATH] as const;
    box.sys("mount_setattr", [...target, mountAttr(set, clear), MOUNT_ATTR_SIZE], { tolerate: [E.PERM], to: locked });
    box.jump(done).label(locked);
    // In a user namespace the source's own restrictions cannot be lifted: add ours, lift what config.json lifts by name.
    const named = (attributesOf(options.cleared) | (setsAtime ? MOUNT_ATTR__ATIME : 0)) & ~(set & ~MOUNT_ATTR__ATIME);
    box.sys("mount_setattr", [...target, mountAttr(set, named), MOUNT_ATTR_SIZE]);
    box.label(done);
  }
  attach(recipe, entry, source);
  box.close(source);
}

/** A file for a file, a directory for a directory. */
function makeTarget(lane: Lane, entry: MountEntry, source: string): void {
  const b = lane.builder;
  const parts = components(entry.destination);
  const statx = b.buffer("statx", STATX_SIZE);
  const [file, made] = [b.unique("file"), b.unique("made")];
  lane.sys("statx", [slot(source), text(""), AT.EMPTY_PATH, STATX.TYPE, statx]);
  lane.load("mode", 2, statx, STATX_FIELD.mode);
  lane.jump(file, { left: slot("mode"), is: "!=", right: S.IFDIR, mask: S_IFMT });
  makeDirectory(lane, entry);
  lane.jump(made).label(file);
  const parent = "/" + parts.slice(0, -1).join("/");
  makeDirectories(lane, parent, `/mounts/${entry.index}/destination`);
  openBeneath(lane, slot("rootfs"), text(parent), "directory", { out: "parent" });
  const { O } = b;
  const flags = O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC;
  lane.sys("openat", [slot("parent"), text(parts.at(-1) ?? "."), flags, 0o644], { out: "file" });
  lane.close("file", "parent").label(made);
}

/** Only procfs may stand on /proc: the runtime and the container's programs believe what they find there. */
function requireProcfs(lane: Lane, { task, destination }: MountEntry, source: string): void {
  const statfs = lane.builder.buffer("statfs", 128);
  lane.sys("fstatfs", [slot(source), statfs]);
  lane.load("file system", 8, statfs);
  lane.fail(`${task.error}: ${JSON.stringify(destination)} cannot be mounted because it is not of type proc`, {
    left: slot("file system"),
    is: "!=",
    right: FS_MAGIC.PROC,
  });
}

/** A remount of what an earlier entry or the rootfs has there. */
function remount({ box }: Recipe, entry: MountEntry): void {
  const { options } = entry;
  openBeneath(box, slot("rootfs"), text(entry.destination), "any", { out: "destination" });
  box.sys("fspick", [slot("destination"), text(""), FSPICK.CLOEXEC | FSPICK.EMPTY_PATH], { out: "fs" });
  box.failingTo("file system's own words", () => {
    for (
      const [name, value] of [
        ...superblockFlags(options.flags).map((name) => [name] as Parameter),
        ...parameters(options.data),
      ]
    ) {
      if (value === undefined) box.sys("fsconfig", [slot("fs"), FSCONFIG.SET_FLAG, text(name), 0, 0]);
      else box.sys("fsconfig", [slot("fs"), FSCONFIG.SET_STRING, text(name), text(value), 0]);
    }
    box.sys("fsconfig", [slot("fs"), FSCONFIG.CMD_RECONFIGURE, 0, 0, 0]);
  });
  const [set, cleared] = [attributesOf(options.flags), attributesOf(options.cleared)];
  box.sys("mount_setattr", [slot("destination"), text(""), AT.EMPTY_PATH, mountAttr(set, cleared), MOUNT_ATTR_SIZE]);
  box.close("fs", "destination");
}

/** Puts the mount in a slot on slot "destination", then sets what holds for the tree and its propagation. */
export function attach({ box }: Recipe, { options }: Pick<MountEntry, "options">, mount: string): void {
  box.sys("move_mount", [slot(mount), text(""), slot("destination"), text(""), ONTO]);
  box.close("destination");
  if (options.recursive !== undefined) {
    const { set, clear } = options.recursive;
    const target = [slot(mount), text(""), AT.EMPTY_PATH | AT.RECURSIVE] as const;
    box.sys("mount_setattr", [...target, mountAttr(set, clear), MOUNT_ATTR_SIZE]);
  }
  for (const propagation of options.propagation) setPropagation(box, slot(mount), propagation);
}

const isReadonlyLater = ({ mount, options, destination, isBind }: MountEntry) =>
  !isBind && (options.flags & MS.RDONLY) !== 0 && (mount.type === "tmpfs" || destination === "/dev");

/** Container lane, after everything that makes files: the mounts that were to be read-only. */
export function finishReadonlyMounts(recipe: Recipe): void {
  for (const entry of mountEntries(recipe)) {
    if (!isReadonlyLater(entry)) continue;
    recipe.box.task(`make ${entry.destination} read-only, now that its files are made`, {
      path: `/mounts/${entry.index}`,
    });
    const target = [slot(`mount ${entry.index}`), text(""), AT.EMPTY_PATH] as const;
    recipe.box.sys("mount_setattr", [...target, mountAttr(MOUNT_ATTR.RDONLY, 0), MOUNT_ATTR_SIZE]);
    recipe.box.close(`mount ${entry.index}`);
  }
}

/** The container has a /dev of the runtime's making: nodes, links and console go into it. */
export const setsUpDev = (recipe: Recipe): boolean =>
  !mountEntries(recipe).some(({ isBind, destination }) => isBind && destination === "/dev");
