/** Asks systemd for a container's unit: to make it, to change its limits, to take it away. */
import { RunkError } from "../../errors.ts";
import type { Resources } from "../../spec/schema.ts";
import type { CgroupVersion } from "../paths.ts";
import { Bus, BusError } from "./bus.ts";
import type { Message, Value, Variant } from "./dbus.ts";
import { limitProperties, type Property, resourceProperties, type SystemdFacts } from "./properties.ts";
import { isSlice, type Unit } from "./unit.ts";

const SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket";
const MANAGER = {
  destination: "org.freedesktop.systemd1",
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.systemd1.Manager",
} as const;
const UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit";

/** Which systemd is asked: of the machine, or of the user's session. */
export interface Session {
  readonly address: string;
  readonly uid: number;
  readonly isUser: boolean;
}

/**
 * The session of a caller: root's is the machine's, any other user's (root of a user namespace, too) the own one.
 * @param environment the caller's, for the address of the session's bus
 * @throws {RunkError} when a user has no session
 */
export function sessionOf(environment: readonly string[]): Session {
  const variable = (name: string) => environment.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
  const owner = hostUser();
  if (owner === undefined) return { address: variable("DBUS_SYSTEM_BUS_ADDRESS") || SYSTEM_BUS, uid: 0, isUser: false };
  const directory = variable("XDG_RUNTIME_DIR");
  const address = variable("DBUS_SESSION_BUS_ADDRESS") || (directory ? `unix:path=${directory}/bus` : undefined);
  if (address === undefined) {
    throw new RunkError(
      "could not get the user's systemd: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set (is there a login session?)",
    );
  }
  return { address, uid: owner, isUser: true };
}

/** The user as others see it; undefined for the machine's root. */
function hostUser(): number | undefined {
  const uid = Deno.uid() ?? 0;
  if (uid !== 0) return uid;
  const [inside, outside, size] = Deno.readTextFileSync("/proc/self/uid_map").trim().split(/\s+/).map(Number);
  return inside === 0 && outside === 0 && size === 4294967295 ? undefined : outside;
}

/** The cgroup that the session's systemd itself lies in, from the hierarchy's root: "" for the machine's. */
export async function managerCgroup(session: Session): Promise<string> {
  if (!session.isUser) return "";
  using bus = await Bus.connect(session.address, session.uid);
  const path = await managerProperty(bus, "ControlGroup");
  if (typeof path.value !== "string") throw new RunkError("systemd does not say which cgroup it lies in");
  return path.value === "/" ? "" : path.value;
}

async function managerProperty(bus: Bus, name: string): Promise<Variant> {
  const [value] = await bus.call({
    ...MANAGER,
    interface: "org.freedesktop.DBus.Properties",
    member: "Get",
    signature: "ss",
    body: [MANAGER.interface, name],
  });
  return value as Variant;
}

async function factsOf(bus: Bus, cgroups: CgroupVersion): Promise<SystemdFacts> {
  const { value } = await managerProperty(bus, "Version");
  // "252.39-1~deb12u1", "v245"
  const version = Number(/\d+/.exec(String(value))?.[0] ?? 0);
  return { version, cgroups, devices: Deno.readTextFileSync("/proc/devices") };
}

export interface UnitRequest {
  readonly unit: Unit;
  readonly pid: number;
  readonly resources: Resources;
  readonly cgroups: CgroupVersion;
  /** From annotations. */
  readonly properties: readonly Property[];
}

/**
 * Makes the unit and waits until it is there; a scope has the process in it then.
 * @throws {RunkError} when systemd refuses
 */
export async function startUnit(session: Session, request: UnitRequest): Promise<void> {
  const { unit, pid, resources, cgroups } = request;
  using bus = await Bus.connect(session.address, session.uid);
  const p = (name: string, type: string, value: Value): Property => [name, { type, value }];
  const properties: Property[] = [
    p("Description", "s", `libcontainer container ${unit.container}`),
    ...(isSlice(unit)
      ? [p("Wants", "as", [unit.slice])]
      : [p("Slice", "s", unit.slice), p("Delegate", "b", true), p("PIDs", "au", [pid])]),
    p("MemoryAccounting", "b", true),
    p("CPUAccounting", "b", true),
    p(cgroups === "v2" ? "IOAccounting" : "BlockIOAccounting", "b", true),
    p("TasksAccounting", "b", true),
    p("DefaultDependencies", "b", false),
    ...resourceProperties(resources, await factsOf(bus, cgroups)),
    ...request.properties,
  ];
  const start = async () =>
    await job(bus, unit.name, {
      member: "StartTransientUnit",
      signature: "ssa(sv)a(sa(sv))",
      body: [unit.name, "replace", properties, []],
    });
  let result: string;
  try {
    result = await start();
  } catch (error) {
    if (!(error instanceof BusError) || error.errorName !== UNIT_EXISTS) throw failure(unit.name, error);
    if (isSlice(unit)) return;
    // A failed unit of that name may be left of a container before.
    await resetFailed(bus, unit.name);
    result = await start().catch((error) => {
      throw failure(unit.name, error);
    });
  }
  if (result === "done") return;
  await resetFailed(bus, unit.name);
  throw new RunkError(`error creating systemd unit ${JSON.stringify(unit.name)}: got ${JSON.stringify(result)}`);
}

const failure = (name: string, error: unknown) =>
  new RunkError(`unable to start unit ${JSON.stringify(name)}`, { cause: error });

/** Starts a job and waits for its end. @returns systemd's word for it: "done", "failed", ... */
async function job(
  bus: Bus,
  name: string,
  call: { member: string; signature: string; body: readonly Value[] },
): Promise<string> {
  await bus.subscribe(`type='signal',interface='${MANAGER.interface}',member='JobRemoved'`);
  await bus.call({ ...MANAGER, member: "Subscribe" });
  const [path] = await bus.call({ ...MANAGER, ...call });
  const isIt = ({ member, body }: Message) => member === "JobRemoved" && body[1] === path && body[2] === name;
  return String((await bus.signal(isIt)).body[3]);
}

/** Sets a unit's limits as `update` changes them; they hold until the unit ends. */
export async function changeUnit(
  session: Session,
  name: string,
  resources: Resources,
  cgroups: CgroupVersion,
): Promise<void> {
  using bus = await Bus.connect(session.address, session.uid);
  const properties = limitProperties(resources, await factsOf(bus, cgroups));
  if (properties.length === 0) return;
  try {
    await bus.call({
      ...MANAGER,
      member: "SetUnitProperties",
      signature: "sba(sv)",
      body: [name, true, properties],
    });
    // systemd has answered before it writes; it writes before it answers again.
    await managerProperty(bus, "Version");
  } catch (error) {
    throw new RunkError(`unable to set properties of unit ${JSON.stringify(name)}`, { cause: error });
  }
}

/** Takes a unit away, whatever state it is in; nothing when there is none. */
export async function stopUnit(session: Session, name: string): Promise<void> {
  using bus = await Bus.connect(session.address, session.uid);
  try {
    await job(bus, name, { member: "StopUnit", signature: "ss", body: [name, "replace"] });
  } catch (error) {
    if (!(error instanceof BusError) || error.errorName !== NO_SUCH_UNIT) throw error;
  }
  await resetFailed(bus, name);
}

async function resetFailed(bus: Bus, name: string): Promise<void> {
  try {
    await bus.call({ ...MANAGER, member: "ResetFailedUnit", signature: "s", body: [name] });
  } catch (error) {
    // Most units go with their last process.
    if (!(error instanceof BusError)) throw error;
  }
}
