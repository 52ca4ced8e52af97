/** A container's systemd unit: its name, its slice, where its cgroup is. Pure. Source: runc's systemd driver. */
import { RunkError } from "../../errors.ts";

export interface Unit {
  /** "runc-ID.scope", or a slice's own name. */
  readonly name: string;
  readonly slice: string;
  readonly prefix: string;
  /** The container's part of the name. */
  readonly container: string;
}

const PATH = "[config.json /linux/cgroupsPath]";

/**
 * The unit that a cgroupsPath of the form slice:prefix:name means.
 * @param isUser the user's own systemd is asked
 * @throws {RunkError} for another form, or a slice that there cannot be
 */
export function unitOf(cgroupsPath: string | undefined, id: string, isUser: boolean): Unit {
  const parts = cgroupsPath ? cgroupsPath.split(":") : ["", "runc", id];
  if (parts.length !== 3) {
    throw new RunkError(
      `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got ${
        JSON.stringify(cgroupsPath)
      } instead ${PATH}`,
    );
  }
  const [parent, prefix, container] = parts as [string, string, string];
  if (container === "" || container.includes("/") || prefix.includes("/")) {
    throw new RunkError(`cgroupsPath ${JSON.stringify(cgroupsPath)} makes no name of a systemd unit ${PATH}`);
  }
  const slice = parent === "" ? (isUser ? "user.slice" : "system.slice") : parent;
  const unit = { name: unitName(prefix, container), slice, prefix, container };
  sliceDirectory(slice);
  if (isSlice(unit)) sliceDirectory(unit.name);
  return unit;
}

/** runc's name for the unit of a cgroupsPath "slice:prefix:container". */
export const unitName = (prefix: string, container: string): string =>
  container.endsWith(".slice") ? container : `${prefix}-${container}.scope`;

/** A slice holds no processes by itself: systemd makes it, and the container joins. */
export const isSlice = ({ name }: Pick<Unit, "name">): boolean => name.endsWith(".slice");

/** The unit's cgroup below that of its systemd. */
export const unitDirectory = (unit: Unit): string =>
  isSlice(unit) ? sliceDirectory(unit.name) : `${sliceDirectory(unit.slice)}/${unit.name}`;

/**
 * "a-b.slice" -> "/a.slice/a-b.slice"; the root slice "-.slice" -> "".
 * @throws {RunkError} for what is no name of a slice
 */
export function sliceDirectory(slice: string): string {
  const invalid = () => new RunkError(`invalid slice name: ${slice} ${PATH}`);
  if (!slice.endsWith(".slice") || slice.length <= ".slice".length || slice.includes("/")) throw invalid();
  const name = slice.slice(0, -".slice".length);
  if (name === "-") return "";
  const parts = name.split("-");
  if (parts.includes("")) throw invalid();
  return parts.map((_, i) => `/${parts.slice(0, i + 1).join("-")}.slice`).join("");
}
