/** What only v2 needs of a container's cgroup: controllers enabled above it, a type that lets processes in, its owner. */
import { AT_FDCWD, MS } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { deviceAccess, deviceRules } from "../../cgroup/devices.ts";
import type { CgroupDirectory } from "../../cgroup/paths.ts";
import { writesV2 } from "../../cgroup/v2.ts";
import type { CgroupWrite } from "../../cgroup/writes.ts";
import { RunkError } from "../../errors.ts";
import { parseMountOptions } from "../../spec/mount_options.ts";
import type { Resources } from "../../spec/schema.ts";
import { type Lane, slot, text } from "../builder.ts";
import { hostId, isNew, type Recipe } from "../recipe.ts";
import type { Ref } from "../types.ts";
import { ladder, parentOf, writeLimits } from "./cgroups.ts";
import { limitDevicesV2 } from "./device_filter.ts";

const PATH = "/linux/cgroupsPath";
/** Controllers that a threaded cgroup cannot have. Source: cgroup-v2.rst, "Threads". */
const DOMAIN_CONTROLLERS = ["memory", "io", "hugetlb", "rdma", "misc"];
/** Lengths of what cgroup.type reads. */
const TYPE = {
  domain: "domain\n".length,
  invalid: "domain invalid\n".length,
  domainThreaded: "domain threaded\n".length,
} as const;
const TYPE_SIZE = 32;
const KEEP = 0xffffffff;

/**
 * Host lane: limits of the directory, which is made.
 * @throws {RunkError} for a limit whose controller the host does not have on v2
 */
export function limitV2(recipe: Recipe, resources: Resources): void {
  const { b, host, facts, request } = recipe;
  const directory = request.cgroups[0]!;
  const writes = writesV2(resources);
  const available = facts.cgroups.v2?.controllers ?? [];
  checkAvailable(writes, available);
  prepareCgroup(host, directory, available, writes.some(({ controller }) => DOMAIN_CONTROLLERS.includes(controller)));
  host.task("open the cgroup, to attach the device filter to", { path: PATH });
  host.sys("openat", [AT_FDCWD, text(directory.path), b.O.DIRECTORY | b.O.CLOEXEC], { out: "cgroup" });
  limitDevicesV2(host, "cgroup", deviceAccess(deviceRules(resources)), mayLackFilter(recipe));
  host.close("cgroup");
  writeLimits(host, directory.path, writes);
  giveAway(recipe, directory);
}

/** Device filters are root's alone: others do without, as in runc; a user namespace has no devices to open anyway. */
const mayLackFilter = ({ facts }: Recipe) => facts.uid !== 0 || (facts.cgroups.v2?.inUserNamespace ?? false);

/** Files of the kernel's core, cgroup.*, belong to no controller that could be missing. */
function checkAvailable(writes: readonly CgroupWrite[], available: readonly string[]): void {
  const missing = writes.find(({ controller }) =>
    controller !== "cgroup" && controller !== "" && !available.includes(controller)
  );
  if (missing === undefined) return;
  const what = missing.path.includes("/unified/")
    ? `unified resource ${JSON.stringify(missing.file)} can't be set`
    : `cannot set ${missing.file}`;
  throw new RunkError(`${what}: controller "${missing.controller}" not available [config.json ${missing.path}]`);
}

/**
 * A cgroup has the files of a controller when its parent hands the controller on, and so on from the root down. That can
 * make the levels below (of a parent with processes) threaded ones, which hold processes only when they are told so.
 */
export function prepareCgroup(
  host: Lane,
  directory: CgroupDirectory,
  available: readonly string[],
  needsDomain: boolean,
): void {
  const levels = ladder({ ...directory, base: directory.mountpoint });
  const enable = enabling(host, available);
  const chooseType = typing(host, needsDomain);
  host.task("hand the controllers down to the cgroup, and see that it may hold processes", {
    path: PATH,
    error: "cannot prepare the cgroup {item}",
  });
  host.each(
    levels.map((item) => ({ item })),
    levels.map((level) => [text(`${parentOf(level)}/cgroup.subtree_control`), text(`${level}/cgroup.type`)]),
    ([control, type], next) => {
      enable(control!);
      chooseType(type!, next);
    },
  );
}

