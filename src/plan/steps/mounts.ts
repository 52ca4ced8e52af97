/**
 * The mounts of config.json, in order. Sources of bind mounts are opened before anything is mounted, those that are places
 * in the rootfs when it is their turn, as an earlier mount may have made them; a destination is found beneath the rootfs's descriptor and mounted on through its own; nothing is looked up twice.
 */
import { AT, AT_FDCWD, FS_MAGIC, FSCONFIG, FSPICK, MOUNT_ATTR, MOVE_MOUNT, MS, OPEN_TREE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { cleanPath } from "../../spec/clean_path.ts";
import type { Mount, Spec } from "../../spec/schema.ts";
import { type Lane, slot, text } from "../builder.ts";
import {
  attributesOf,
  changesOf,
  liftedAccessTimes,
  MAY_COVER_PROC,
  type MountOptions,
  parseMountOptions,
  superblockFlags,
} from "../../spec/mount_options.ts";
import { byteLength, type CreateRequest, insideRootfs, isNew, type Recipe, rootfsPath, sourcePath } from "../recipe.ts";
import type { Task } from "../types.ts";
import { makeMissing, openBeneath } from "./beneath.ts";
import { mountBind } from "./bind_mounts.ts";
import { mountCgroups } from "./cgroup_mount.ts";
import { copyUp } from "./copy_up.ts";
import { contextParameter, labelMessageQueues } from "./labels.ts";
import { mountWithLongOptions } from "./long_options.ts";
import {
  FILE_SYSTEM_WORDS,
  freshMount,
  MOUNT_ATTR_SIZE,
  mountAttr,
  type Parameter,
  setParameters,
  setPropagation,
  type WrittenParameter,
} from "./rootfs.ts";
import { keepMode, modeOfDestination } from "./tmpfs_mode.ts";

export const ONTO = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH;
/** struct statfs: f_flags */
const STATFS_FLAGS = 80;
/** What fsconfig(2) takes in a string. */
const VALUE_MAX = 255;

/** A mount of config.json with what its options mean. */
export interface MountEntry {
  readonly mount: Mount;
  readonly options: MountOptions;
  readonly isBind: boolean;
  readonly index: number;
  readonly task: Task;
  /** The destination inside the rootfs, absolute and clean. */
  readonly destination: string;
  /** The source's path inside the rootfs, where it is a place in there. */
  readonly sourceInside: string | undefined;
}

/** What each mount of a config means, in the config's order. */
export function mountEntries(
  { spec, request }: { readonly spec: Spec; readonly request: Pick<CreateRequest, "bundle"> },
): MountEntry[] {
  // A container that runs already has no rootfs to be seen from outside.
  const rootfs = spec.root === undefined ? undefined : rootfsPath({ spec, request });
  const inside = (path: string) => (rootfs === undefined ? undefined : insideRootfs(rootfs, path));
  const destinationOf = ({ destination }: Mount) => {
    const place = inside(destination) ?? "/";
    return cleanPath(place === "/" ? "/" + destination : place);
  };
  return (spec.mounts ?? []).map((mount, index) => {
    const options = parseMountOptions(mount.options ?? []);
    const isBind = (options.flags & MS.BIND) !== 0;
    const type = isBind ? "bind mount" : mount.type ?? "";
    return {
      mount,
      options,
      isBind,
      index,
      destination: destinationOf(mount),
      sourceInside: isBind && mount.source && !options.copySymlink
        ? inside(sourcePath(request.bundle, mount.source))
        : undefined,
      task: {
        why: `mount ${type} ${JSON.stringify(mount.source ?? "")} on ${JSON.stringify(mount.destination)}`,
        path: `/mounts/${index}`,
        error: `error mounting ${JSON.stringify(mount.source ?? "")} to rootfs at ${JSON.stringify(mount.destination)}`,
      },
    };
  });
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
  entry: Pick<MountEntry, "destination" | "index" | "options">,
  asked: "any" | "ordinary directory",
  make: () => void,
): void {
  const [missing, found] = [lane.builder.unique("missing"), lane.builder.unique("found")];
  const { destination, options } = entry;
  const kind = asked === "any" && options.destinationNoFollow ? "itself" : asked;
  openBeneath(lane, slot("rootfs"), text(destination), kind, { out: "destination", tolerate: [E.NOENT], to: missing });
  lane.jump(found).label(missing);
  make();
  openBeneath(lane, slot("rootfs"), text(destination), kind, { out: "destination" });
  lane.label(found);
}

const makeDirectory = (lane: Lane, { destination, index }: Pick<MountEntry, "destination" | "index">) =>
  makeMissing(lane, destination, `/mounts/${index}/destination`);

/** Refuses a destination on procfs that is not in the list: its files steer the kernel and the runtime (CVE-2019-19921). */
export function refuseProcfs(lane: Lane, { destination, mount }: MountEntry): void {
  if (MAY_COVER_PROC.includes(destination)) return;
  const statfs = lane.builder.buffer("statfs", 128);
  lane.sys("fstatfs", [slot("destination"), statfs]);
  lane.load("file system", 8, statfs);
  lane.fail(
    `error mounting ${JSON.stringify(mount.source ?? "")} to rootfs at ${JSON.stringify(mount.destination)}: ` +
      `${JSON.stringify(destination)} cannot be mounted because it is inside /proc`,
    { left: slot("file system"), is: "==", right: FS_MAGIC.PROC },
  );
}

/** The tmpfs has the mode of the directory that it covers, if its options do not say one. */
const isAsked = ({ options }: MountEntry, name: string) =>
  options.data.some((option) => new RegExp(`(^|,)${name}=`).test(option));
const keepsMode = (entry: MountEntry) => entry.mount.type === "tmpfs" && !isAsked(entry, "mode");

function mountFresh(recipe: Recipe, entry: MountEntry): void {
  const { box } = recipe;
  const { mount, options, destination } = entry;
  if (keepsMode(entry)) box.set("is new", 0);
  openDestination(box, entry, mount.type === "proc" || mount.type === "sysfs" ? "ordinary directory" : "any", () => {
    makeDirectory(box, entry);
    if (keepsMode(entry)) box.set("is new", 1);
  });
  if (destination !== "/proc") refuseProcfs(box, entry);
  if (recipe.placing !== undefined && isMadeAhead(entry)) box.set("mount", slot(aheadSlot(entry)));
  else makeFileSystem(recipe, entry);
  if (options.copyUp && mount.type === "tmpfs") copyUp(box, !isAsked(entry, "uid") && !isAsked(entry, "gid"));
  if (mount.type === "mqueue") labelMessageQueues(recipe);
  attach(recipe, entry, "mount");
  if (isReadonlyLater(entry)) box.set(`mount ${entry.index}`, slot("mount"));
  else box.close("mount");
}

/** A new file system, mounted nowhere, in slot "mount"; what covers slot "destination" for a moment may be needed for it. */
function makeFileSystem(recipe: Recipe, entry: MountEntry): void {
  const { b, box } = recipe;
  const { mount, options } = entry;
  // Files are still to be made in some; they become read-only at the end.
  const flags = isReadonlyLater(entry) ? options.flags & ~MS.RDONLY : options.flags;
  const source: Parameter[] = mount.source ? [["source", mount.source]] : [];
  const isLabelled = mount.type !== "proc" && mount.type !== "sysfs" && mount.type !== "mqueue";
  const data = [...parameters(options.data), ...(isLabelled ? contextParameter(recipe) : [])];
  if ([...source, ...data].some(([, value = ""]) => byteLength(value) > VALUE_MAX)) {
    mountWithLongOptions(box, entry, flags, data);
    if (keepsMode(entry)) keepMode(box);
    return;
  }
  const mode: WrittenParameter[] = keepsMode(entry) ? [["mode", modeOfDestination(box)]] : [];
  const all = [...source, ...superblockFlags(flags).map((name): Parameter => [name]), ...mode, ...data];
  const refused = mount.type === "sysfs" && lacksNetwork(recipe) ? b.unique("refused") : undefined;
  freshMount(box, mount.type ?? "", all, attributesOf(flags), refused);
  if (refused !== undefined) standInForSysfs(box, options, refused);
}

/** What file systems take as a path is one of the caller's: not of a container that runs, and may have put another there. */
const isMadeAhead = ({ isBind, mount }: MountEntry) => !isBind && mount.type !== "tmpfs";
const aheadSlot = ({ index }: MountEntry) => `file system ${index}`;

/** For a container that runs: makes its file systems while the caller's paths are in sight. */
export function makeFileSystems(recipe: Recipe): void {
  const { box } = recipe;
  const { O } = box.builder;
  for (const entry of mountEntries(recipe).filter(isMadeAhead)) {
    box.task(entry.task.why, { path: entry.task.path!, error: entry.task.error! });
    box.sys("openat", [AT_FDCWD, text("/"), O.PATH | O.DIRECTORY | O.CLOEXEC], { out: "destination" });
    makeFileSystem(recipe, entry);
    box.close("destination").set(aheadSlot(entry), slot("mount"));
  }
}

/** A user namespace has no right over the network namespace that it is in: it is the host's, or someone else's. */
const lacksNetwork = (recipe: Recipe) => recipe.namespaces.has("user") && !isNew(recipe, "network");

/** The sysfs of the host in place of one of the container's own, which the kernel has refused; as crun does. */
function standInForSysfs(lane: Lane, { flags }: MountOptions, refused: string): void {
  const done = lane.builder.unique("sysfs");
  const tree = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE;
  const set = mountAttr(attributesOf(flags & ~(MS.NOATIME | MS.STRICTATIME | MS.NODIRATIME)), 0);
  lane.jump(done).label(refused);
  lane.sys("close", [slot("fs")], { tolerate: [E.BADF] }); // it may have been refused itself
  lane.sys("open_tree", [AT_FDCWD, text("/sys"), tree], { out: "mount" });
  lane.sys("mount_setattr", [slot("mount"), text(""), AT.EMPTY_PATH | AT.RECURSIVE, set, MOUNT_ATTR_SIZE]);
  lane.label(done);
}

/** "mode=755,size=65536k" -> [["mode", "755"], ["size", "65536k"]]; a comma behind a backslash is part of the value. */
function parameters(data: readonly string[]): Parameter[] {
  return data.flatMap((option) => option.split(/(?<!\\),/)).map((option) => {
    const equals = option.indexOf("=");
    return equals < 0 ? [option] : [option.slice(0, equals), option.slice(equals + 1).replaceAll("\\,", ",")];
  });
}

/** A remount of what an earlier entry or the rootfs has there. */
function remount({ box }: Recipe, entry: MountEntry): void {
  const { options } = entry;
  openBeneath(box, slot("rootfs"), text(entry.destination), "any", { out: "destination" });
  box.sys("fspick", [slot("destination"), text(""), FSPICK.CLOEXEC | FSPICK.EMPTY_PATH], { out: "fs" });
  // As with mount(2), what is not asked for is taken back.
  const access: Parameter[] = options.flags & MS.RDONLY ? [] : [["rw"]];
  const flags = superblockFlags(options.flags).map((name): Parameter => [name]);
  box.failingTo(FILE_SYSTEM_WORDS, () => {
    setParameters(box, [...access, ...flags, ...parameters(options.data)]);
    box.sys("fsconfig", [slot("fs"), FSCONFIG.CMD_RECONFIGURE, 0, 0, 0]);
  });
  box.close("fs");
  changeAttributes(box, "destination", entry);
  box.close("destination");
}

/**
 * Gives a mount exactly the attributes of its options. In a user namespace what restricts it from outside cannot be
 * lifted: then ours are added, and lifted is what the options lift by name.
 */
export function changeAttributes(lane: Lane, mount: string, entry: MountEntry): void {
  const { options } = entry;
  const { set, clear, lifted } = changesOf(options);
  const [locked, done] = [lane.builder.unique("locked"), lane.builder.unique("flags set")];
  const target = [slot(mount), text(""), AT.EMPTY_PATH] as const;
  lane.sys("mount_setattr", [...target, mountAttr(set, clear), MOUNT_ATTR_SIZE], { tolerate: [E.PERM], to: locked });
  lane.jump(done).label(locked);
  refuseLockedAccessTime(lane, mount, entry);
  lane.sys("mount_setattr", [...target, mountAttr(set, lifted), MOUNT_ATTR_SIZE]).label(done);
}

/** The kernel takes no "any other way" for access times: what an option takes back by name must not be there. */
function refuseLockedAccessTime(lane: Lane, mount: string, { options, task }: MountEntry): void {
  const ways = liftedAccessTimes(options);
  if (ways.length === 0) return;
  const statfs = lane.builder.buffer("statfs", 128);
  lane.sys("fstatfs", [slot(mount), statfs]).load("mount flags", 8, statfs, STATFS_FLAGS);
  for (const { mask, is } of ways) {
    lane.fail(
      `${task.error}: cannot clear locked flags`,
      { left: slot("mount flags"), is: "==", right: is, mask },
      E.PERM,
    );
  }
}

/**
 * Puts the mount in a slot on slot "destination", then sets what holds for the tree and its propagation.
 * @param refused label to go to when the two do not fit (EINVAL)
 */
export function attach(
  { box, placing }: Recipe,
  { options }: Pick<MountEntry, "options">,
  mount: string,
  refused?: string,
): void {
  const onRefusal = refused === undefined ? {} : { tolerate: [E.INVAL], to: refused };
  placing?.(mount);
  box.sys("move_mount", [slot(mount), text(""), slot("destination"), text(""), ONTO], onRefusal);
  box.close("destination");
  if (options.recursive !== undefined) {
    const { set, clear } = options.recursive;
    const target = [slot(mount), text(""), AT.EMPTY_PATH | AT.RECURSIVE] as const;
    box.sys("mount_setattr", [...target, mountAttr(set, clear), MOUNT_ATTR_SIZE]);
  }
  for (const propagation of options.propagation) setPropagation(box, slot(mount), propagation);
}

const isReadonlyLater = ({ mount, options, destination, isBind }: MountEntry) =>
  !isBind && (options.flags & MS.REMOUNT) === 0 && (options.flags & MS.RDONLY) !== 0 &&
  (mount.type === "tmpfs" || destination === "/dev");

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
