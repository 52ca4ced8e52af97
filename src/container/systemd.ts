/** Containers whose cgroups systemd makes: loaded only for those. */
import type { CgroupDirectory, CgroupPaths, CgroupVersion } from "../cgroup/paths.ts";
import { annotatedProperties } from "../cgroup/systemd/gvariant.ts";
import { changeUnit, managerCgroup, type Session, sessionOf, startUnit, stopUnit } from "../cgroup/systemd/manager.ts";
import type { Property } from "../cgroup/systemd/properties.ts";
import { isSlice, type Unit, unitDirectory, unitName, unitOf } from "../cgroup/systemd/unit.ts";
import { RunkError } from "../errors.ts";
import { exists } from "../files.ts";
import type { CgroupLayout } from "../host/facts.ts";
import type { Resources, Spec } from "../spec/schema.ts";
import type { CgroupsRecord } from "../state/record.ts";
import type { Runtime } from "./runtime.ts";

const RUNNING = "/run/systemd/system";

/** A container's unit, and what is known of it before it is made. */
export interface ContainerUnit {
  readonly session: Session;
  readonly unit: Unit;
  /** Properties that annotations ask for. */
  readonly properties: readonly Property[];
  readonly directories: readonly CgroupDirectory[];
  /** How the process gets in: systemd puts it into a scope; into a slice it goes by itself. */
  readonly kind: "scope" | "slice";
  readonly record: CgroupsRecord;
}

/**
 * The unit of a new container; nothing is made.
 * @param subgroup below the unit's cgroup, that of the container
 * @throws {RunkError} for a cgroupsPath or annotations that are wrong, or a user without a session
 */
export async function unitFor(
  runtime: Runtime,
  layout: CgroupLayout,
  spec: Spec,
  id: string,
  subgroup: string | undefined,
): Promise<ContainerUnit> {
  const session = sessionOf(runtime.environment());
  const unit = unitOf(spec.linux?.cgroupsPath, id, session.isUser);
  const below = (await managerCgroup(session)) + unitDirectory(unit);
  const { name, slice, prefix, container } = unit;
  return {
    session,
    unit,
    properties: annotatedProperties(spec.annotations ?? {}),
    directories: layout.mounts.map(({ controllers, mountpoint }) => ({
      controllers,
      mountpoint,
      base: mountpoint,
      path: mountpoint + below + (subgroup === undefined ? "" : `/${subgroup}`),
    })),
    kind: isSlice({ name }) ? "slice" : "scope",
    record: {
      name: container,
      path: "",
      parent: slice,
      scope_prefix: prefix,
      devices: [],
      Systemd: true,
      Rootless: session.isUser,
    },
  };
}

/** @throws {RunkError} where systemd does not run */
export function requireSystemd(): void {
  if (exists(RUNNING)) return;
  throw new RunkError("systemd not running on this host, cannot use systemd cgroups manager");
}

/** Makes the unit, with the container's process in it. */
export async function startContainerUnit(
  { session, unit, properties }: ContainerUnit,
  spec: Spec,
  pid: number,
  cgroups: CgroupVersion,
): Promise<void> {
  await startUnit(session, { unit, pid, cgroups, properties, resources: spec.linux?.resources ?? {} });
}

const nameOf = ({ scope_prefix = "", name = "" }: CgroupsRecord) => unitName(scope_prefix, name);

/** Takes a container's unit away; its processes have ended. */
export async function stopContainerUnit(runtime: Runtime, cgroups: CgroupsRecord): Promise<void> {
  await stopUnit(sessionOf(runtime.environment()), nameOf(cgroups));
}

/** The unit's own directories, where the container's are below them: those of v1 controllers that systemd leaves alone. */
export function unitDirectories(cgroups: CgroupsRecord, paths: CgroupPaths = {}): CgroupPaths {
  const name = `/${nameOf(cgroups)}`;
  return Object.fromEntries(
    Object.entries(paths).map(([key, path]): [string, string] => {
      const end = `${path}/`.indexOf(`${name}/`);
      return [key, end < 0 ? path : path.slice(0, end + name.length)];
    }),
  );
}

/** Sets the unit's limits: systemd would bring old ones back when its configuration is loaded anew. */
export async function changeContainerUnit(
  runtime: Runtime,
  cgroups: CgroupsRecord,
  limits: Resources,
  version: CgroupVersion,
): Promise<void> {
  await changeUnit(sessionOf(runtime.environment()), nameOf(cgroups), limits, version);
}
