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
const NUMBER_MAX = 2n ** 32n - 1n;
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
 * @throws {RunkError} naming the config path for a rule without access, of an unknown type or number
 */
export function deviceRules(resources: Resources | undefined): DeviceRule[] {
  const own = (resources?.devices ?? []).map((device, i): DeviceRule => {
    const path = `/linux/resources/devices/${i}`;
    const type = device.type || "a";
    if (type !== "a" && type !== "b" && type !== "c") {
      throw new RunkError(`${path}/type: invalid cgroup device type ${JSON.stringify(type)}: a, b or c is expected`);
    }
    if (!device.access) throw new RunkError(`${path}/access: device access at ${i} field cannot be empty`);
    // Other letters mean nothing (checks.ts warns).
    const access = letters((letter) => device.access!.includes(letter));
    if (access === "") {
      throw new RunkError(`${path}/access: expected letters of "rwm", got ${JSON.stringify(device.access)}`);
    }
    const [major, minor] = (["major", "minor"] as const).map((key) => numberOf(device[key], `${path}/${key}`));
    return {
      allow: device.allow ?? false,
      type,
      major: major!,
      minor: minor!,
      access,
      path,
    };
  });
  return [...own, ...DEFAULT_RULES];
}

/** The kernel has 32 bits for it: of a larger one, an eBPF program would see another device's. */
function numberOf(value: number | bigint = ALL, path: string): number | bigint {
  if (BigInt(value) >= BigInt(ALL) && BigInt(value) <= NUMBER_MAX) return value;
  throw new RunkError(`${path}: ${value} is no number of a device: -1 to ${NUMBER_MAX} is expected`);
}

/** What rules come to: everything but the exceptions, or nothing but them. */
export interface DeviceAccess {
  readonly allowsAll: boolean;
  /** Each device once; allowed ones where not all are, denied ones where all are. */
  readonly exceptions: readonly DeviceRule[];
}

/**
 * Rules taken together, by the kernel's own way with them: one for everything starts afresh, later ones add to the
 * exceptions or take from them. Before the first rule nothing is allowed.
 * @throws {RunkError} for a rule that would have to take a part out of an exception for more: the kernel cannot, and
 * would say nothing
 */
export function deviceAccess(rules: readonly DeviceRule[]): DeviceAccess {
  let allowsAll = false;
  const exceptions = new Map<string, DeviceRule>();
  for (const rule of rules) {
    if (rule.type === "a") {
      allowsAll = rule.allow;
      exceptions.clear();
      continue;
    }
    const name = deviceName(rule);
    const known = exceptions.get(name);
    const isException = rule.allow !== allowsAll;
    if (!isException) refuseHole(rule, exceptions);
    const access = letters((letter) => {
      const isKnown = known?.access.includes(letter) ?? false;
      return rule.access.includes(letter) ? isException : isKnown;
    });
    if (access === "") exceptions.delete(name);
    else exceptions.set(name, { ...(isException ? rule : known!), access });
  }
  return { allowsAll, exceptions: [...exceptions.values()] };
}

function refuseHole(rule: DeviceRule, exceptions: ReadonlyMap<string, DeviceRule>): void {
  const { type, major, minor, access, path } = rule;
  const name = deviceName(rule);
  for (const wider of [{ type, major: ALL, minor }, { type, major, minor: ALL }, { type, major: ALL, minor: ALL }]) {
    const known = deviceName(wider) === name ? undefined : exceptions.get(deviceName(wider));
    if (known === undefined || !access.split("").some((letter) => known.access.includes(letter))) continue;
    throw new RunkError(
      `requested rule [${name} ${access}] not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule [${
        deviceName(known)
      } ${known.access}])${path === undefined ? "" : ` [config.json ${path}]`}`,
    );
  }
}

const deviceName = ({ type, major, minor }: Pick<DeviceRule, "type" | "major" | "minor">) =>
  `${type} ${number(major)}:${number(minor)}`;
const number = (value: number | bigint) => (BigInt(value) === -1n ? "*" : String(value));
const letters = (has: (letter: string) => boolean) => "rwm".split("").filter(has).join("");

export interface DeviceWrite {
  readonly file: "devices.allow" | "devices.deny";
  readonly value: string;
  readonly path?: string;
}

/** The access as writes into files of a v1 cgroup, as few as there can be: the first starts afresh. */
export function deviceWritesV1(
  { allowsAll, exceptions }: DeviceAccess,
): [first: DeviceWrite, ...exceptions: DeviceWrite[]] {
  return [
    { file: allowsAll ? "devices.allow" : "devices.deny", value: "a", path: "/linux/resources/devices" },
    ...exceptions.map((rule): DeviceWrite => ({
      file: allowsAll ? "devices.deny" : "devices.allow",
      value: `${deviceName(rule)} ${rule.access}`,
      ...(rule.path === undefined ? {} : { path: rule.path }),
    })),
  ];
}
