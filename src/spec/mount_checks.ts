/** Checks of what config.json puts into a container: mounts, device nodes, network devices. Part of checks.ts's table. */
import { MS } from "../abi/flags.ts";
import type { Warn } from "./checks.ts";
import { cleanPath } from "./clean_path.ts";
import { wrong } from "./errors.ts";
import { idsOfMount } from "./mount_ids.ts";
import { MAY_COVER_PROC, type MountOptions, parseMountOptions } from "./mount_options.ts";
import type { IdMappings, Mount, Spec } from "./schema.ts";
import { checkTexts } from "./text_checks.ts";

/** @throws {RunkError} for the first mount that is wrong, naming its place */
export function checkMounts(spec: Spec, warn: Warn): void {
  spec.mounts?.forEach((mount, i) => checkMount(spec, mount, `/mounts/${i}`, warn));
}

function checkMount(spec: Spec, mount: Mount, path: string, warn: Warn): void {
  const { destination, source, type } = mount;
  checkTexts(mount, path);
  if (!destination.startsWith("/")) {
    warn(
      `mount destination ${destination} is not absolute: using it as relative to / is deprecated [config.json ${path}]`,
    );
  }
  const clean = cleanPath("/" + destination);
  if (clean === "/") wrong(`mountpoint ${JSON.stringify(destination)} is on the top of rootfs`, `${path}/destination`);
  const options = parseMountOptions(mount.options ?? []);
  const isBind = (options.flags & MS.BIND) !== 0;
  if (isBind && options.data.length > 0) {
    const list = options.data.map((option) => JSON.stringify(option)).join(", ");
    wrong(`bind mounts cannot have any filesystem-specific options applied: ${list}`, `${path}/options`);
  }
  if (isBind && !source) wrong("a bind mount needs a source", `${path}/source`);
  if (!isBind && !type) wrong("a mount needs a type, or the option bind or rbind", `${path}/type`);
  if (clean.startsWith("/proc/") && !MAY_COVER_PROC.includes(clean)) {
    wrong(
      `error mounting ${JSON.stringify(source ?? "")} to rootfs at ${JSON.stringify(destination)}: ` +
        `${JSON.stringify(clean)} cannot be mounted because it is inside /proc`,
      path,
    );
  }
  if (clean === "/proc" && !isBind && type !== "proc") {
    wrong(`${JSON.stringify(clean)} cannot be mounted because it is not of type proc`, path);
  }
  checkOwnOptions(mount, options, path, warn);
  checkIdMappings(spec, mount, options, path);
}

/** Options that the runtime carries out itself, on mounts that they mean nothing for. */
function checkOwnOptions({ type }: Mount, options: MountOptions, path: string, warn: Warn): void {
  const isBind = (options.flags & MS.BIND) !== 0;
  for (const [key, name] of [["copySymlink", "copy-symlink"], ["sourceNoFollow", "src-nofollow"]] as const) {
    if (options[key] && !isBind) wrong(`the option ${name} is for bind mounts only`, `${path}/options`);
  }
  if (options.copyUp && (isBind || type !== "tmpfs")) {
    warn(`the option tmpcopyup is for tmpfs only, and means nothing here [config.json ${path}/options]`);
  }
}

function checkIdMappings({ linux = {} }: Spec, mount: Mount, options: MountOptions, path: string): void {
  const own = idsOfMount(mount, options, linux, path);
  if (own === undefined && options.idmap === "") return;
  if ((options.flags & MS.BIND) === 0) wrong("id-mapped mounts are only supported for bind-mounts", path);
  const user = linux.namespaces?.find(({ type }) => type === "user");
  const { uidMappings = [], gidMappings = [] } = user === undefined ? {} : linux;
  // The mappings of the user namespace that the container joins are that namespace's own.
  if (own === undefined && user?.path) return;
  for (const [key, list] of Object.entries(own ?? { uidMappings, gidMappings })) {
    const place = options.idMappings === undefined ? `${path}/${key}` : `${path}/${IN_OPTION}`;
    if (list.length === 0) wrong("id-mapped mounts must have both uid and gid mappings specified", place);
    checkRanges(list, place);
  }
}

