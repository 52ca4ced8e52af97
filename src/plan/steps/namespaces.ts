/**
 * Namespaces: those that are the container's own are made by the clone, those given by path are joined, in the order
 * that the rights over them allow.
 */
import { AT_FDCWD, CLONE, NAMESPACES, type NamespaceType } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { type Lane, size, slot, text } from "../builder.ts";
import { isNew, joinsWithUserNamespace, type Recipe } from "../recipe.ts";
import { entrance, UNIFIED } from "./cgroups.ts";
import { hideFromContainer } from "./credentials.ts";
import { becomeRoot } from "./id_maps.ts";
import {
  beginContainerLane,
  cloneProcess,
  endJoiner,
  keepOwnEnd,
  makeMeetingPlace,
  meet,
  ownProcess,
  startJoiner,
} from "./lanes.ts";

/** Slot with the descriptor of a namespace to join. */
export const joined = (type: NamespaceType) => `${type} namespace`;
/** Namespaces that clone3 cannot make at once: time applies to children only, a cgroup namespace begins where its maker is. */
const LATER: readonly NamespaceType[] = ["time", "cgroup"];

/** Host lane: opens the namespaces to join, before anything could change what their paths mean. */
export function openNamespaces({ b, host, namespaces }: Recipe): void {
  for (const { type, path, configPath } of namespaces.values()) {
    if (path === undefined) continue;
    host.task(`open the ${type} namespace to join`, {
      path: configPath,
      error: `open ${type} namespace ${JSON.stringify(path)}`,
    });
    host.sys("openat", [AT_FDCWD, text(path), b.O.CLOEXEC], { out: joined(type) });
  }
}

/** Host lane: clones the container's process, which goes on with its own lane. */
export function cloneContainer(recipe: Recipe): void {
  const { b, host, namespaces, request } = recipe;
  makeMeetingPlace(recipe);
  prepareChildren(recipe);
  const needsJoiner = joinsWithUserNamespace(recipe);
  const flags = [...namespaces.values()]
    .filter(({ type, path }) =>
      path === undefined && !LATER.includes(type) && !(type === "ipc" && isNew(recipe, "user"))
    )
    .reduce((sum, { type }) => sum + NAMESPACES[type].flag, 0);
  const cgroup = entrance(recipe).unified === undefined ? undefined : UNIFIED;
  const why = "make the container's process, with its own namespaces";
  const joiner = needsJoiner ? addJoiner(recipe) : undefined;
  cloneProcess(recipe, joiner ?? host, { flags, cgroup, why, path: "/linux/namespaces" });
  if (joiner === undefined) {
    host.load("pidfd", 4, b.buffer("pidfd", 8));
    keepOwnEnd(host);
  } else {
    endJoiner(recipe, joiner);
  }
  ownProcess(recipe);
  if (cgroup !== undefined) host.close(cgroup);
  restoreChildren(recipe);
  beginContainerLane(recipe, request.program);
  forgetHosts(recipe);
  if (needsJoiner) meet(recipe, "host", "the host lane knows the process");
}

/**
 * Host lane: PID and time namespaces are set for children, not for the process itself. Where a joiner clones, it joins
 * the PID namespace for its child: born in it, it would know the container's process by another number than the host.
 */
function prepareChildren(recipe: Recipe): void {
  const { b, host, spec, namespaces } = recipe;
  if (joinsPid(recipe)) {
    host.task("join the pid namespace, for children", { path: namespaces.get("pid")!.configPath });
    host.sys("openat", [AT_FDCWD, text("/proc/self/ns/pid"), b.O.CLOEXEC], { out: "own pid namespace" });
    host.sys("setns", [slot(joined("pid")), CLONE.NEWPID]);
  }
  const time = namespaces.get("time");
  if (time === undefined) return;
  host.task("keep the own time namespace to come back to", { path: time.configPath });
  host.sys("openat", [AT_FDCWD, text("/proc/self/ns/time"), b.O.CLOEXEC], { out: "own time namespace" });
  if (time.path !== undefined) return;
  host.task("make a time namespace for children", { path: time.configPath });
  host.sys("unshare", [CLONE.NEWTIME]);
  const offsets = Object.entries(spec.linux?.timeOffsets ?? {});
  if (offsets.length === 0) return;
  host.sys("openat", [AT_FDCWD, text("/proc/self/timens_offsets"), b.O.WRONLY | b.O.CLOEXEC], { out: "offsets" });
  for (const [clock, { secs = 0, nanosecs = 0 }] of offsets) {
    const line = `${clock} ${secs} ${nanosecs}\n`;
    host.task(`set the ${clock} clock's offset`, { path: `/linux/timeOffsets/${clock}` });
    host.sys("write", [slot("offsets"), text(line), size(line)]);
  }
  host.close("offsets");
}

