/**
 * The mounts of a container that come from outside of it: criu does not save them, but is told at which paths they are,
 * and what is to be mounted there again. Both are named as runc names them, so that either restores the other's images.
 */
import { O } from "../abi/arch.ts";
import { AT_FDCWD, RESOLVE } from "../abi/flags.ts";
import { type CgroupPaths, ownDirectory, versionOf } from "../cgroup/paths.ts";
import type { ExternalMount } from "../criu/messages.ts";
import { RunkError } from "../errors.ts";
import { call, tryCall } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { cstring, Memory } from "../../ffi/memory.ts";
import type { CgroupLayout } from "../host/facts.ts";
import { deviceNodes } from "../plan/steps/devices.ts";
import { mountEntries } from "../plan/steps/mounts.ts";
import { insideRootfs, sourcePath } from "../plan/recipe.ts";
import { cleanPath } from "../spec/clean_path.ts";
import type { Spec } from "../spec/schema.ts";
import type { ConfigRecord } from "../state/record.ts";

/** What of a container is not its own. */
export interface Outside {
  /** In the order in which they are mounted. */
  readonly binds: readonly { readonly destination: string; readonly source: string }[];
  /** Paths covered by the null device, or by an empty directory. */
  readonly masked: readonly string[];
  /** Device nodes, which may be bind mounts. */
  readonly devices: readonly string[];
}

/** @param bundle the directory that relative sources are relative to */
export function outsideOf(spec: Spec, bundle: string, cgroups: CgroupLayout, paths: CgroupPaths): Outside {
  const binds = mountEntries({ spec, request: { bundle } }).flatMap(({ isBind, mount, destination, options }) => {
    const { source = "", type } = mount;
    if ((mount.uidMappings ?? []).length > 0 || options.idmap !== "") {
      throw new RunkError(`criu cannot restore a mount with mapped ids: ${JSON.stringify(destination)}`);
    }
    if (isBind) return [{ destination, source: cleanPath(sourcePath(bundle, source)) }];
    return type === "cgroup" && !hasCgroupNamespace(spec) ? cgroupBinds(destination, cgroups, paths) : [];
  });
  return { binds, masked: spec.linux?.maskedPaths ?? [], devices: deviceNodes({ spec }).map(({ path }) => path) };
}

const hasCgroupNamespace = ({ linux }: Spec) => linux?.namespaces?.some(({ type }) => type === "cgroup") ?? false;

/** v1 without a cgroup namespace: the container's directory of each hierarchy is a bind mount. */
function cgroupBinds(destination: string, { version, mounts }: CgroupLayout, paths: CgroupPaths): Outside["binds"] {
  if (version !== "v1") return [];
  return mounts.filter(({ controllers }) => !controllers.includes("")).map((mount) => ({
    destination: `${destination}/${mount.mountpoint.slice(mount.mountpoint.lastIndexOf("/") + 1)}`,
    source: paths[mount.controllers[0]!] ?? ownDirectory(mount, "v1"),
  }));
}

/** The same of a container that runc made. */
export function outsideOfRecord(config: ConfigRecord, cgroups: CgroupLayout, paths: CgroupPaths): Outside {
  const ownsCgroups = config.namespaces.some(({ type }) => type === "NEWCGROUP");
  const binds = (config.mounts ?? []).flatMap(({ device, destination: given = "", source = "" }) => {
    const destination = insideRootfs(config.rootfs, given) ?? given;
    if (device === "bind") return [{ destination, source }];
    const isShared = device === "cgroup" && !ownsCgroups && versionOf(paths) === "v1";
    return isShared ? cgroupBinds(destination, cgroups, paths) : [];
  });
  return {
    binds,
    masked: config.mask_paths ?? [],
    devices: (config.devices ?? []).flatMap(({ path }) => (path === undefined ? [] : [path])),
  };
}

const NULL = "/dev/null";

/** What to leave out of images. @param pid of the container's first process: paths are what they are in its root */
export function mountsToLeaveOut({ binds, masked, devices }: Outside, pid: number): ExternalMount[] {
  using root = openDirectory(`/proc/${pid}/root`);
  const mounts = [...binds.map(({ destination }) => destination), ...devices].map((path) => {
    const key = resolved(root, "", path);
    return { key, val: key };
  });
  const files = masked.filter((path) => isFile(root, path)).map((path) => ({
    key: resolved(root, "", path),
    val: NULL,
  }));
  return [...mounts, ...files];
}

/** What to mount for images that left it out. @param rootfs absolute path */
export function mountsToBringBack({ binds, masked, devices }: Outside, rootfs: string): ExternalMount[] {
  using root = openDirectory(rootfs);
  const prefix = Deno.readLinkSync(`/proc/self/fd/${root.number}`);
  return [
    ...binds.map(({ destination, source }) => ({ key: resolved(root, prefix, destination), val: source })),
    ...(masked.length === 0 ? [] : [{ key: NULL, val: NULL }]),
    ...devices.map((path) => ({ key: resolved(root, prefix, path), val: path })),
  ];
}

const openDirectory = (path: string) =>
  new Fd(call("openat", AT_FDCWD, cstring(path), O[arch].PATH | O[arch].DIRECTORY | O[arch].CLOEXEC, 0));

/** Opens a path inside a root, where no symlink leads out of it; undefined when it is not there. */
function openInside(root: Fd, path: string, flags = 0): Fd | undefined {
  const how = new Memory(24);
  how.view.setBigUint64(0, BigInt(O[arch].PATH | O[arch].CLOEXEC | flags), true);
  how.view.setBigUint64(16, BigInt(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS), true);
  const answer = tryCall("openat2", root.number, cstring(path), how, how.bytes.length);
  return answer < 0 ? undefined : new Fd(answer);
}

const isFile = (root: Fd, path: string): boolean => {
  using file = openInside(root, path);
  using directory = openInside(root, path, O[arch].DIRECTORY);
  return file !== undefined && directory === undefined;
};

/** A path with the symlinks on its way followed; what of it does not exist yet stays as it is. */
function resolved(root: Fd, prefix: string, path: string): string {
  const parts = cleanPath("/" + path).split("/").slice(1);
  for (let length = parts.length; length > 0; length--) {
    using found = openInside(root, "/" + parts.slice(0, length).join("/"));
    if (found === undefined) continue;
    const real = Deno.readLinkSync(`/proc/self/fd/${found.number}`);
    return cleanPath("/" + [real.slice(prefix.length), ...parts.slice(length)].join("/"));
  }
  return path;
}