/** Where mappings are that have no place of their own in the config. */
const IN_OPTION = "options";
const IDS = 2 ** 32;
/** The kernel's limit on the lines of an id map. */
const RANGES_MAX = 340;

/** Ranges that the kernel would refuse with nothing but EINVAL. */
function checkRanges(list: IdMappings, path: string): void {
  if (list.length > RANGES_MAX) wrong(`${list.length} ranges of ids: the kernel takes ${RANGES_MAX}`, path);
  list.forEach((range, i) => {
    const at = path.endsWith(`/${IN_OPTION}`) ? path : `${path}/${i}`;
    if (range.size === 0) wrong("a range of ids is empty", at);
    if (range.containerID + range.size > IDS || range.hostID + range.size > IDS) {
      wrong("a range of ids is too long", at);
    }
    for (const key of ["containerID", "hostID"] as const) {
      const other = list.findIndex((earlier, j) =>
        j < i && range[key] < earlier[key] + earlier.size && earlier[key] < range[key] + range.size
      );
      if (other >= 0) wrong(`the ranges ${other} and ${i} have ${key}s in common`, at);
    }
  });
}

/** To the kernel it means that the owner stays. */
const NO_ID = 0xffffffff;
const [MAJOR_MAX, MINOR_MAX] = [0xfff, 0xfffff];

/** @throws {RunkError} for the first device node that is wrong, naming its place */
export function checkDevices(spec: Spec): void {
  spec.linux?.devices?.forEach(({ path, type, major = 0, minor = 0, uid, gid }, i) => {
    const at = `/linux/devices/${i}`;
    for (const [key, id] of [["uid", uid], ["gid", gid]] as const) {
      if (id === NO_ID) wrong(`${id} is no id that a device node could have`, `${at}/${key}`);
    }
    if (!["c", "u", "b", "p"].includes(type)) wrong(`invalid device type ${JSON.stringify(type)}`, `${at}/type`);
    if (!path.startsWith("/")) wrong(`device path ${JSON.stringify(path)} is not absolute`, `${at}/path`);
    if (cleanPath(path) === "/") wrong(`device path ${JSON.stringify(path)} is the root`, `${at}/path`);
    if (type === "p") return;
    for (const [key, value, most] of [["major", major, MAJOR_MAX], ["minor", minor, MINOR_MAX]] as const) {
      if (BigInt(value) < 0n || BigInt(value) > BigInt(most)) {
        wrong(`${value} is no ${key} number of a device node: 0 to ${most} is expected`, `${at}/${key}`);
      }
    }
  });
}

/** Rules for devices: what cgroup/devices.ts leaves out of them. */
export function checkDeviceRules({ linux }: Spec, warn: Warn): void {
  linux?.resources?.devices?.forEach(({ access = "" }, i) => {
    if (!/[^rwm]/.test(access)) return;
    const place = `[config.json /linux/resources/devices/${i}/access]`;
    warn(`device access ${JSON.stringify(access)}: only the letters r, w and m mean something ${place}`);
  });
}

const DEVICE_NAME_MAX = 15;

/** Network devices that move into the container. */
export function checkNetDevices({ linux }: Spec, hasNamespace: boolean): void {
  const names = new Map<string, string>();
  for (const [device, { name }] of Object.entries(linux?.netDevices ?? {})) {
    const path = `/linux/netDevices/${device.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    if (!hasNamespace) wrong("unable to move network devices without a private NET namespace", path);
    for (const [value, at] of [[device, path], [name || device, `${path}/name`]] as const) {
      // As the kernel's dev_valid_name().
      const isName = value.length > 0 && new TextEncoder().encode(value).length <= DEVICE_NAME_MAX &&
        ![".", "..", "lo"].includes(value) && !/[/:\s\0]/.test(value);
      if (!isName) wrong(`invalid network device name ${JSON.stringify(value)}`, at);
    }
    const taken = names.get(name || device);
    if (taken !== undefined) {
      wrong(`${taken} is to have the name ${JSON.stringify(name || device)}, too`, `${path}/name`);
    }
    names.set(name || device, device);
  }
}
