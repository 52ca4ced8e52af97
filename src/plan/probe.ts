/**
 * The recipe for asking the kernel what it lets us do: a short-lived process tries each thing on itself and reports the
 * answers. What is tried goes with the process.
 */
import {
  AT,
  AT_FDCWD,
  CLONE,
  FSOPEN,
  MOUNT_ATTR,
  NAMESPACES,
  type NamespaceType,
  OPEN_TREE,
  P,
  W,
} from "../abi/flags.ts";
import { E } from "../abi/errno.ts";
import { SIG } from "../abi/names.ts";
import type { HostFacts } from "../host/facts.ts";
import { PlanBuilder, size, slot, text, words } from "./builder.ts";
import { checkPlan } from "./check.ts";
import { CLONE_ARGS_SIZE } from "./steps/lanes.ts";
import { cleanSlate } from "./steps/prologue.ts";
import { MOUNT_ATTR_SIZE } from "./steps/rootfs.ts";
import type { Plan } from "./types.ts";

/** The message with the answers, in the order of probeNames. */
export const PROBED = "probed";
export const FILE_SYSTEMS = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "overlay", "cgroup", "cgroup2"] as const;

const FIRST_PRIVATE = 3;
const LONG_ENOUGH = 30;
const IDMAP = "idmap";
const namespaceProbe = (type: NamespaceType) => `namespace ${type}`;
const fileSystemProbe = (type: string) => `file system ${type}`;

/** Root may make each kind by itself; others need a user namespace first, whose root may make the rest. */
const namespaceTypes = ({ uid }: HostFacts): NamespaceType[] => {
  const others = (Object.keys(NAMESPACES) as NamespaceType[]).filter((type) => type !== "user");
  return uid === 0 ? [...others, "user"] : ["user", ...others];
};

/** What is probed; an answer is 0 or more for "yes", else a negative error number. */
export const probeNames = (facts: HostFacts): string[] => [
  IDMAP,
  ...namespaceTypes(facts).map(namespaceProbe),
  ...FILE_SYSTEMS.map(fileSystemProbe),
];

/** A plan with a host lane that reports, and ends. */
export function planProbe(facts: HostFacts): Plan {
  const b = new PlanBuilder(facts.arch);
  const { host } = b;
  cleanSlate(host, facts, FIRST_PRIVATE);
  probeIdmap(b);
  for (const type of namespaceTypes(facts)) {
    host.task(`try a new ${type} namespace`);
    host.sys("unshare", [NAMESPACES[type].flag], {
      out: namespaceProbe(type),
      tolerate: [E.PERM, E.ACCES, E.INVAL, E.NOSYS, E.NOSPC, E.USERS],
    });
    // In the mount namespace that was just made: what can be mounted there?
    if (type === "mount") probeFileSystems(b);
  }
  host.task("report the answers");
  b.notify(host, PROBED, probeNames(facts));
  host.task("end").sys("exit_group", [0]);
  return checkPlan(b.build());
}

function probeFileSystems({ host }: PlanBuilder): void {
  for (const type of FILE_SYSTEMS) {
    host.task(`try the file system ${type}`);
    host.sys("fsopen", [text(type), FSOPEN.CLOEXEC], {
      out: fileSystemProbe(type),
      tolerate: [E.PERM, E.ACCES, E.NODEV, E.NOSYS],
    });
  }
}

/** Another process's user namespace, in which id 0 is ours, as the map of a copy of the root mount. */
function probeIdmap(b: PlanBuilder): void {
  const { host, O } = b;
  const denied = { tolerate: [E.PERM, E.ACCES, E.INVAL, E.NOSYS, E.NOSPC, E.USERS], to: "no id maps" };
  const args = b.buffer("clone args", CLONE_ARGS_SIZE, { words: [CLONE.NEWUSER, 0, 0, 0, SIG.CHLD, 0, 0, 0, 0, 0, 0] });
  const path = b.buffer("process path", 32, { bytes: new TextEncoder().encode("/proc/") });
  host.task("try a mount with an id map").set("user namespace's process", 0);
  b.undo("end the process with the user namespace", (undo) => {
    const none = undo.builder.unique("none");
    undo.jump(none, { left: slot("user namespace's process"), is: "==", right: 0 });
    undo.sys("kill", [slot("user namespace's process"), SIG.KILL], { tolerate: [E.SRCH] }).label(none);
  });
  host.sys("clone3", [args, CLONE_ARGS_SIZE], { out: IDMAP, ...denied });
  host.jump("sleeper starts", { left: slot(IDMAP), is: "==", right: 0 });
  host.set("user namespace's process", slot(IDMAP));
  host.format(slot(IDMAP), path.plus("/proc/".length));
  host.sys("openat", [AT_FDCWD, path, O.PATH | O.DIRECTORY | O.CLOEXEC], { out: "process" });
  for (const file of ["uid_map", "gid_map"]) {
    const map = "0 0 1\n";
    host.sys("openat", [slot("process"), text(file), O.WRONLY | O.CLOEXEC], { out: "file" });
    host.sys("write", [slot("file"), text(map), size(map)], { out: IDMAP, ...denied }).close("file");
  }
  host.sys("openat", [slot("process"), text("ns/user"), O.CLOEXEC], { out: "user namespace" });
  host.sys("open_tree", [AT_FDCWD, text("/"), OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC], { out: IDMAP, ...denied });
  host.set("mount", slot(IDMAP));
  // struct mount_attr: to set, to clear, propagation, user namespace.
  const attributes = b.buffer("id map", MOUNT_ATTR_SIZE, { words: [MOUNT_ATTR.IDMAP, 0, 0, 0] });
  host.store(8, slot("user namespace"), attributes, 24);
  host.sys("mount_setattr", [slot("mount"), text(""), AT.EMPTY_PATH, attributes, MOUNT_ATTR_SIZE], {
    out: IDMAP,
    ...denied,
  });
  host.label("no id maps");
  const none = b.unique("none");
  host.jump(none, { left: slot("user namespace's process"), is: "==", right: 0 });
  host.sys("kill", [slot("user namespace's process"), SIG.KILL], { tolerate: [E.SRCH] });
  host.sys("waitid", [P.PID, slot("user namespace's process"), 0, W.EXITED, 0]);
  host.set("user namespace's process", 0).label(none);
  const sleeper = b.section("sleeper", "sleeper starts");
  sleeper.task("hold the user namespace for a moment");
  sleeper.sys("nanosleep", [words([LONG_ENOUGH, 0], `${LONG_ENOUGH} s`), 0]).sys("exit_group", [0]);
}
