/** Adds mounts to a container that runs, and takes them away. */
import { RunkError } from "../errors.ts";
import type { HostFacts } from "../host/facts.ts";
import { probeHost } from "../host/probe.ts";
import { assemble } from "../init/assemble.ts";
import { carryOut } from "../init/carry_out.ts";
import { type MountsRequest, planAddMounts, planRemoveMounts } from "../plan/mounts.ts";
import { byteLength } from "../plan/recipe.ts";
import type { Plan } from "../plan/types.ts";
import { runtimeAnnotations } from "../spec/annotations.ts";
import { cleanPath } from "../spec/clean_path.ts";
import { wrong } from "../spec/errors.ts";
import { checkMounts } from "../spec/mount_checks.ts";
import { parseMountOptions } from "../spec/mount_options.ts";
import { MS } from "../abi/flags.ts";
import type { IdMappings, Mount, Spec } from "../spec/schema.ts";
import { checkTexts } from "../spec/text_checks.ts";
import { annotations, bundleOf, type StateRecord } from "../state/record.ts";
import { withContainer } from "./find.ts";
import { NOT_RUNNING } from "./kill.ts";
import { namespacesToJoin } from "./namespaces.ts";
import { openInit } from "./open_init.ts";
import type { Runtime } from "./runtime.ts";

/** Mounts, and what messages call the document that they are from. */
export interface MountList {
  readonly mounts: readonly Mount[];
  readonly name: string;
}

/**
 * Mounts all of a list in a container, or none. Relative sources are relative to the bundle.
 * @throws {RunkError} when the container is not running, or naming the mount that cannot be made
 */
export const addMounts = (runtime: Runtime, id: string, { mounts, name }: MountList): Promise<void> =>
  inContainer(runtime, id, name, (record, facts) => {
    const spec: Spec = { mounts: [...mounts], linux: linuxOf(record) };
    checkMounts(spec, runtime.warn);
    mounts.forEach(checkAddable);
    return planAddMounts(spec, facts, requestOf(record));
  });

/**
 * Unmounts what is on the destinations of a list, last first; nothing when one of them has no mount.
 * @throws {RunkError} when the container is not running, or naming the mount that is not there
 */
export const removeMounts = (runtime: Runtime, id: string, { mounts, name }: MountList): Promise<void> =>
  inContainer(runtime, id, name, (record, facts) => {
    mounts.forEach(({ destination }, i) => {
      const path = `/mounts/${i}/destination`;
      checkTexts(destination, path);
      if (cleanPath("/" + destination) === "/") wrong("the root of a container cannot be removed", path);
    });
    return planRemoveMounts(mounts, facts, requestOf(record));
  });

/** Carries out a plan for a container that has a process. */
async function inContainer(
  runtime: Runtime,
  id: string,
  name: string,
  planFor: (record: StateRecord, facts: HostFacts) => Plan,
): Promise<void> {
  await withContainer(runtime, id, async ({ record, status }) => {
    if (status === "stopped") throw new RunkError(NOT_RUNNING);
    using init = openInit(record);
    if (init === undefined) throw new RunkError(NOT_RUNNING);
    try {
      const plan = planFor(record, probeHost());
      await carryOut(assemble(plan, false), {
        ...{ poll: runtime.poll, argv: [runtime.program, "init"], directory: `${runtime.root}/${id}` },
        ...{ inputs: { init }, plan: () => plan },
      });
    } catch (error) {
      if (!(error instanceof RunkError)) throw error;
      throw new RunkError(error.message.replaceAll("[config.json /mounts/", `[${name} /`));
    }
  });
}

/** More takes mount(2), which finds its place by a path. */
const TEXT_MAX = 255;

/** What was made of a namespace that this process is not in would be that of the caller. */
function checkAddable({ type, source = "", options }: Mount, index: number): void {
  const { flags, data } = parseMountOptions(options ?? []);
  const path = `/mounts/${index}`;
  if (flags & MS.REMOUNT) wrong("a remount changes a mount and adds none", `${path}/options`);
  if (flags & MS.BIND) return;
  if (type === "proc") wrong("a procfs shows the processes of its maker: only create can make the container's", path);
  if (type === "tmpfs" && [source, ...data].some((text) => byteLength(text) > TEXT_MAX)) {
    wrong(`what a tmpfs is given takes more than ${TEXT_MAX} bytes`, path);
  }
  if (type === "cgroup" || type === "cgroup2") wrong("cgroups can be mounted by create only", path);
}

function requestOf(record: StateRecord): MountsRequest {
  const bundle = bundleOf(record);
  return {
    id: record.id,
    bundle,
    annotated: runtimeAnnotations(annotations(record), bundle),
    joinsUser: namespacesToJoin(record).includes("user"),
  };
}

/** The parts of the container's config that its mounts depend on. */
function linuxOf(record: StateRecord): NonNullable<Spec["linux"]> {
  const types = namespacesToJoin(record);
  const isJoined = (name: string) => record.config.namespaces.some(({ type, path }) => type === name && path);
  const mountLabel = record.config.mount_label;
  return {
    namespaces: types.map((type) => ({
      type,
      ...(type === "network" && isJoined("NEWNET") ? { path: "joined" } : {}),
    })),
    ...(types.includes("user") ? mappingsOf(record.init_process_pid) : {}),
    ...(mountLabel === undefined ? {} : { mountLabel }),
  };
}

/** The id maps as the kernel has them: of a namespace that the container joined, too. */
function mappingsOf(pid: number): { uidMappings: IdMappings; gidMappings: IdMappings } {
  const read = (file: string) =>
    Deno.readTextFileSync(`/proc/${pid}/${file}`).trim().split("\n").map((line) => {
      const [containerID, hostID, size] = line.trim().split(/\s+/).map(Number);
      return { containerID: containerID!, hostID: hostID!, size: size! };
    });
  return { uidMappings: read("uid_map"), gidMappings: read("gid_map") };
}