const joinsPid = (recipe: Recipe): boolean =>
  recipe.namespaces.get("pid")?.path !== undefined && !joinsWithUserNamespace(recipe);

/** Host lane: hooks that it starts later must not land in the container's namespaces. */
function restoreChildren(recipe: Recipe): void {
  const { host, namespaces } = recipe;
  if (joinsPid(recipe)) {
    host.task("leave the container's pid namespace again").sys("setns", [slot("own pid namespace"), CLONE.NEWPID]);
    host.close("own pid namespace");
  }
  if (namespaces.has("time")) {
    host.task("leave the container's time namespace again").sys("setns", [slot("own time namespace"), CLONE.NEWTIME]);
    host.close("own time namespace");
  }
}

/** Container lane: the process may wait at its gate for long, and is to hold nothing of the host's there. */
function forgetHosts(recipe: Recipe): void {
  const held = [joinsPid(recipe) ? "own pid namespace" : "", recipe.namespaces.has("time") ? "own time namespace" : ""];
  recipe.box.task("keep no namespace of the host's").close(...held.filter((name) => name !== ""));
}

/** As startJoiner, with the namespaces of config.json that are joined by path. */
function addJoiner(recipe: Recipe): Lane {
  const joiner = startJoiner(recipe, { path: "/linux/namespaces" });
  // Who is root of that user namespace could trace this process, and what it clones. (Of a new one, an ordinary user could
  // not write the id maps then.)
  if (!isNew(recipe, "user")) hideFromContainer(joiner);
  joinInOrder(recipe, joiner);
  return joiner;
}

/** All but the user namespace with the host's rights, then the user namespace, then what it owns. */
function joinInOrder(recipe: Recipe, lane: Lane): void {
  const { namespaces } = recipe;
  const forChildren = joinsWithUserNamespace(recipe);
  const others = [...namespaces.values()].filter(({ type, path }) =>
    path !== undefined && type !== "user" && (type !== "pid" || forChildren)
  );
  // The mount namespace last: joining it changes what paths mean.
  others.sort((a, b) => Number(a.type === "mount") - Number(b.type === "mount"));
  const user = namespaces.get("user");
  const joinsUser = user?.path !== undefined;
  for (const { type, configPath } of others) {
    lane.task(`join the ${type} namespace`, { path: configPath });
    if (!joinsUser) {
      lane.sys("setns", [slot(joined(type)), NAMESPACES[type].flag]);
      continue;
    }
    const [later, done] = [lane.builder.unique("later"), lane.builder.unique("joined")];
    lane.sys("setns", [slot(joined(type)), NAMESPACES[type].flag], { tolerate: [E.PERM], to: later });
    lane.jump(done).label(later).set(`${type} later`, 1).label(done);
  }
  if (!joinsUser) return;
  lane.task("join the user namespace", { path: user.configPath }).sys("setns", [slot(joined("user")), CLONE.NEWUSER]);
  becomeRoot(lane, recipe.request.annotated?.keepsGroups);
  for (const { type, configPath } of others) {
    const done = lane.builder.unique("joined");
    lane.task(`join the ${type} namespace with the user namespace's rights`, { path: configPath });
    lane.jump(done, { left: slot(`${type} later`), is: "==", right: 0 });
    lane.sys("setns", [slot(joined(type)), NAMESPACES[type].flag]).label(done);
  }
}

/** Container lane: what could not be part of clone3. */
export function joinNamespaces(recipe: Recipe): void {
  const { box, namespaces } = recipe;
  if (!joinsWithUserNamespace(recipe)) joinInOrder(recipe, box);
  if (isNew(recipe, "ipc") && isNew(recipe, "user")) {
    box.task("make the ipc namespace, as the user namespace's root: its message queues are root's then", {
      path: namespaces.get("ipc")!.configPath,
    });
    box.sys("unshare", [CLONE.NEWIPC]);
  }
  if (isNew(recipe, "cgroup")) {
    box.task("make the cgroup namespace: the cgroups joined above are its root", {
      path: namespaces.get("cgroup")!.configPath,
    });
    box.sys("unshare", [CLONE.NEWCGROUP]);
  }
  box.close(...[...namespaces.values()].filter(({ path }) => path !== undefined).map(({ type }) => joined(type)));
}
