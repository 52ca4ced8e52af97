/**
 * The recipes for criu's process: for a checkpoint it needs little; for a restore it stands where the container is to be,
 * in its cgroups, with the rootfs as a mount, because what it restores is made from there.
 */
import { AF, AT, AT_FDCWD, CLONE, CLOSE_RANGE, F, MNT, MOVE_MOUNT, MS, OPEN_TREE, SOCK } from "../abi/flags.ts";
import type { HostFacts } from "../host/facts.ts";
import type { Spec } from "../spec/schema.ts";
import { type Lane, PlanBuilder, slot, text, words } from "./builder.ts";
import { checkPlan } from "./check.ts";
import { type CreateRequest, namespacesOf, type Recipe, rootfsDirectory } from "./recipe.ts";
import { makeMissing } from "./steps/beneath.ts";
import { mountBind, openSources, openSourcesOnHost } from "./steps/bind_mounts.ts";
import { entrance, joinCgroups, makeCgroups, UNIFIED } from "./steps/cgroups.ts";
import { connectStdio, sendDescriptor } from "./steps/console.ts";
import { cloneProcess, keepOwnEnd, type Lanes, makeMeetingPlace, ownProcess } from "./steps/lanes.ts";
import { mountEntries, type MountEntry, openDestination } from "./steps/mounts.ts";
import { cleanSlate } from "./steps/prologue.ts";
import { setPropagation } from "./steps/rootfs.ts";
import { enterUnit } from "./steps/unit.ts";
import type { Operand, Plan } from "./types.ts";

/** The input that takes our end of the conversation with criu. */
export const CRIU_SOCKET = "socket for criu's socket";
/** Numbers of descriptors in criu's process; those that the starter gives come last. */
export const CRIU_FD = { socket: 3, images: 4, work: 5, given: 6 } as const;
/** The input with a descriptor for criu, from 0 on. */
export const criuInput = (index: number): string => `descriptor ${index} for criu`;
/** Out of the way of the numbers that criu's descriptors get. */
const HIGH = 100;
const NOT_STARTED = 127;

export interface CriuRequest {
  /** Absolute path of the program. */
  readonly program: string;
  /** The caller's environment, NAME=VALUE: criu calls other programs, and has its own variables. */
  readonly environment: readonly string[];
  /** Absolute paths of the directories for images, and for logs and work files. */
  readonly images: string;
  readonly work: string;
  /** How many descriptors the starter gives. */
  readonly descriptors: number;
}

/** A plan that starts criu beside this process. */
export function planCriu(facts: HostFacts, criu: CriuRequest): Plan {
  const lanes = lanesFor(facts);
  const { b, host, box } = lanes;
  declareInputs(b, criu);
  cleanSlate(host, facts, 3);
  cloneCriu(lanes, 0, undefined);
  endHost(host);
  runCriu(box, criu);
  return checkPlan(b.build());
}

export interface RestoreRequest extends CriuRequest {
  /** Directory on which the rootfs is mounted for criu. */
  readonly root: string;
}

/**
 * A plan that makes the cgroups of a container and starts criu in them, in a mount namespace of its own: what is mounted
 * for it there goes with it, however it ends.
 */
export function planRestore(spec: Spec, facts: HostFacts, request: CreateRequest, criu: RestoreRequest): Plan {
  const lanes = lanesFor(facts);
  const { b, host, box } = lanes;
  const recipe: Recipe = { ...lanes, spec, facts, request, namespaces: namespacesOf(spec) };
  declareInputs(b, criu);
  if (request.stdio === "pipes") { for (const name of ["stdin", "stdout", "stderr"]) b.input(name, `criu's ${name}`); }
  cleanSlate(host, facts, 3);
  const hasUnit = request.systemd !== undefined;
  if (!hasUnit) makeCgroups(recipe);
  openSourcesOnHost(recipe);
  cloneCriu(lanes, CLONE.NEWNS, hasUnit ? undefined : recipe);
  if (hasUnit) enterUnit(recipe);
  else joinCgroups(box, entrance(recipe));
  box.task("keep mounts made here from reaching the host");
  setPropagation(box, "/", MS.SLAVE | MS.REC);
  makeMountpoints(recipe, criu.root);
  mountRoot(recipe, criu.root);
  if (request.stdio === "pipes") connectStdio(box, "pipes", {}, "nothing");
  endHost(host);
  runCriu(box, criu);
  return checkPlan(b.build());
}

function lanesFor(facts: HostFacts): Lanes {
  const b = new PlanBuilder(facts.arch);
  return { b, host: b.host, box: b.section("criu", "criu's process") };
}

function declareInputs(b: PlanBuilder, { descriptors }: CriuRequest): void {
  b.input(CRIU_SOCKET, "the socket that takes our end of the conversation with criu");
  for (let i = 0; i < descriptors; i++) b.input(criuInput(i), "a descriptor for criu");
}