/**
 * Steps that have a level hand on every controller. One that does already is not written again: each write waits for
 * cgroups that are being removed.
 */
function enabling(host: Lane, available: readonly string[]): (file: Ref) => void {
  const { builder: b } = host;
  if (available.length === 0) return () => {};
  const words = available.map((name) => "+" + name);
  const all = words.join(" ");
  // Of a list that can have no others, the length says whether it has all.
  const length = available.join(" ").length + "\n".length;
  const enabled = b.buffer("enabled controllers", length + 1);
  // What a level cannot hand on (it does not have it, or has processes of its own) fails where a limit needs it.
  const tolerate = [E.NOENT, E.BUSY, E.OPNOTSUPP, E.INVAL, E.PERM, E.ACCES];
  return (file) => {
    const [single, done, skipped] = [b.unique("one by one"), b.unique("all enabled"), b.unique("not writable")];
    host.sys("openat", [AT_FDCWD, file, b.O.RDWR | b.O.CLOEXEC], {
      out: "file",
      tolerate: [E.NOENT, E.ACCES, E.PERM, E.ROFS],
      to: skipped,
    });
    host.sys("read", [slot("file"), enabled, length + 1], { out: "length" });
    host.jump(done, { left: slot("length"), is: "==", right: length });
    host.sys("write", [slot("file"), text(all), all.length], { tolerate, to: single });
    host.jump(done).label(single);
    for (const word of words) host.sys("write", [slot("file"), text(word), word.length], { tolerate });
    host.label(done).close("file").label(skipped);
  };
}

/** Steps that go on at `next` where processes can be, made threaded where it has to be. */
function typing(host: Lane, needsDomain: boolean): (file: Ref, next: string) => void {
  const { builder: b } = host;
  const type = b.buffer("cgroup type", TYPE_SIZE);
  const has = (length: number, is: "==" | "!=" = "==") => ({ left: slot("length"), is, right: length });
  return (file, next) => {
    host.sys("openat", [AT_FDCWD, file, b.O.CLOEXEC], { out: "file" });
    host.sys("read", [slot("file"), type, TYPE_SIZE], { out: "length" });
    host.close("file").jump(next, has(TYPE.domain));
    if (needsDomain) {
      const cannot = 'cannot enter cgroupv2 "{item}" with domain controllers -- it is in';
      host.fail(`${cannot} an invalid state`, has(TYPE.invalid));
      host.fail(`${cannot} domain threaded mode`, has(TYPE.domainThreaded));
      host.fail(`${cannot} threaded mode`);
      return;
    }
    host.jump(next, has(TYPE.invalid, "!="));
    host.sys("openat", [AT_FDCWD, file, b.O.WRONLY | b.O.CLOEXEC], { out: "file" });
    host.sys("write", [slot("file"), text("threaded"), "threaded".length]);
    host.close("file");
  };
}

/** A container that sees only its own part of the hierarchy, and may write there, owns it: it can make cgroups below. */
function giveAway(recipe: Recipe, { path }: CgroupDirectory): void {
  const { host, spec, facts } = recipe;
  const owner = hostId(spec, "uid", spec.process?.user?.uid ?? 0);
  if (owner === undefined || owner === 0 || !isNew(recipe, "cgroup") || !mountsCgroupWritable(recipe)) return;
  host.task(`give the cgroup to user ${owner}, who may write to it in the container`, {
    path: PATH,
    error: "cannot change the owner of {item}",
  });
  const files = [path, ...(facts.cgroups.v2?.delegate ?? []).map((file) => `${path}/${file}`)];
  host.each(files.map((item) => ({ item })), files.map((file) => [text(file)]), ([file]) => {
    host.sys("fchownat", [AT_FDCWD, file!, owner, KEEP, 0], { tolerate: [E.NOENT] });
  });
}

const mountsCgroupWritable = ({ spec }: Recipe): boolean =>
  (spec.mounts ?? []).some(({ type, destination, options }) =>
    (type === "cgroup" || type === "cgroup2") && destination === "/sys/fs/cgroup" &&
    (parseMountOptions(options ?? []).flags & MS.RDONLY) === 0
  );
