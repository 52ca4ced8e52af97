/** The container's root: a private mount tree, the rootfs in it, and the change of root. */
import {
  AT,
  AT_FDCWD,
  FSCONFIG,
  FSMOUNT,
  FSOPEN,
  MNT,
  MOUNT_ATTR,
  MOVE_MOUNT,
  MS,
  MSG,
  OPEN_TREE,
} from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { type Lane, type PlanBuilder, slot, text, words } from "../builder.ts";
import { cleanPath } from "../../spec/clean_path.ts";
import { PROPAGATION } from "../../spec/mount_options.ts";
import { type Recipe, rootfsDirectory } from "../recipe.ts";
import { MESSAGE, type Operand, type Ref, TEXT } from "../types.ts";

export const MOUNT_ATTR_SIZE = 32;
/** The bits of MS_* that name a propagation type. */
const TYPES = MS.PRIVATE | MS.SLAVE | MS.SHARED | MS.UNBINDABLE;
const TYPE_NAMES: Record<number, string> = {
  [MS.PRIVATE]: "private",
  [MS.SLAVE]: "slave",
  [MS.SHARED]: "shared",
  [MS.UNBINDABLE]: "unbindable",
};

/** struct mount_attr */
export function mountAttr(set: number, clear: number, propagation = 0, userns = 0) {
  const names = [
    set === 0 ? "" : `set ${attributeNames(set)}`,
    clear === 0 ? "" : `clear ${attributeNames(clear)}`,
    propagation === 0 ? "" : TYPE_NAMES[propagation]!,
  ];
  return words([set, clear, propagation, userns], `{${names.filter((name) => name !== "").join(", ")}}`);
}

const attributeNames = (value: number) =>
  Object.entries(MOUNT_ATTR).filter(([, bit]) => (value & bit) !== 0).map(([name]) => name.toLowerCase()).join("|") ||
  "0";

/** Sets the propagation type of a mount: in a slot, or at the path "/" or "."; recursively with MS_REC among the flags. */
export function setPropagation(lane: Lane, mount: "/" | "." | Ref, flags: number): void {
  const recursive = flags & MS.REC ? AT.RECURSIVE : 0;
  const target: Operand[] = typeof mount === "string"
    ? [AT_FDCWD, text(mount), recursive]
    : [mount, text(""), AT.EMPTY_PATH | recursive];
  lane.sys("mount_setattr", [...target, mountAttr(0, 0, flags & TYPES), MOUNT_ATTR_SIZE]);
}

/**
 * Propagation of the container's mount tree while it is set up: linux.rootfsPropagation, or recursive slave. What is to be
 * unbindable is private until the end, because mounts are taken from it.
 */
function treePropagation({ spec }: Pick<Recipe, "spec">): number {
  const flags = PROPAGATION[spec.linux?.rootfsPropagation ?? ""] ?? (MS.SLAVE | MS.REC);
  return flags & MS.UNBINDABLE ? MS.PRIVATE | (flags & MS.REC) : flags;
}

/** Container lane: the mount tree leaves the host's peer groups; before anything is taken out of it. */
export function leaveHostsPeers(recipe: Recipe): void {
  recipe.box.task("keep mounts made here from reaching the host", { path: "/linux/rootfsPropagation" });
  setPropagation(recipe.box, "/", treePropagation(recipe));
}

/**
 * Hooks that run while the host's root is still there look for the rootfs, and what is mounted in it, at its path: they
 * may enter the container's mount namespace to mount more. A shared tree is the exception: a mount made in it would be
 * made on the host.
 */
const staysAtItsPath = (recipe: Recipe): boolean => {
  const { prestart = [], createRuntime = [], createContainer = [] } = recipe.spec.hooks ?? {};
  return prestart.length + createRuntime.length + createContainer.length > 0 && !(treePropagation(recipe) & MS.SHARED);
};

/**
 * Container lane: the rootfs becomes a mount (in slot "rootfs"), on top of "/" where no hook looks for it: its path is
 * looked up once, and pivot_root needs a mount, not a particular place for it.
 */
