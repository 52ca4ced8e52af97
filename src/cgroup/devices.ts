/**
 * Device rules of a container: those of config.json, then what every container may use. Pure.
 * Source: config-linux.md (Allowed Device list), and runc for the defaults.
 */
import { RunkError } from "../errors.ts";
import type { Resources } from "../spec/schema.ts";

/** A rule; major and minor -1 stand for all. */
export interface DeviceRule {
  readonly allow: boolean;
  readonly type: "a" | "b" | "c";
  readonly major: number | bigint;
  readonly minor: number | bigint;
  readonly access: string;
  /** Where in config.json it comes from; undefined for a rule that every container gets. */
  readonly path?: string;
}

const ALL = -1;
const allowed = (type: "b" | "c", major: number, minor: number, access = "rwm"): DeviceRule => ({
  allow: true,
  type,
  major,
  minor,
  access,
});

/** Making any node; the default nodes; pseudo terminals, /dev/ptmx, /dev/net/tun. It cannot be turned off. */
export const DEFAULT_RULES: readonly DeviceRule[] = [
  allowed("c", ALL, ALL, "m"),
  allowed("b", ALL, ALL, "m"),
  allowed("c", 1, 3),
  allowed("c", 1, 8),
  allowed("c", 1, 7),
  allowed("c", 5, 0),
  allowed("c", 1, 5),
  allowed("c", 1, 9),
  allowed("c", 136, ALL),
  allowed("c", 5, 2),
  allowed("c", 10, 200),
];

/**
 * The rules in the order in which they apply.
 * @throws {RunkError} naming the config path for a rule without access or of an unknown type
 */
export function deviceRules(resources: Resources | undefined): DeviceRule[] {
  const own = (resources?.devices ?? []).map((device, i): DeviceRule => {
    const path = `/linux/resources/devices/${i}`;
    const type = device.type || "a";
    if (type !== "a" && type !== "b" && type !== "c") {
      throw new RunkError(`${path}/type: invalid cgroup device type ${JSON.stringify(type)}: a, b or c is expected`);
    }
    if (!device.access) throw new RunkError(`${path}/access: device access at ${i} field cannot be empty`);
    if (!/^[rwm]+$/.test(device.access)) {
      throw new RunkError(`${path}/access: expected letters of "rwm", got ${JSON.stringify(device.access)}`);
    }
    return {
      allow: device.allow ?? false,
      type,
      major: device.major ?? ALL,
      minor: device.minor ?? ALL,
      access: device.access,
      path,
    };
  });
  return [...own, ...DEFAULT_RULES];
}

/**
 * The rules as writes into devices.allow and devices.deny of a new v1 cgroup, which has its parent's access. A leading
 * rule for everything becomes the one word "a"; a rule for everything on a new cgroup that allows changes nothing.
 */
export function deviceWritesV1(rules: readonly DeviceRule[]): { file: string; value: string; path?: string }[] {
  return rules.map(({ allow, type, major, minor, access, path }) => {
    const number = (value: number | bigint) => BigInt(value) === -1n ? "*" : String(value);
    const everything = type === "a" && BigInt(major) === -1n && BigInt(minor) === -1n && isFull(access);
    return {
      file: allow ? "devices.allow" : "devices.deny",
      value: everything ? "a" : `${type} ${number(major)}:${number(minor)} ${access}`,
      ...(path === undefined ? {} : { path }),
    };
  });
}

const isFull = (access: string) => "rwm".split("").every((letter) => access.includes(letter));
