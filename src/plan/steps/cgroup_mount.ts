/** Mounts of type "cgroup": what a container sees under /sys/fs/cgroup. */
import { AT, AT_FDCWD, MS, OPEN_TREE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { slot, text } from "../builder.ts";
import { ownDirectory } from "../../cgroup/paths.ts";
import { attributesOf } from "../../spec/mount_options.ts";
import type { Recipe } from "../recipe.ts";
import { makeMissing, openBeneath } from "./beneath.ts";
import { contextParameter } from "./labels.ts";
import { attach, type MountEntry, openDestination } from "./mounts.ts";
import { freshMount, MOUNT_ATTR_SIZE, mountAttr, type Parameter } from "./rootfs.ts";

const TMPFS_FLAGS = MS.NOSUID | MS.NODEV | MS.NOEXEC;
const baseName = (path: string) => path.slice(path.lastIndexOf("/") + 1);

/** Mounts what a container sees of its cgroups, by the hierarchy that the host has. */
export function mountCgroups(recipe: Recipe, entry: MountEntry): void {
  if (recipe.facts.cgroups.version === "v2") mountV2(recipe, entry);
  else mountV1(recipe, entry);
}

/**
 * A tmpfs with a directory for each v1 hierarchy: with a cgroup namespace the hierarchy itself, whose root is then the
 * container's cgroup; without one the container's cgroup bound there.
 */
function mountV1(recipe: Recipe, entry: MountEntry): void {
  const { box, facts, request } = recipe;
  openDestination(
    box,
    entry,
    "any",
    () => makeMissing(box, entry.destination, `/mounts/${entry.index}/destination`),
  );
  const label = contextParameter(recipe);
  freshMount(box, "tmpfs", [["source", "tmpfs"], ["mode", "755"], ...label], attributesOf(TMPFS_FLAGS));
  attach(recipe, { options: { ...entry.options, recursive: undefined } }, "mount");
  box.close("mount");
  const hierarchies = facts.cgroups.mounts.filter(({ controllers }) => !controllers.includes(""));
  const onto = { options: { ...entry.options, recursive: undefined } };
  // The tmpfs is ours and new, so its directories can be made and found by name.
  openBeneath(box, slot("rootfs"), text(entry.destination), "directory", { out: "cgroups" });
  box.each(
    hierarchies.map(({ controllers }) => ({ item: controllers.join(","), path: `/mounts/${entry.index}` })),
    hierarchies.map((mount) => [
      text(baseName(mount.mountpoint)),
      // A container without a cgroup of its own stays in the caller's.
      text(
        request.cgroups.find(({ mountpoint }) => mountpoint === mount.mountpoint)?.path ?? ownDirectory(mount, "v1"),
      ),
    ]),
    ([name, path]) => {
      box.sys("mkdirat", [slot("cgroups"), name!, 0o755]);
      openBeneath(box, slot("cgroups"), name!, "ordinary directory", { out: "destination" });
      if (recipe.namespaces.has("cgroup")) return box.close("destination");
      box.sys("open_tree", [AT_FDCWD, path!, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE], { out: "mount" });
      setFlags(recipe, entry);
      attach(recipe, onto, "mount");
      box.close("mount");
    },
  );
  for (const { controllers, mountpoint } of recipe.namespaces.has("cgroup") ? hierarchies : []) {
    const attributes = attributesOf(TMPFS_FLAGS | (entry.options.flags & MS.RDONLY));
    const parameters = controllers.map((name): Parameter =>
      name.startsWith("name=") ? ["name", name.slice(5)] : [name]
    );
    const source: Parameter = ["source", controllers[0] === "name=systemd" ? "systemd" : "cgroup"];
    openBeneath(box, slot("cgroups"), text(baseName(mountpoint)), "ordinary directory", { out: "destination" });
    freshMount(box, "cgroup", [source, ...parameters], attributes);
    attach(recipe, onto, "mount");
    box.close("mount");
  }
  for (const { controllers, mountpoint } of facts.cgroups.mounts) {
    if (controllers.length < 2) continue;
    for (const name of controllers) {
      box.sys("symlinkat", [text(baseName(mountpoint)), slot("cgroups"), text(name)], { tolerate: [E.EXIST] });
    }
  }
  box.close("cgroups");
}

/** The unified hierarchy; where the kernel refuses (a user namespace without its own cgroup namespace), what the host has. */
function mountV2(recipe: Recipe, entry: MountEntry): void {
  const { b, box, facts, request } = recipe;
  openDestination(
    box,
    entry,
    "any",
    () => makeMissing(box, entry.destination, `/mounts/${entry.index}/destination`),
  );
  const [refused, mounted] = [b.unique("refused"), b.unique("mounted")];
  box.sys("fsopen", [text("cgroup2"), 1], { out: "fs" });
  const options = { tolerate: [E.PERM, E.BUSY], to: refused };
  if (entry.mount.source) box.sys("fsconfig", [slot("fs"), 1, text("source"), text(entry.mount.source), 0]);
  box.sys("fsconfig", [slot("fs"), 6, 0, 0, 0], options);
  box.sys("fsmount", [slot("fs"), 1, attributesOf(entry.options.flags)], { out: "mount", ...options });
  box.jump(mounted).label(refused);
  const own = recipe.namespaces.has("cgroup") ? request.cgroups[0]?.path : undefined;
  const path = own ?? facts.cgroups.root;
  box.sys("open_tree", [AT_FDCWD, text(path), OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE], { out: "mount" });
  setFlags(recipe, entry);
  box.label(mounted).close("fs");
  attach(recipe, entry, "mount");
  box.close("mount");
}

function setFlags({ box }: Recipe, { options }: MountEntry): void {
  const set = attributesOf(options.flags & ~(MS.NOATIME | MS.STRICTATIME | MS.NODIRATIME));
  box.sys("mount_setattr", [slot("mount"), text(""), AT.EMPTY_PATH, mountAttr(set, 0), MOUNT_ATTR_SIZE]);
}
