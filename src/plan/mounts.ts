/**
 * The recipes for a container that runs already: mounts added to it, mounts taken away. One process does it: in the
 * caller's namespaces it opens what is to be mounted, then it joins the container's mount namespace, where every place is
 * found beneath the root's descriptor and nothing by its name alone.
 */
import { AT, AT_FDCWD, CLONE, F, MNT, STATX, STATX_ATTR, STATX_FIELD, STATX_SIZE } from "../abi/flags.ts";
import { E } from "../abi/errno.ts";
import type { HostFacts } from "../host/facts.ts";
import { cleanPath } from "../spec/clean_path.ts";
import type { Mount, Spec } from "../spec/schema.ts";
import { type Lane, PlanBuilder, slot, text } from "./builder.ts";
import { checkPlan } from "./check.ts";
import { type CreateRequest, namespacesOf, type Recipe } from "./recipe.ts";
import { openBeneath } from "./steps/beneath.ts";
import { openSources, openSourcesOnHost } from "./steps/bind_mounts.ts";
import { hideFromContainer } from "./steps/credentials.ts";
import { becomeRoot } from "./steps/id_maps.ts";
import { finishReadonlyMounts, makeFileSystems, mountAll } from "./steps/mounts.ts";
import { cleanSlate } from "./steps/prologue.ts";
import { addFileSystemWords, leaveHostsPeers } from "./steps/rootfs.ts";
import type { Operand, Plan } from "./types.ts";

export interface MountsRequest extends Pick<CreateRequest, "id" | "bundle" | "annotated"> {
  /** The container has a user namespace that is not the caller's. */
  readonly joinsUser: boolean;
}

const FIRST_PRIVATE = 3;
/** Descriptors of this process, by their numbers: how a mount is unmounted that has no name to trust. */
const OWN = "own descriptors";

/**
 * The plan that mounts `spec.mounts` in a running container, all or none; input "init" is a pidfd of its first process.
 * @param spec of the container, besides the mounts: its namespaces, id mappings and mount label
 */
export function planAddMounts(spec: Spec, facts: HostFacts, request: MountsRequest): Plan {
  const b = new PlanBuilder(facts.arch);
  const { host, container: box } = b;
  const list = b.buffer("added mounts", 8 * (spec.mounts ?? []).length);
  const recipe: Recipe = {
    ...{ b, host, box, spec, facts, request: { ...UNUSED, ...request }, namespaces: namespacesOf(spec) },
    placing: (mount) => keep(box, mount),
  };
  b.input("init", "a pidfd of the container's first process");
  cleanSlate(host, facts, FIRST_PRIVATE);
  openOwn(host);
  openSourcesOnHost(recipe); // with the caller's rights
  goOn(host, box);

  box.set("added", list);
  b.undo("take away what was mounted so far", (undo) => takeAway(undo, list), box);
  hideFromContainer(box);
  if (request.joinsUser) {
    box.task("join the container's user namespace").sys("setns", [slot("init"), CLONE.NEWUSER]);
    becomeRoot(box, request.annotated?.keepsGroups);
    hideFromContainer(box); // a change of user made the process dumpable again
  }
  joinShown(box, spec.mounts ?? []);
  // As when the container was made: what is hidden beneath a mount of the host stays hidden, nothing goes back to it.
  box.task("take sources from a copy of the caller's mounts").sys("unshare", [CLONE.NEWNS]);
  leaveHostsPeers(recipe);
  openSources(recipe);
  makeFileSystems(recipe);
  joinMounts(box, CLONE.NEWNS);
  mountAll(recipe);
  finishReadonlyMounts(recipe);
  box.task("end").sys("exit_group", [0]);
  addFileSystemWords(b);
  return checkPlan(b.build());
}

/** What mounts do not ask for. */
const UNUSED: Omit<CreateRequest, "id" | "bundle"> = {
  ...{ stateDirectory: "", cgroups: [], stdio: "inherit", gate: "none", noPivot: false, noNewKeyring: true },
  ...{ preserveFds: 0, pidfdSocket: false, pidFile: undefined, environment: [], program: "" },
};

/** Some file systems show the namespace that their maker is in. */
function joinShown(box: Lane, mounts: readonly Mount[]): void {
  const [sysfs, mqueue] = ["sysfs", "mqueue"].map((name) => mounts.some(({ type }) => type === name));
  const flags = (sysfs ? CLONE.NEWNET : 0) + (mqueue ? CLONE.NEWIPC : 0);
  if (flags === 0) return;
  box.task("join the namespaces that new file systems are to show").sys("setns", [slot("init"), flags]);
}

