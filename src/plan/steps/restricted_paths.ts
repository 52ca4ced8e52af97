/**
 * linux.maskedPaths and linux.readonlyPaths, after the change of root. A path may lead over symlinks of the rootfs, so it
 * is opened once and mounted on through its descriptor; what masks a file is proven to be the null device.
 */
import { AT, AT_FDCWD, MOUNT_ATTR, OPEN_TREE, S, S_IFMT, STATX, STATX_FIELD, STATX_SIZE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { cleanPath } from "../../spec/clean_path.ts";
import { type Lane, slot, text } from "../builder.ts";
import type { Recipe } from "../recipe.ts";
import type { Operand } from "../types.ts";
import { openBeneath } from "./beneath.ts";
import { contextParameter } from "./labels.ts";
import { ONTO } from "./mounts.ts";
import { freshMount, MOUNT_ATTR_SIZE, mountAttr, type Parameter } from "./rootfs.ts";

const CLONE_TREE = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC;
const NULL_MAJOR = 1;
const NULL_MINOR = 3;

/** The first place in the config of each path; a second time would change nothing. */
const itemsOf = (paths: readonly string[], key: string) =>
  paths.map((path, i) => ({ item: path, path: `/linux/${key}/${i}` })).filter(({ item }, i) =>
    paths.indexOf(item) === i
  );

/** Makes linux.readonlyPaths read-only, each a mount of its own; what is not there is left out. */
export function makeReadonlyPaths({ box, spec }: Recipe): void {
  const paths = spec.linux?.readonlyPaths ?? [];
  box.task("make paths read-only", { path: "/linux/readonlyPaths", error: `can't make "{item}" read-only` });
  // The root itself is finishRoot's.
  const items = itemsOf(paths, "readonlyPaths").filter(({ item }) => cleanPath(item) !== "/");
  box.each(items, items.map(({ item }) => [text(item)]), ([path], next) => {
    openPath(box, path!, next);
    box.sys("open_tree", [slot("target"), text(""), CLONE_TREE | AT.RECURSIVE | AT.EMPTY_PATH], { out: "mount" });
    box.sys("mount_setattr", [
      slot("mount"),
      text(""),
      AT.EMPTY_PATH,
      mountAttr(MOUNT_ATTR.RDONLY, 0),
      MOUNT_ATTR_SIZE,
    ]);
    box.sys("move_mount", [slot("mount"), text(""), slot("target"), text(""), ONTO]);
    box.close("mount", "target");
  });
}

/** Covers linux.maskedPaths; what is not there is left out. */
export function maskPaths(recipe: Recipe): void {
  const { b, box, spec } = recipe;
  const items = itemsOf(spec.linux?.maskedPaths ?? [], "maskedPaths");
  if (items.length === 0) return;
  box.task("mask paths: files by the null device, directories by an empty file system", {
    path: "/linux/maskedPaths",
    error: `can't mask path "{item}"`,
  });
  const statx = b.buffer("statx", STATX_SIZE);
  openNull(box);
  box.set("mask", 0);
  box.each(items, items.map(({ item }) => [text(item)]), ([path], next) => {
    const [directory, again] = [b.unique("directory"), b.unique("again")];
    openPath(box, path!, next);
    box.sys("statx", [slot("target"), text(""), AT.EMPTY_PATH, STATX.TYPE, statx]);
    box.load("mode", 2, statx, STATX_FIELD.mode);
    box.jump(directory, { left: slot("mode"), is: "==", right: S.IFDIR, mask: S_IFMT });
    box.sys("open_tree", [slot("null"), text(""), CLONE_TREE | AT.EMPTY_PATH], { out: "mount" });
    box.sys("move_mount", [slot("mount"), text(""), slot("target"), text(""), ONTO]);
    box.close("mount", "target").jump(next);
    // The first directory gets a new file system, the others the same one again.
    box.label(directory);
    box.jump(again, { left: slot("mask"), is: "!=", right: 0 });
    const label = contextParameter(recipe);
    const empty: Parameter[] = [["source", "tmpfs"], ["ro"], ["nr_blocks", "1"], ["nr_inodes", "1"], ...label];
    freshMount(box, "tmpfs", empty, MOUNT_ATTR.RDONLY);
    box.set("mask", slot("mount"));
    box.sys("move_mount", [slot("mask"), text(""), slot("target"), text(""), ONTO]);
    box.close("target").jump(next);
    box.label(again);
    box.sys("open_tree", [slot("mask"), text(""), CLONE_TREE | AT.EMPTY_PATH], { out: "mount" });
    box.sys("move_mount", [slot("mount"), text(""), slot("target"), text(""), ONTO]);
    box.close("mount", "target");
  });
  const none = b.unique("no directory");
  box.close("null").jump(none, { left: slot("mask"), is: "==", right: 0 }).close("mask").label(none);
}

/** Opens a path of the container in slot "target"; one that does not exist is skipped. */
function openPath(lane: Lane, path: Operand, skip: string): void {
  openBeneath(lane, AT_FDCWD, path, "any", { out: "target", tolerate: [E.NOENT], to: skip });
}

/** The container's /dev/null in slot "null", proven to be it (CVE-2025-31133). */
function openNull(lane: Lane): void {
  const statx = lane.builder.buffer("statx", STATX_SIZE);
  const isNot = "can't mask paths: the container's /dev/null is not the null device";
  openBeneath(lane, AT_FDCWD, text("/dev/null"), "any", { out: "null" });
  lane.sys("statx", [slot("null"), text(""), AT.EMPTY_PATH, STATX.TYPE, statx]);
  lane.load("mode", 2, statx, STATX_FIELD.mode);
  lane.fail(isNot, { left: slot("mode"), is: "!=", right: S.IFCHR, mask: S_IFMT });
  lane.load("major", 4, statx, STATX_FIELD.rdevMajor).load("minor", 4, statx, STATX_FIELD.rdevMinor);
  lane.fail(isNot, { left: slot("major"), is: "!=", right: NULL_MAJOR });
  lane.fail(isNot, { left: slot("minor"), is: "!=", right: NULL_MINOR });
}