/** Host lane: the process that becomes criu; born in the container's cgroup where there is a recipe for one. */
function cloneCriu(lanes: Lanes, flags: number, recipe: Recipe | undefined): void {
  const { b, host, box } = lanes;
  const cgroup = recipe === undefined || entrance(recipe).unified === undefined ? undefined : UNIFIED;
  makeMeetingPlace(lanes);
  cloneProcess(lanes, host, { flags, cgroup, why: "make the process that becomes criu" });
  host.load("pidfd", 4, b.buffer("pidfd", 8));
  keepOwnEnd(host);
  ownProcess(lanes);
  if (cgroup !== undefined) host.close(cgroup);
  box.task("know when the host lane ends: only it holds the other end now").close("host's end");
}

const endHost = (host: Lane) => host.task("end: criu is on its own now").sys("exit_group", [0]);

/**
 * criu's process: makes the socket on which criu is talked to, opens the directories, and becomes criu. criu looks its
 * directories up among the descriptors of whoever made the socket, and mounts in them: they have to be of its own mount
 * namespace.
 */
function runCriu(box: Lane, { program, environment, images, work, descriptors }: CriuRequest): void {
  const { O } = box.builder;
  const pair = box.builder.buffer("criu's sockets", 8);
  box.task("make the socket for the conversation with criu");
  box.sys("socketpair", [AF.UNIX, SOCK.SEQPACKET | SOCK.CLOEXEC, 0, pair]);
  box.load("our socket", 4, pair).load("criu's socket", 4, pair, 4);
  sendDescriptor(box, CRIU_SOCKET, "our socket", "criu", "send our end to the starter");
  box.task("open the directory for criu's images", { error: `open ${images}` });
  box.sys("openat", [AT_FDCWD, text(images), O.DIRECTORY | O.CLOEXEC], { out: "images" });
  box.task("open the directory for criu's work", { error: `open ${work}` });
  box.sys("openat", [AT_FDCWD, text(work), O.DIRECTORY | O.CLOEXEC], { out: "work" });
  box.task("give criu its descriptors");
  const given = Array.from({ length: descriptors }, (_, i) => criuInput(i));
  // First out of the way of the numbers that they are to have.
  const high = ["criu's socket", "images", "work", ...given, "report"];
  high.forEach((name) => box.sys("fcntl", [slot(name), F.DUPFD_CLOEXEC, HIGH], { out: name }));
  high.slice(0, -1).forEach((name, i) => box.sys("dup3", [slot(name), CRIU_FD.socket + i, 0]));
  const array = (texts: readonly string[], means: string): Operand => words([...texts.map(text), 0], means);
  const argv = array(["criu", "swrk", String(CRIU_FD.socket)], "criu swrk");
  box.task("run criu", { error: `cannot run ${program}` });
  box.sys("close_range", [CRIU_FD.given + descriptors, 0xffffffff, CLOSE_RANGE.CLOEXEC]);
  box.sys("execve", [text(program), argv, array(environment, "the caller's environment")]);
  box.sys("exit_group", [NOT_STARTED]);
}

/**
 * criu's process: makes the mount points that the rootfs and the sources of bind mounts lack, as create does. What is
 * mounted for it, because mount points may lie in other mounts, is unmounted again: the mounts themselves are criu's.
 */
function makeMountpoints(recipe: Recipe, root: string): void {
  const { box } = recipe;
  const entries = mountEntries(recipe);
  openSources(recipe);
  attachRootfs(recipe, root);
  for (const entry of entries) {
    if (entry.mount.type === "cgroup" || (entry.options.flags & MS.REMOUNT) !== 0) continue;
    if (isInNewFileSystem(entry, entries)) continue;
    const { why, path, error } = entry.task;
    box.task(why, { path: path!, error: `create criu restore mountpoint: ${error}` });
    if (entry.isBind) {
      mountBind(recipe, entry);
      continue;
    }
    openDestination(box, entry, "any", () => {
      makeMissing(box, entry.destination, `/mounts/${entry.index}/destination`);
    });
    box.close("destination");
  }
  box.task("unmount all of it again").sys("umount2", [text(root), MNT.DETACH]).close("rootfs");
}

/** criu restores what is in file systems that are the container's own, mount points included. */
function isInNewFileSystem(entry: MountEntry, entries: readonly MountEntry[]): boolean {
  const above = entries.slice(0, entry.index).findLast(({ destination }) =>
    destination === entry.destination || entry.destination.startsWith(`${destination}/`)
  );
  return above !== undefined && !above.isBind;
}

/** criu's process: the root that criu asks for, which has to be a mount of its own. */
function mountRoot(recipe: Recipe, root: string): void {
  attachRootfs(recipe, root);
  recipe.box.close("rootfs");
}

function attachRootfs(recipe: Recipe, root: string): void {
  const { box } = recipe;
  const tree = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE;
  box.task("mount the rootfs for criu", { path: "/root/path" });
  box.sys("open_tree", [AT_FDCWD, text(rootfsDirectory(recipe)), tree], { out: "rootfs" });
  box.sys("move_mount", [slot("rootfs"), text(""), AT_FDCWD, text(root), MOVE_MOUNT.F_EMPTY_PATH]);
}