export function mountRootfs(recipe: Recipe): void {
  const { b, box, spec } = recipe;
  const isAtItsPath = staysAtItsPath(recipe);
  box.task("take the rootfs with all that is mounted in it", {
    path: "/root/path",
    error: `invalid rootfs: ${JSON.stringify(rootfsDirectory(recipe))}`,
  });
  const tree = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE;
  const path = text(rootfsDirectory(recipe));
  if (isAtItsPath) {
    box.sys("openat", [AT_FDCWD, path, b.O.PATH | b.O.DIRECTORY | b.O.CLOEXEC], { out: "place" });
    box.sys("open_tree", [slot("place"), text(""), tree | AT.EMPTY_PATH], { out: "rootfs" });
  } else {
    box.sys("open_tree", [AT_FDCWD, path, tree], { out: "rootfs" });
  }
  // What is mounted in the rootfs later must not reach the mount it is taken from, and pivot_root refuses a shared parent.
  box.task("keep the rootfs itself from reaching the host", { path: "/linux/rootfsPropagation" });
  const type = treePropagation(recipe) & MS.SLAVE && spec.linux?.rootfsPropagation ? MS.SLAVE : MS.PRIVATE;
  setPropagation(box, slot("rootfs"), type);
  setPropagation(box, "/", type);
  if (isAtItsPath) {
    box.task("put the rootfs on top of itself, where hooks look for it", { path: "/root/path" });
    const onto = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH;
    box.sys("move_mount", [slot("rootfs"), text(""), slot("place"), text(""), onto]).close("place");
    return;
  }
  box.task("put the rootfs on top of /, to become the root", { path: "/root/path" });
  box.sys("move_mount", [slot("rootfs"), text(""), AT_FDCWD, text("/"), MOVE_MOUNT.F_EMPTY_PATH]);
}

/** Container lane: the rootfs becomes the root, and the host's mounts go. */
export function changeRoot(recipe: Recipe): void {
  const { b, box, request } = recipe;
  if (request.noPivot) return moveRoot(recipe);
  box.task("make the rootfs the root and detach the host's", {
    path: "/root/path",
    error: "error jailing process inside rootfs",
  });
  box.sys("openat", [AT_FDCWD, text("/"), b.O.PATH | b.O.DIRECTORY | b.O.CLOEXEC], { out: "old root" });
  box.sys("fchdir", [slot("rootfs")]);
  box.sys("pivot_root", [text("."), text(".")]);
  box.sys("fchdir", [slot("old root")]);
  // Slave, not private: the unmount below must not reach the host, and the host's own unmounts must still reach here.
  setPropagation(box, ".", MS.SLAVE | MS.REC);
  box.sys("umount2", [text("."), MNT.DETACH]);
  box.sys("chdir", [text("/")]);
  box.close("old root");
}

/**
 * --no-pivot, for hosts whose root is the initial ramfs. The host's /proc and /sys stay reachable underneath, and their
 * being mounted in full is what lets a container mount its own: they go first, or are covered where they cannot.
 */
function moveRoot(recipe: Recipe): void {
  const { b, box, facts } = recipe;
  box.task("hide the host's procfs and sysfs", { error: "error jailing process inside rootfs" });
  const flags = b.O.PATH | b.O.CLOEXEC;
  const mounts = facts.kernelMounts.filter((path) => !(path + "/").startsWith(rootfsDirectory(recipe) + "/"));
  box.each(mounts.map((item) => ({ item })), mounts.map((path) => [text(path.slice(1))]), ([path], next) => {
    const cover = b.unique("cover");
    // ENOENT: gone with a mount above it.
    box.sys("openat", [slot("old root"), path!, flags], { out: "hidden", tolerate: [E.NOENT], to: next });
    box.sys("fchdir", [slot("hidden")]);
    setPropagation(box, ".", MS.SLAVE | MS.REC);
    box.sys("umount2", [text("."), MNT.DETACH], { tolerate: [E.INVAL, E.PERM], to: cover });
    box.close("hidden").jump(next).label(cover);
    freshMount(box, "tmpfs", [], 0);
    const onto = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH;
    box.sys("move_mount", [slot("mount"), text(""), slot("hidden"), text(""), onto]);
    box.close("mount", "hidden");
  });
  box.task("make the rootfs the root", { path: "/root/path", error: "error jailing process inside rootfs" });
  if (staysAtItsPath(recipe)) {
    box.sys("move_mount", [slot("rootfs"), text(""), AT_FDCWD, text("/"), MOVE_MOUNT.F_EMPTY_PATH]);
  }
  box.sys("fchdir", [slot("rootfs")]).sys("chroot", [text(".")]).sys("chdir", [text("/")]);
}

