/** User namespaces: the host lane writes the id maps, and the container's process becomes root inside. */
import { AT_FDCWD } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import type { IdMappings } from "../../spec/schema.ts";
import { bytes, type Lane, size, slot, text } from "../builder.ts";
import { isNew, type Recipe } from "../recipe.ts";
import { meet } from "./lanes.ts";

/** Both lanes: the host lane writes the id maps of a new user namespace, then the container becomes its root. */
export function mapIds(recipe: Recipe): void {
  const { b, host, box, spec, facts } = recipe;
  if (!isNew(recipe, "user")) return;
  processDirectory(recipe);
  const write = (file: string, content: string, path: string) => {
    host.task(`write ${file} of the new user namespace`, { path, error: `cannot write ${file}` });
    host.sys("openat", [slot("process"), text(file), b.O.WRONLY | b.O.CLOEXEC], { out: "file" });
    host.sys("write", [
      slot("file"),
      bytes(new TextEncoder().encode(content), JSON.stringify(content)),
      size(content),
    ]);
    host.close("file");
  };
  if (facts.uid !== 0) write("setgroups", "deny", "/linux/gidMappings");
  write("gid_map", mapText(spec.linux?.gidMappings), "/linux/gidMappings");
  write("uid_map", mapText(spec.linux?.uidMappings), "/linux/uidMappings");
  meet(recipe, "host", "ids mapped");
  becomeRoot(box, recipe.request.annotated?.keepsGroups);
}

const mapText = (mappings: IdMappings | undefined) =>
  (mappings ?? []).map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");

/** Become root of the user namespace one is in. setgroups: EPERM where the namespace denies it. */
export function becomeRoot(lane: Lane, keepsGroups = false): void {
  lane.task("become root of the user namespace");
  lane.sys("setresgid", [0, 0, 0]);
  if (!keepsGroups) lane.sys("setgroups", [0, 0], { tolerate: [E.PERM] });
  lane.sys("setresuid", [0, 0, 0]);
}

/** Host lane: a descriptor of /proc/<pid> of the container's process, in slot "process"; opened once. */
export function processDirectory({ b, host }: Pick<Recipe, "b" | "host">): void {
  if (host.steps.some(({ out }) => out === "process")) return;
  const path = b.buffer("process path", 32, { bytes: new TextEncoder().encode("/proc/") });
  host.task("open the container's process in /proc");
  host.format(slot("pid"), path.plus(6));
  host.sys("openat", [AT_FDCWD, path, b.O.PATH | b.O.DIRECTORY | b.O.CLOEXEC], { out: "process" });
}