function openOwn(host: Lane): void {
  const { O } = host.builder;
  host.task("be able to name own descriptors wherever we are");
  host.sys("openat", [AT_FDCWD, text("/proc/self/fd"), O.PATH | O.DIRECTORY | O.CLOEXEC], { out: OWN });
}

/** The same process, from here on with what belongs to a container in sight. */
function goOn(host: Lane, box: Lane): void {
  const label = "with the container's mounts";
  host.task("go on to the container").jump(label);
  box.task("go on to the container").label(label);
}

function joinMounts(box: Lane, flags: number): void {
  const { O } = box.builder;
  box.task("join the container's mount namespace", { error: "cannot join the container's namespaces" });
  box.sys("setns", [slot("init"), flags]);
  box.task("find everything beneath its root");
  box.sys("openat", [AT_FDCWD, text("/"), O.PATH | O.DIRECTORY | O.CLOEXEC], { out: "rootfs" });
}

/** Another descriptor of a mount, for the undo: recorded before the mount is placed, so that nothing can fail after it. */
function keep(box: Lane, mount: string): void {
  box.sys("fcntl", [slot(mount), F.DUPFD_CLOEXEC, FIRST_PRIVATE], { out: "kept" });
  box.store(8, slot("kept"), slot("added")).set("added", slot("added"), 8);
}

function takeAway(undo: Lane, list: Operand): void {
  const b = undo.builder;
  const [next, done] = [b.unique("take away"), b.unique("all taken away")];
  undo.label(next).jump(done, { left: slot("added"), is: "==", right: list });
  undo.set("added", slot("added"), -8).load("kept", 8, slot("added"));
  // EINVAL: the one that could not be placed.
  unmount(undo, "kept", [E.INVAL]);
  undo.jump(next).label(done);
}

function unmount(lane: Lane, mount: string, tolerate?: readonly number[]): void {
  const name = lane.builder.buffer("own name", 24);
  lane.format(slot(mount), name).sys("fchdir", [slot(OWN)]);
  lane.sys("umount2", [name, MNT.DETACH], { tolerate });
}

/** The plan that unmounts what is on these places in a running container, the last first; nothing, where one is not there. */
export function planRemoveMounts(
  mounts: readonly Mount[],
  facts: HostFacts,
  { joinsUser }: Pick<MountsRequest, "joinsUser">,
): Plan {
  const b = new PlanBuilder(facts.arch);
  const { host, container: box } = b;
  b.input("init", "a pidfd of the container's first process");
  cleanSlate(host, facts, FIRST_PRIVATE);
  openOwn(host);
  goOn(host, box);
  hideFromContainer(box);
  // Root of the host needs no more rights.
  joinMounts(box, CLONE.NEWNS + (joinsUser && facts.uid !== 0 ? CLONE.NEWUSER : 0));
  const items = mounts.map(({ destination }, i) => ({ item: cleanPath("/" + destination), path: `/mounts/${i}` }));
  items.reverse();
  const rows = items.map(({ item }) => [text(item)]);
  box.task("see that all of them are there", { error: 'cannot unmount "{item}"' });
  box.each(items, rows, ([path]) => {
    openMount(box, path!);
    box.close("mount");
  });
  box.task("unmount", { error: 'cannot unmount "{item}"' });
  box.each(items, rows, ([path]) => {
    openMount(box, path!);
    unmount(box, "mount");
    box.close("mount");
  });
  box.task("end").sys("exit_group", [0]);
  return checkPlan(b.build());
}

/**
 * Slot "mount": what is mounted on a path. Symlinks are the container's to make, and could have anything else of its
 * mounts unmounted: what covers a file that it must not see, what keeps it from writing.
 */
function openMount(box: Lane, path: Operand): void {
  const b = box.builder;
  const [unopened, found] = [b.unique("not opened"), b.unique("found")];
  const statx = b.buffer("statx", STATX_SIZE);
  openBeneath(box, slot("rootfs"), path, "no symlinks", {
    out: "mount",
    tolerate: [E.LOOP, E.NOENT, E.NOTDIR],
    to: unopened,
  });
  box.sys("statx", [slot("mount"), text(""), AT.EMPTY_PATH, STATX.TYPE, statx]);
  box.load("attributes", 8, statx, STATX_FIELD.attributes);
  box.jump(found, { left: slot("attributes"), is: "!=", right: 0, mask: STATX_ATTR.MOUNT_ROOT });
  const isLink = { left: slot("mount"), is: "==", right: -E.LOOP } as const;
  box.label(unopened).fail('"{item}" leads through a symbolic link of the container: name the place itself', isLink);
  box.fail('nothing is mounted on "{item}"');
  box.label(found);
}
