/** What only v1 needs of a container's cgroups: inherited cpusets, device rules in files, a directory for each controller. */
import { E } from "../../abi/errno.ts";
import { AT_FDCWD } from "../../abi/flags.ts";
import { type DeviceAccess, deviceAccess, deviceRules, deviceWritesV1 } from "../../cgroup/devices.ts";
import type { CgroupDirectory } from "../../cgroup/paths.ts";
import { writesV1 } from "../../cgroup/v1.ts";
import type { CgroupWrite } from "../../cgroup/writes.ts";
import { RunkError } from "../../errors.ts";
import type { Resources, Spec } from "../../spec/schema.ts";
import { type Lane, size, slot, text } from "../builder.ts";
import type { Recipe } from "../recipe.ts";
import type { Ref } from "../types.ts";
import { ladder, type MadeFlag, parentOf, writeLimits } from "./cgroups.ts";

const READ_SIZE = 4096;
/** Bytes. */
const SMALL_LIMIT = 1n << 20n;
const PATH = "/linux/cgroupsPath";

/**
 * Host lane: limits of the directories, which are made.
 * @throws {RunkError} for a limit whose controller is not mounted
 */
export function limitV1(
  { host, spec, facts, request: { cgroups } }: Recipe,
  resources: Resources,
  made: MadeFlag,
): void {
  const writes = writesV1(resources);
  const missing = writes.find(({ controller }) => !cgroups.some(({ controllers }) => controllers.includes(controller)));
  if (missing !== undefined) {
    const { controller, path } = missing;
    const isMounted = facts.cgroups.mounts.some(({ controllers }) => controllers.includes(controller));
    const why = isMounted ? "container could not join or create cgroup" : `the ${controller} controller is not mounted`;
    throw new RunkError(`cannot set ${controller} limit: ${why} [config.json ${path}]`);
  }
  for (const directory of cgroups) {
    for (const controller of directory.controllers) {
      if (controller === "memory" && !hasHooks(spec)) continue; // see limitMemory
      const own = writes.filter((write) => write.controller === controller);
      if (controller === "cpuset") inheritCpuset(host, directory, own);
      if (controller === "devices") {
        limitDevices(host, directory, deviceAccess(deviceRules(resources)), made(directory));
      }
      writeLimits(host, directory.path, own);
    }
  }
}

/**
 * Host lane, when the container is ready to run: its limits on memory. Earlier, what sets the container up could be
 * killed for want of a page; now the kernel takes back what is not in use, or says that it cannot. Hooks find all limits
 * in place, and may change them.
 */
export function limitMemory({ host, spec, facts, request: { cgroups } }: Recipe): void {
  const directory = cgroups.find(({ controllers }) => controllers.includes("memory"));
  if (facts.cgroups.version !== "v1" || directory === undefined || hasHooks(spec)) return;
  const resources = spec.linux?.resources ?? {};
  const limit = BigInt(resources.memory?.limit ?? 0);
  if (limit > 0n && limit < SMALL_LIMIT) emptyReserves(host, directory.path);
  writeLimits(host, directory.path, writesV1(resources).filter(({ controller }) => controller === "memory"));
}

/** Under a small limit a CPU's reserve, 64 pages, could be all there is left. */
function emptyReserves(host: Lane, directory: string): void {
  const absent = host.builder.unique("no reserves");
  host.task("have the CPUs give back what they hold in reserve of the cgroup's memory", {
    path: "/linux/resources/memory/limit",
  });
  host.sys("openat", [
    AT_FDCWD,
    text(`${directory}/memory.force_empty`),
    host.builder.O.WRONLY | host.builder.O.CLOEXEC,
  ], {
    out: "file",
    tolerate: [E.NOENT],
    to: absent,
  });
  host.sys("write", [slot("file"), text("0"), 1], { tolerate: [E.BUSY, E.INVAL] }).close("file").label(absent);
}

const hasHooks = ({ hooks }: Spec) =>
  [hooks?.prestart, hooks?.createRuntime, hooks?.createContainer].some((list) => (list?.length ?? 0) > 0);

/** A v1 cpuset starts empty, and nothing can join it so: copy what the parent has, level by level. */
function inheritCpuset(host: Lane, directory: CgroupDirectory, own: readonly CgroupWrite[]): void {
  const { O } = host.builder;
  const [parent, child] = [host.builder.buffer("cpuset parent", READ_SIZE), host.builder.buffer("cpuset child", 8)];
  const files = ladder(directory).flatMap((path) =>
    ["cpuset.cpus", "cpuset.mems"]
      .filter((file) => path !== directory.path || !own.some((write) => write.file === file))
      .map((file) => ({ file: `${path}/${file}`, from: `${parentOf(path)}/${file}` }))
  );
  host.task("give cpuset cgroups what their parents have, where they have nothing", {
    path: PATH,
    error: "cannot set {item}",
  });
  host.each(
    files.map(({ file }) => ({ item: file, path: PATH })),
    files.map(({ file, from }) => [text(file), text(from)]),
    ([file, from]) => {
      const done = host.builder.unique("inherited");
      host.sys("openat", [AT_FDCWD, file!, O.RDWR | O.CLOEXEC], { out: "file" });
      host.sys("read", [slot("file"), child, 8], { out: "length" });
      // An empty list reads as one line end.
      host.jump(done, { left: slot("length"), is: "!=", right: 1 });
      host.sys("openat", [AT_FDCWD, from!, O.CLOEXEC], { out: "from" });
      host.sys("read", [slot("from"), parent, READ_SIZE], { out: "length" });
      host.sys("write", [slot("file"), parent, slot("length")]);
      host.close("from").label(done).close("file");
    },
  );
}

/**
 * Rules go into devices.deny and devices.allow one by one. A new cgroup has its parent's access: where all is allowed,
 * there is nothing to start with, unless the cgroup was there before.
 */
function limitDevices(host: Lane, { path }: CgroupDirectory, access: DeviceAccess, made: Ref): void {
  const { O } = host.builder;
  const [first, ...exceptions] = deviceWritesV1(access);
  const write = (file: string, body: () => void) => {
    host.sys("openat", [AT_FDCWD, text(`${path}/${file}`), O.WRONLY | O.CLOEXEC], { out: "devices" });
    body();
    host.close("devices");
  };
  host.task(access.allowsAll ? "allow all devices" : "deny all devices", { path: "/linux/resources/devices" });
  const reset = () =>
    write(first.file, () => host.sys("write", [slot("devices"), text(first.value), size(first.value)]));
  if (access.allowsAll) {
    const isNew = host.builder.unique("new devices cgroup");
    host.load("made", 8, made).jump(isNew, { left: slot("made"), is: "!=", right: 0 });
    reset();
    host.label(isNew);
  } else reset();
  if (exceptions.length === 0) return;
  const verb = access.allowsAll ? "deny" : "allow";
  host.task(`${verb} single devices`, { path: "/linux/resources/devices", error: `cannot ${verb} device {item}` });
  write(exceptions[0]!.file, () =>
    host.each(
      exceptions.map(({ value, path }) => ({ item: value, ...(path === undefined ? {} : { path }) })),
      exceptions.map(({ value }) => [text(value), size(value)]),
      ([value, length]) => host.sys("write", [slot("devices"), value!, length!]),
    ));
}