/** Before the rootfs covers "/": keep the host's root for moveRoot. */
export function keepOldRoot({ b, box, request }: Recipe): void {
  if (!request.noPivot) return;
  box.task("keep the host's root, to hide its procfs and sysfs later");
  box.sys("openat", [AT_FDCWD, text("/"), b.O.PATH | b.O.DIRECTORY | b.O.CLOEXEC], { out: "old root" });
}

/** Container lane, after the change of root: the last word on the root itself. */
export function finishRoot({ box, spec }: Recipe): void {
  // As one of the read-only paths the root, too, is itself changed: what is mounted on top of it is seen by nobody.
  const at = spec.linux?.readonlyPaths?.findIndex((path) => cleanPath(path) === "/") ?? -1;
  if (!spec.root?.readonly && at < 0) return;
  const path = spec.root?.readonly ? "/root/readonly" : `/linux/readonlyPaths/${at}`;
  box.task("make the root read-only", { path, error: "error setting rootfs as readonly" });
  box.sys("mount_setattr", [AT_FDCWD, text("/"), 0, mountAttr(MOUNT_ATTR.RDONLY, 0), MOUNT_ATTR_SIZE]);
}

/** Container lane, when nothing is mounted any more: what is unbindable could not be bound from. */
export function setRootPropagation({ box, spec }: Recipe): void {
  const propagation = PROPAGATION[spec.linux?.rootfsPropagation ?? ""] ?? 0;
  if ((propagation & (MS.SHARED | MS.UNBINDABLE)) === 0) return;
  box.task("give the root its propagation", { path: "/linux/rootfsPropagation" });
  setPropagation(box, "/", propagation);
}

/** Where a refused file system goes: see addFileSystemWords. */
export const FILE_SYSTEM_WORDS = "file system's own words";
const WORDS_SIZE = 512;

/** Where a refused file system goes: the kernel's own words about it are read from its context and sent along. */
export function addFileSystemWords(b: PlanBuilder): void {
  if (!b.container.steps.some(({ fail }) => fail === FILE_SYSTEM_WORDS)) return;
  const lane = b.section("container", FILE_SYSTEM_WORDS);
  const words = b.buffer("file system's words", 8 + WORDS_SIZE, {
    words: [(BigInt(TEXT.NOTE) << 32n) | BigInt(MESSAGE.TEXT)],
  });
  lane.task("send the file system's own words about its failure");
  lane.sys("read", [slot("fs"), words.plus(8), WORDS_SIZE], {
    out: "length",
    tolerate: [E.NODATA, E.INVAL],
    to: lane.failLabel,
  });
  lane.set("length", slot("length"), 8);
  lane.sys("sendto", [slot("report"), words, slot("length"), MSG.NOSIGNAL, 0, 0]);
  lane.jump(lane.failLabel);
}

/** A file system's parameter: a flag, or a name with a value. */
export type Parameter = readonly [name: string, value?: string];
/** One whose value is a text that the plan's own steps write. */
export type WrittenParameter = readonly [name: string, value: Ref];

/**
 * A new file system, mounted nowhere yet: its mount in slot "mount".
 * @param attributes MOUNT_ATTR_* of the mount
 * @param refused label to go to when the kernel refuses it (EPERM), with slot "fs" open or not
 */
export function freshMount(
  lane: Lane,
  type: string,
  parameters: readonly (Parameter | WrittenParameter)[],
  attributes: number,
  refused?: string,
): void {
  const options = refused === undefined ? {} : { tolerate: [E.PERM], to: refused };
  lane.sys("fsopen", [text(type), FSOPEN.CLOEXEC], { out: "fs", ...options });
  lane.failingTo(FILE_SYSTEM_WORDS, () => {
    setParameters(lane, parameters);
    lane.sys("fsconfig", [slot("fs"), FSCONFIG.CMD_CREATE, 0, 0, 0], options);
    lane.sys("fsmount", [slot("fs"), FSMOUNT.CLOEXEC, attributes], { out: "mount", ...options });
  });
  lane.close("fs");
}

/** Parameters for the file system in slot "fs". */
export function setParameters(lane: Lane, parameters: readonly (Parameter | WrittenParameter)[]): void {
  for (const [name, value] of parameters) {
    if (value === undefined) lane.sys("fsconfig", [slot("fs"), FSCONFIG.SET_FLAG, text(name), 0, 0]);
    else {
      const known = typeof value === "string" ? text(value) : value;
      lane.sys("fsconfig", [slot("fs"), FSCONFIG.SET_STRING, text(name), known, 0]);
    }
  }
}
