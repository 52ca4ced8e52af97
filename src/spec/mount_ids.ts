/**
 * The id mappings of a mount: its members uidMappings and gidMappings, or an option as crun has it. Pure.
 * Source: config.md (mounts), crun(1) (idmap mount options).
 */
import { wrong } from "./errors.ts";
import type { MountOptions } from "./mount_options.ts";
import type { IdMappings, Linux, Mount } from "./schema.ts";

export interface MountIds {
  readonly uidMappings: IdMappings;
  readonly gidMappings: IdMappings;
}

/**
 * A mount's own mappings; undefined where it has none.
 * @param linux with the mappings that relative ones are relative to
 * @param path of the mount in config.json
 * @throws {RunkError} for an option that says nothing that can be
 */
export function idsOfMount(
  { uidMappings = [], gidMappings = [] }: Mount,
  { idMappings }: Pick<MountOptions, "idMappings">,
  linux: Pick<Linux, "uidMappings" | "gidMappings">,
  path: string,
): MountIds | undefined {
  const hasMembers = uidMappings.length + gidMappings.length > 0;
  if (idMappings === undefined) return hasMembers ? { uidMappings, gidMappings } : undefined;
  if (hasMembers) wrong("a mount has its mappings in uidMappings and gidMappings, or in an option: not in both", path);
  return parseOption(idMappings, linux, `${path}/options`);
}

/** "uids=0-1-10#10-11-10;gids=@0-100-10": ranges of first id in the file system, first id on the host, length. */
function parseOption(option: string, linux: Pick<Linux, "uidMappings" | "gidMappings">, path: string): MountIds {
  const found = new Map<string, IdMappings>();
  for (const part of option.split(";")) {
    const [key = "", list = "", ...more] = part.split("=");
    if ((key !== "uids" && key !== "gids") || more.length > 0) {
      wrong(`idmap has ${JSON.stringify(part)}, where uids=... or gids=... is expected`, path);
    }
    if (found.has(key)) wrong(`idmap has ${key} twice`, path);
    const own = (key === "uids" ? linux.uidMappings : linux.gidMappings) ?? [];
    found.set(key, list.split("#").map((range) => parseRange(range, own, path)));
  }
  return { uidMappings: found.get("uids") ?? [], gidMappings: found.get("gids") ?? [] };
}

function parseRange(text: string, own: IdMappings, path: string): IdMappings[number] {
  const match = /^(@?)(\d{1,10})-(\d{1,10})-(\d{1,10})$/.exec(text);
  if (match === null) {
    return wrong(`idmap has ${JSON.stringify(text)}, where three numbers are expected: 0-1000-10`, path);
  }
  const [containerID, id, size] = match.slice(2).map(Number) as [number, number, number];
  if (match[1] === "") return { containerID, hostID: id, size };
  // Relative: the id of a user of the container, and where that is on the host.
  const range = own.find((range) => id >= range.containerID && id < range.containerID + range.size);
  if (range === undefined) {
    return wrong(`idmap has ${JSON.stringify(text)}, and the container's user namespace maps no id ${id}`, path);
  }
  if (id + size > range.containerID + range.size) {
    wrong(`idmap has ${JSON.stringify(text)}, which is more than one range of the container's: split it`, path);
  }
  return { containerID, hostID: range.hostID + id - range.containerID, size };
}
