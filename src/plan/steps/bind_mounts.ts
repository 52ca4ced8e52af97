/**
 * Bind mounts. Their sources are opened before anything is mounted, those of a user namespace's container on the host,
 * whose rights reach further, and only those inside the rootfs when it is their turn; what is mounted is the very tree
 * that was opened.
 */
import { AT, AT_FDCWD, FS_MAGIC, MS, OPEN_TREE, S, S_IFMT, STATX, STATX_FIELD, STATX_SIZE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { type Lane, type PlanBuilder, slot, text } from "../builder.ts";
import { type Recipe, sourcePath } from "../recipe.ts";
import type { LaneName } from "../types.ts";
import { components, makeMissing, type Making, openBeneath } from "./beneath.ts";
import { mapMountIds } from "./idmapped_mounts.ts";
import { lend, meet } from "./lanes.ts";
import { attach, changeAttributes, mountEntries, type MountEntry, openDestination, refuseProcfs } from "./mounts.ts";
import { setPropagation } from "./rootfs.ts";

const sourceSlot = ({ index }: MountEntry) => `source ${index}`;
const hostSourceSlot = ({ index }: MountEntry) => `host's source ${index}`;
/** Those whose sources are opened before the first mount. */
const bindMounts = (recipe: Recipe) =>
  mountEntries(recipe).filter(({ isBind, sourceInside }) => isBind && sourceInside === undefined);
/** The text of a symlink that is to be made anew. */
const linkBuffer = (lane: Lane, { index }: MountEntry) => lane.builder.buffer(`link ${index}`, LINK_SIZE);
const LINK_SIZE = 4096;

const sourceOf = ({ request }: Recipe, { mount }: MountEntry) => text(sourcePath(request.bundle, mount.source ?? ""));
const treeFlags = ({ options }: MountEntry) =>
  OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | (options.flags & MS.REC ? AT.RECURSIVE : 0);

function openTree(lane: Lane, recipe: Recipe, entry: MountEntry, options: Parameters<Lane["sys"]>[2]): void {
  const flags = treeFlags(entry) | (entry.options.sourceNoFollow ? AT.SYMLINK_NOFOLLOW : 0);
  lane.sys("open_tree", [AT_FDCWD, sourceOf(recipe, entry), flags], options);
}

/**
 * Both lanes, when it is the mount's turn: a source inside the rootfs, with what is mounted there by now. It is looked up
 * as destinations are: no symlink of the image leads it out.
 */
function openSourceInside(recipe: Recipe, entry: MountEntry, place: string): void {
  const { box } = recipe;
  openBeneath(box, slot("rootfs"), text(place), entry.options.sourceNoFollow ? "itself" : "any", { out: "place" });
  const source = sourceSlot(entry);
  box.sys("open_tree", [slot("place"), text(""), treeFlags(entry) | AT.EMPTY_PATH], { out: source }).close("place");
  if (!isIdmapped(entry)) return;
  const name = `source ${entry.index} mapped`;
  recipe.host.task(entry.task.why, { path: entry.task.path!, error: entry.task.error! });
  lend(recipe, source, hostSourceSlot(entry), `source ${entry.index} found`);
  mapMountIds(recipe, entry, hostSourceSlot(entry));
  recipe.host.close(hostSourceSlot(entry));
  meet(recipe, "host", name);
  box.task(entry.task.why, { path: entry.task.path!, error: entry.task.error! });
}

/** A container with a user namespace may not be able to reach a source that the caller can. */
const hasHostSources = ({ namespaces, facts }: Recipe) => namespaces.has("user") && facts.uid === 0;

/** Host lane: what must be known or opened with the caller's rights. */
export function openSourcesOnHost(recipe: Recipe): void {
  const { host } = recipe;
  for (const entry of bindMounts(recipe)) {
    const opens = hasHostSources(recipe) || isIdmapped(entry);
    if (!opens && !entry.options.copySymlink) continue;
    host.task(entry.task.why, { path: entry.task.path!, error: entry.task.error! });
    const done = host.builder.unique("source");
    if (entry.options.copySymlink) readLink(host, recipe, entry, done);
    if (opens) openTree(host, recipe, entry, { out: hostSourceSlot(entry) });
    if (isIdmapped(entry)) mapMountIds(recipe, entry, hostSourceSlot(entry));
    host.label(done);
  }
}

const isIdmapped = ({ mount, options }: MountEntry) =>
  options.idmap !== "" || (mount.uidMappings ?? []).length > 0 || (mount.gidMappings ?? []).length > 0;

/** Container lane: the sources of bind mounts, each a mount tree of its own from here on. */
export function openSources(recipe: Recipe): void {
  const { b, box } = recipe;
  for (const entry of bindMounts(recipe)) {
    box.task(entry.task.why, { path: entry.task.path!, error: entry.task.error! });
    const link = b.unique("link");
    if (entry.options.copySymlink) jumpIfLink(box, entry, "!=", link);
    const takeHosts = () => {
      box.set(sourceSlot(entry), slot(hostSourceSlot(entry)));
      // It was opened among the host's mounts, and would be a peer of them.
      setPropagation(box, slot(sourceSlot(entry)), MS.SLAVE | MS.REC);
    };
    if (isIdmapped(entry)) {
      takeHosts();
    } else if (!hasHostSources(recipe)) {
      openTree(box, recipe, entry, { out: sourceSlot(entry) });
    } else {
      const [unreachable, done] = [b.unique("unreachable"), b.unique("opened")];
      openTree(box, recipe, entry, { out: sourceSlot(entry), tolerate: [E.ACCES], to: unreachable });
      box.close(hostSourceSlot(entry)).jump(done).label(unreachable);
      takeHosts();
      box.label(done);
    }
    box.label(link);
  }
}

/**
 * "copy-symlink": a source that is a symlink is not opened, but made anew. Its text is read here, into memory that the
 * container's process inherits.
 */
function readLink(host: Lane, recipe: Recipe, entry: MountEntry, isLink: string): void {
  const path = sourceOf(recipe, entry);
  const link = linkBuffer(host, entry);
  host.sys("readlinkat", [AT_FDCWD, path, link, LINK_SIZE - 1], { out: "length", tolerate: [E.INVAL] });
  jumpIfLink(host, entry, "!=", isLink);
}

/** Goes to `label` if the source is ("!=") or is not ("==") a symlink that was read. */
function jumpIfLink(lane: Lane, entry: MountEntry, is: "!=" | "==", label: string): void {
  lane.load("char", 1, linkBuffer(lane, entry)).jump(label, { left: slot("char"), is, right: 0 });
}

/** Container lane: one bind mount. */
export function mountBind(recipe: Recipe, entry: MountEntry): void {
  const { b, box } = recipe;
  const { options, destination } = entry;
  const source = sourceSlot(entry);
  const done = b.unique("mounted");
  if (options.copySymlink) copyLink(box, entry, done);
  if (entry.sourceInside !== undefined) openSourceInside(recipe, entry, entry.sourceInside);
  openDestination(box, entry, "any", () => makeTarget(box, entry, source));
  if (destination === "/proc") requireProcfs(box, entry, source);
  else refuseProcfs(box, entry);
  const asked = options.flags & ~(MS.BIND | MS.REC | MS.REMOUNT);
  if (asked !== 0 || options.cleared !== 0) changeAttributes(box, source, entry);
  attach(recipe, entry, source, explainRefusal(box, entry, source));
  box.close(source);
  box.label(done);
}

const refusals = new WeakMap<PlanBuilder, { item: string; path: string }[]>();
const REFUSED = "a mount was refused";

/**
 * A label for a refused mount: a directory on a file, or a file on a directory, is what the kernel calls an invalid
 * argument, and runc, whose words clients match, "not a directory".
 */
function explainRefusal({ builder: b, name }: Lane, { mount, index }: MountEntry, source: string): string {
  let items = refusals.get(b);
  if (items === undefined) refusals.set(b, items = addRefusal(b, name));
  const item = `${JSON.stringify(mount.source)} to rootfs at ${JSON.stringify(mount.destination)}`;
  const label = b.unique("refused");
  const lane = b.section(name, label);
  lane.task("say why the kernel refuses the mount", { path: `/mounts/${index}` });
  lane.set("index", items.push({ item, path: `/mounts/${index}` }) - 1).set("refused", slot(source)).jump(REFUSED);
  return label;
}

function addRefusal(b: PlanBuilder, name: LaneName): { item: string; path: string }[] {
  const items: { item: string; path: string }[] = [];
  const lane = b.section(name, REFUSED);
  const statx = b.buffer("statx", STATX_SIZE);
  const error = "error mounting {item}";
  const differ = b.unique("differ");
  lane.task("say why the kernel refuses a mount", { error, each: items });
  for (const [at, fd] of [["mode", "refused"], ["other", "destination"]] as const) {
    const [directory, done] = [b.unique("directory"), b.unique("kind")];
    lane.sys("statx", [slot(fd), text(""), AT.EMPTY_PATH, STATX.TYPE, statx]).load("char", 2, statx, STATX_FIELD.mode);
    lane.jump(directory, { left: slot("char"), is: "==", right: S.IFDIR, mask: S_IFMT });
    lane.set(at, 0).jump(done).label(directory).set(at, 1).label(done);
  }
  lane.jump(differ, { left: slot("mode"), is: "!=", right: slot("other") });
  lane.fail(error, undefined, E.INVAL).label(differ).fail(error, undefined, E.NOTDIR);
  return items;
}

/** Makes the symlink that the source is; one that is there already must have the same text. */
function copyLink(lane: Lane, entry: MountEntry, done: string): void {
  const b = lane.builder;
  const link = linkBuffer(lane, entry);
  const other = b.buffer("other link", LINK_SIZE);
  const [no, exists, compare, differs] = ["no link", "exists", "compare", "differs"].map((name) => b.unique(name)) as [
    ...[string, string, string, string],
  ];
  const parts = components(entry.destination);
  const parent = "/" + parts.slice(0, -1).join("/");
  const name = text(parts.at(-1) ?? ".");
  jumpIfLink(lane, entry, "==", no);
  makeMissing(lane, parent, `/mounts/${entry.index}/destination`);
  openBeneath(lane, slot("rootfs"), text(parent), "directory", { out: "parent" });
  lane.sys("symlinkat", [link, slot("parent"), name], { tolerate: [E.EXIST], to: exists });
  lane.close("parent").jump(done).label(exists);
  lane.sys("readlinkat", [slot("parent"), name, other, LINK_SIZE - 1], {
    out: "length",
    tolerate: [E.INVAL],
    to: differs,
  });
  lane.store(1, 0, slot("length"), other);
  lane.set("at", link).set("other", other);
  lane.label(compare).load("char", 1, slot("at")).load("digit", 1, slot("other"));
  lane.jump(differs, { left: slot("char"), is: "!=", right: slot("digit") });
  lane.set("at", slot("at"), 1).set("other", slot("other"), 1);
  lane.jump(compare, { left: slot("char"), is: "!=", right: 0 });
  lane.close("parent").jump(done).label(differs);
  lane.fail(`${entry.task.error}: something else is there already`, undefined, E.EXIST);
  lane.label(no);
}

/** A file for a file, a directory for a directory. */
function makeTarget(lane: Lane, entry: MountEntry, source: string): void {
  const b = lane.builder;
  const statx = b.buffer("statx", STATX_SIZE);
  const [file, made] = [b.unique("file"), b.unique("made")];
  const make = (kind: Making) => makeMissing(lane, entry.destination, `/mounts/${entry.index}/destination`, kind);
  lane.sys("statx", [slot(source), text(""), AT.EMPTY_PATH, STATX.TYPE, statx]);
  lane.load("mode", 2, statx, STATX_FIELD.mode);
  lane.jump(file, { left: slot("mode"), is: "!=", right: S.IFDIR, mask: S_IFMT });
  make("directory");
  lane.jump(made).label(file);
  make("file");
  lane.label(made);
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
