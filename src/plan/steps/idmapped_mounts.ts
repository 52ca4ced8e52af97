/** Idmapped mounts: a mount whose files have other owners, as a user namespace made for it says. */
import { AT, AT_FDCWD, CLONE, MOUNT_ATTR, P, SIGINFO_SIZE, W } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { SIG } from "../../abi/names.ts";
import { RunkError } from "../../errors.ts";
import { idsOfMount } from "../../spec/mount_ids.ts";
import { size, slot, text } from "../builder.ts";
import type { Recipe } from "../recipe.ts";
import { mapText } from "./id_maps.ts";
import { CLONE_ARGS_SIZE } from "./lanes.ts";
import type { MountEntry } from "./mounts.ts";
import { joined } from "./namespaces.ts";
import { MOUNT_ATTR_SIZE } from "./rootfs.ts";

const USERNS_FIELD = 24;

/** Host lane: maps the ids of the mount tree in slot `tree`; of all of it with "ridmap". */
export function mapMountIds(recipe: Recipe, entry: MountEntry, tree: string): void {
  const { b, host } = recipe;
  const { options, index } = entry;
  const path = `/mounts/${index}`;
  if (recipe.facts.uid !== 0) {
    throw new RunkError(`id-mapped mounts are not supported for rootless containers [config.json ${path}]`);
  }
  const namespace = userNamespace(recipe, entry);
  const attr = b.buffer("idmap", MOUNT_ATTR_SIZE, { words: [MOUNT_ATTR.IDMAP, 0, 0, 0] });
  const unsupported = b.unique("no idmap");
  host.task(`map the ids of the mount on ${entry.destination}`, {
    path,
    error: "failed to set MOUNT_ATTR_IDMAP",
  });
  host.store(8, slot(namespace), attr, USERNS_FIELD);
  const flags = AT.EMPTY_PATH | (options.idmap === "ridmap" ? AT.RECURSIVE : 0);
  host.sys("mount_setattr", [slot(tree), text(""), flags, attr, MOUNT_ATTR_SIZE], {
    out: "mapped",
    tolerate: [E.INVAL],
    to: unsupported,
  });
  host.jump(`${unsupported}: mapped`).label(unsupported);
  host.fail(
    `${entry.task.error}: failed to set MOUNT_ATTR_IDMAP (maybe the filesystem used doesn't support idmap mounts on this kernel?)`,
    undefined,
    E.INVAL,
  );
  host.label(`${unsupported}: mapped`);
}

/** Slot with the user namespace for a mount: the one that the container joins, or one made of the mappings. */
function userNamespace(recipe: Recipe, { mount, options, index }: MountEntry): string {
  const { host, namespaces, spec } = recipe;
  const path = `/mounts/${index}`;
  const own = idsOfMount(mount, options, spec.linux ?? {}, path);
  if (own === undefined && namespaces.get("user")?.path !== undefined) return joined("user");
  const { uidMappings = [], gidMappings = [] } = own ?? spec.linux ?? {};
  const [uids, gids] = [mapText(uidMappings), mapText(gidMappings)];
  const name = `user namespace of ${uids}${gids}`.replaceAll("\n", ",");
  // One for all mounts with the same mappings.
  if (!host.steps.some(({ out }) => out === name)) makeUserNamespace(recipe, name, uids, gids, path);
  return name;
}

/**
 * A process makes the namespace and ends at once; while it is not waited for, its files in /proc still lead to the
 * namespace. So there is nothing to kill, whatever fails.
 */
function makeUserNamespace({ b, host }: Recipe, name: string, uids: string, gids: string, path: string): void {
  const child = "the maker of a user namespace ends";
  if (!host.steps.some(({ to }) => to === child)) {
    const lane = b.section("user namespace's maker", child);
    lane.task("end: only the namespace is wanted").sys("exit_group", [0]);
  }
  const flags = CLONE.NEWUSER;
  const args = b.buffer("maker's clone args", CLONE_ARGS_SIZE, { words: [flags, 0, 0, 0, SIG.CHLD, 0, 0, 0, 0, 0, 0] });
  const directory = b.buffer("maker's path", 32, { bytes: new TextEncoder().encode("/proc/") });
  host.task("make a user namespace for id-mapped mounts", {
    path,
    error: "cannot make a user namespace for the mount",
  });
  host.sys("clone3", [args, CLONE_ARGS_SIZE], { out: "maker" });
  host.jump(child, { left: slot("maker"), is: "==", right: 0 });
  host.format(slot("maker"), directory.plus(6));
  host.sys("openat", [AT_FDCWD, directory, b.O.PATH | b.O.DIRECTORY | b.O.CLOEXEC], { out: "maker's directory" });
  for (const [file, content] of [["gid_map", gids], ["uid_map", uids]] as const) {
    host.task(`write the namespace's ${file}`, { path: `${path}/${file[0]}idMappings`, error: `cannot write ${file}` });
    host.sys("openat", [slot("maker's directory"), text(file), b.O.WRONLY | b.O.CLOEXEC], { out: "file" });
    host.sys("write", [slot("file"), text(content), size(content)]).close("file");
  }
  host.task("keep the namespace, and let its maker go", { path });
  host.sys("openat", [slot("maker's directory"), text("ns/user"), b.O.CLOEXEC], { out: name });
  host.close("maker's directory");
  host.sys("waitid", [P.PID, slot("maker"), b.buffer("maker's end", SIGINFO_SIZE), W.EXITED, 0]);
}
