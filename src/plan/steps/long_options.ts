/**
 * File systems with options of more than 255 bytes, which fsconfig(2) does not take: overlays of many layers. mount(2)
 * takes them, up to a page, but only on a path: so it mounts in a directory of a private tmpfs, which goes again.
 */
import { AT_FDCWD, MNT, MS, OPEN_TREE } from "../../abi/flags.ts";
import { type Lane, slot, text } from "../builder.ts";
import { byteLength } from "../recipe.ts";
import { wrong } from "../../spec/errors.ts";
import { type MountEntry, ONTO } from "./mounts.ts";
import { freshMount, type Parameter } from "./rootfs.ts";

const DATA_MAX = 4095;
const PLACE = "m";
/** Overlay's options that are paths, and lists of them. */
const PATHS = ["lowerdir", "upperdir", "workdir"];

/** The new mount in slot "mount"; slot "destination" is covered for a moment. */
export function mountWithLongOptions(
  lane: Lane,
  { mount, index }: MountEntry,
  flags: number,
  parameters: readonly Parameter[],
): void {
  const { type = "", source = "" } = mount;
  let data = dataOf(parameters);
  let links: string[] = [];
  if (byteLength(data) > DATA_MAX && type === "overlay") [data, links] = shorten(parameters);
  if (byteLength(data) > DATA_MAX) {
    wrong(`${byteLength(data)} bytes of options: the kernel takes ${DATA_MAX}`, `/mounts/${index}/options`);
  }
  freshMount(lane, "tmpfs", [["mode", "700"]], 0);
  lane.set("scratch", slot("mount"));
  lane.sys("move_mount", [slot("scratch"), text(""), slot("destination"), text(""), ONTO]);
  lane.sys("fchdir", [slot("scratch")]).sys("mkdirat", [AT_FDCWD, text(PLACE), 0o700]);
  links.forEach((path, i) => lane.sys("symlinkat", [text(path), AT_FDCWD, text(String(i))]));
  const rest = flags & ~(MS.REC | MS.BIND | MS.REMOUNT);
  lane.sys("mount", [text(source), text(PLACE), text(type), rest, text(data)]);
  lane.sys("open_tree", [AT_FDCWD, text(PLACE), OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC], { out: "mount" });
  lane.sys("umount2", [text("."), MNT.DETACH]).sys("chdir", [text("/")]).close("scratch");
}

const dataOf = (parameters: readonly Parameter[]) =>
  parameters.map(([name, value]) => (value === undefined ? name : `${name}=${value.replaceAll(",", "\\,")}`)).join(",");

/** More than a page of paths: symlinks with short names stand for them, beside the place that is mounted on. */
function shorten(parameters: readonly Parameter[]): [data: string, links: string[]] {
  const links: string[] = [];
  const short = (path: string) => (path === "" ? "" : String(links.push(path.replaceAll("\\:", ":")) - 1));
  const shorter = parameters.map(([name, value]): Parameter => {
    if (value === undefined || !PATHS.includes(name)) return value === undefined ? [name] : [name, value];
    return [name, name === "lowerdir" ? value.split(/(?<!\\):/).map(short).join(":") : short(value)];
  });
  return [dataOf(shorter), links];
}
