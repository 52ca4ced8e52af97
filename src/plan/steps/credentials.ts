/** Who the process is: working directory, capabilities, user and groups, and what it may not gain later. */
import { AT_FDCWD, PR, PR_CAP_AMBIENT } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { CAPABILITIES } from "../../abi/names.ts";
import type { HostFacts } from "../../host/facts.ts";
import type { Capabilities, Process } from "../../spec/schema.ts";
import { type Lane, slot, text, u32s, words } from "../builder.ts";
import { makeMissing } from "./beneath.ts";

const CAPABILITY_VERSION_3 = 0x20080522;
const GETCWD_SIZE = 4096;
const SLASH = 47;

/** The bits of a list of capability names; names that the kernel does not know are left out (checks.ts warns). */
function capabilityBits(names: readonly string[] | undefined, facts: Pick<HostFacts, "lastCapability">): bigint {
  let bits = 0n;
  for (const name of names ?? []) {
    const number = CAPABILITIES.indexOf(name);
    if (number >= 0 && number <= facts.lastCapability) bits |= 1n << BigInt(number);
  }
  return bits;
}

/**
 * The steps between root in the container and the process's user, in the only order that works; capabilities come next.
 * A missing working directory is made for a container's first process, and an error for another.
 */
export function becomeUser(
  lane: Lane,
  process: Process,
  facts: HostFacts,
  { keepsGroups = false, makesDirectory }: { keepsGroups?: boolean | undefined; makesDirectory: boolean },
): void {
  const uid = process.user?.uid ?? 0;
  const gid = process.user?.gid ?? 0;
  const { capabilities } = process;
  enterDirectory(lane, process.cwd ?? "/", "as root", makesDirectory);
  if (capabilities !== undefined) dropBounding(lane, capabilities, facts);
  lane.task("keep capabilities over the change of user").sys("prctl", [PR.SET_KEEPCAPS, 1, 0, 0, 0]);
  if (!keepsGroups) setGroups(lane, process, facts);
  lane.task("set the group", {
    path: "/process/user/gid",
    error: `cannot setgid to gid ${gid}: is it mapped in the user namespace?`,
  });
  lane.sys("setresgid", [gid, gid, gid]);
  lane.task("set the user", {
    path: "/process/user/uid",
    error: `cannot setuid to uid ${uid}: is it mapped in the user namespace?`,
  });
  lane.sys("setresuid", [uid, uid, uid]);
  enterDirectory(lane, process.cwd ?? "/", "as the user", false);
  checkDirectory(lane);
  lane.task("do not keep capabilities over later changes").sys("prctl", [PR.SET_KEEPCAPS, 0, 0, 0, 0]);
}

function dropBounding(lane: Lane, capabilities: Capabilities, facts: HostFacts): void {
  const keep = capabilityBits(capabilities.bounding, facts);
  const dropped = CAPABILITIES.slice(0, facts.lastCapability + 1)
    .map((name, number) => ({ name, number }))
    .filter(({ number }) => (keep & (1n << BigInt(number))) === 0n);
  lane.task("drop capabilities from the bounding set", {
    path: "/process/capabilities/bounding",
    error: "unable to apply bounding set",
  });
  lane.each(
    dropped.map(({ name }) => ({ item: name })),
    dropped.map(({ number }) => [number]),
    ([number]) => lane.sys("prctl", [PR.CAPBSET_DROP, number!, 0, 0, 0]),
  );
}

/**
 * The capabilities of the process's user. `spare`: what it keeps besides, until dropSpareCapabilities.
 */
export function setCapabilities(lane: Lane, { capabilities, user }: Process, facts: HostFacts, spare = 0n): void {
  if (capabilities === undefined) {
    // They are left alone; but the change of user has taken effect from those that are needed now.
    if (spare !== 0n && (user?.uid ?? 0) !== 0) useAllCapabilities(lane);
    return;
  }
  lane.task("set the capability sets", { path: "/process/capabilities", error: "unable to apply caps" });
  setSets(lane, capabilities, facts, spare);
  lane.task("set the ambient capabilities", { path: "/process/capabilities/ambient" });
  lane.sys("prctl", [PR.CAP_AMBIENT, PR_CAP_AMBIENT.CLEAR_ALL, 0, 0, 0]);
  const ambient = capabilityBits(capabilities.ambient, facts);
  const raised = CAPABILITIES.map((name, number) => ({ name, number })).filter(({ number }) =>
    (ambient & (1n << BigInt(number))) !== 0n
  );
  // Not permitted and inheritable: the rest of the container works without, as runc decided.
  for (const { name, number } of raised) {
    const [refused, done] = [lane.builder.unique("refused"), lane.builder.unique("raised")];
    const tolerate = [E.PERM, E.INVAL];
    lane.sys("prctl", [PR.CAP_AMBIENT, PR_CAP_AMBIENT.RAISE, number, 0, 0], { out: "raised", tolerate, to: refused });
    lane.jump(done).label(refused);
    lane.builder.warn(lane, `can't raise ambient capability ${name}`, "raised");
    lane.label(done);
  }
}

/** Without the spare ones. Capabilities that the config leaves alone go where execve puts them. */
export function dropSpareCapabilities(lane: Lane, { capabilities }: Process, facts: HostFacts, spare: bigint): void {
  if (capabilities === undefined || spare === 0n) return;
  lane.task("give up what only loading the filter took", {
    path: "/process/capabilities",
    error: "unable to apply caps",
  });
  setSets(lane, capabilities, facts, 0n);
}

function setSets(lane: Lane, capabilities: Capabilities, facts: HostFacts, spare: bigint): void {
  const [effective, permitted, inheritable] = (["effective", "permitted", "inheritable"] as const)
    .map((set) => capabilityBits(capabilities[set], facts) | (set === "inheritable" ? 0n : spare)) as [
      bigint,
      bigint,
      bigint,
    ];
  const low = (bits: bigint) => Number(bits & 0xffffffffn);
  const high = (bits: bigint) => Number(bits >> 32n);
  const hex = (bits: bigint) => "0x" + bits.toString(16);
  lane.sys("capset", [
    CAPABILITY_HEADER,
    u32s(
      [low(effective), low(permitted), low(inheritable), high(effective), high(permitted), high(inheritable)],
      `{effective ${hex(effective)}, permitted ${hex(permitted)}, inheritable ${hex(inheritable)}}`,
    ),
  ]);
}

const CAPABILITY_HEADER = u32s([CAPABILITY_VERSION_3, 0], "{version 3, self}");
const CAPABILITY_SETS = 24;

/** Makes every permitted capability effective. */
function useAllCapabilities(lane: Lane): void {
  const sets = lane.builder.buffer("capability sets", CAPABILITY_SETS);
  lane.task("use what capabilities there are, to load the filter", { path: "/linux/seccomp" });
  lane.sys("capget", [CAPABILITY_HEADER, sets]);
  // effective, permitted, inheritable: the lower 32 of each, then the upper ones.
  for (const at of [0, 12]) lane.load("permitted", 4, sets, at + 4).store(4, slot("permitted"), sets, at);
  lane.sys("capset", [CAPABILITY_HEADER, sets]);
}

function setGroups(lane: Lane, { user }: Process, { uid }: HostFacts): void {
  const groups = user?.additionalGids ?? [];
  lane.task("set the supplementary groups: none of the caller's stay", {
    path: "/process/user/additionalGids",
    error: "unable to setup user",
  });
  // EPERM: a user namespace that denies setgroups; nothing of the host's is left there.
  const denied = uid !== 0 ? { tolerate: [E.PERM] } : {};
  lane.sys("setgroups", [groups.length, u32s(groups, `[${groups.join(" ")}]`)], denied);
}

/**
 * Changes into the working directory. As root first, which may enter what the user may not; where root may not (a
 * directory on a file system of the user's), as the user.
 */
function enterDirectory(lane: Lane, cwd: string, who: "as root" | "as the user", makes: boolean): void {
  const b = lane.builder;
  const error = `chdir to cwd (${JSON.stringify(cwd)}) set in config.json failed`;
  lane.task(`change into the working directory, ${who}`, { path: "/process/cwd", error });
  if (who === "as the user") {
    const done = b.unique("entered");
    lane.jump(done, { left: slot("entered"), is: "==", right: 1 });
    lane.sys("chdir", [text(cwd)]).label(done);
    return;
  }
  const [missing, later, done] = [b.unique("missing"), b.unique("later"), b.unique("entered")];
  if (!makes) {
    lane.sys("chdir", [text(cwd)], { tolerate: [E.ACCES, E.PERM], to: later });
    lane.set("entered", 1).jump(done).label(later).set("entered", 0).label(done);
    return;
  }
  lane.sys("chdir", [text(cwd)], { out: "changed", tolerate: [E.NOENT, E.ACCES, E.PERM], to: missing });
  lane.set("entered", 1).jump(done).label(missing);
  lane.jump(later, { left: slot("changed"), is: "!=", right: -E.NOENT });
  lane.task("make the working directory", { path: "/process/cwd", error });
  // Never through a magic link, which could lead out; here "/" is where we are.
  makeMissing(lane, cwd, "/process/cwd", "directory", AT_FDCWD);
  lane.sys("chdir", [text(cwd)]).set("entered", 1).jump(done);
  lane.label(later).set("entered", 0).label(done);
}

/** The working directory must be inside the root: a leaked descriptor could lead anywhere (CVE-2024-21626). */
function checkDirectory(lane: Lane): void {
  const outside =
    "current working directory is outside of container mount namespace root -- possible container breakout detected";
  const path = lane.builder.buffer("cwd", GETCWD_SIZE);
  lane.task("check that the working directory is inside the root", { path: "/process/cwd", error: outside });
  lane.sys("getcwd", [path, GETCWD_SIZE]).load("first", 1, path);
  lane.fail(outside, { left: slot("first"), is: "!=", right: SLASH });
}

/** no_new_privs: execve can only take rights away from here on. */
export function forbidNewPrivileges(lane: Lane, process: Process): void {
  if (!process.noNewPrivileges) return;
  lane.task("forbid gaining privileges by execve", { path: "/process/noNewPrivileges" });
  lane.sys("prctl", [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
}

/** No process of the container may read this one's memory or descriptors, or trace it, while it is still the runtime's. */
export function hideFromContainer(lane: Lane): void {
  lane.task("let no process of the container trace this one (CVE-2016-9962)").sys("prctl", [
    PR.SET_DUMPABLE,
    0,
    0,
    0,
    0,
  ]);
}

/**
 * For a container of an ordinary user, who has no right over a process that hides: `exec` enters its namespaces while it
 * waits at the gate, where it holds nothing of the host's.
 */
export function openToItsUser(lane: Lane): void {
  lane.task("let the user who makes the container enter it while it waits").sys("prctl", [PR.SET_DUMPABLE, 1, 0, 0, 0]);
}

/** Words for prlimit64. */
export const limitWords = (soft: number | bigint, hard: number | bigint) =>
  words([soft, hard], `{soft ${soft}, hard ${hard}}`);
