/** Device nodes, and the links in /dev that programs expect. */
import { AT, AT_FDCWD, OPEN_TREE, S, S_IFMT, STATX, STATX_FIELD, STATX_SIZE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { cleanPath } from "../../spec/clean_path.ts";
import { slot, text } from "../builder.ts";
import { hostRoot, type Recipe } from "../recipe.ts";
import { components, makeMissing, openBeneath } from "./beneath.ts";
import { ONTO, setsUpDev } from "./mounts.ts";

interface Node {
  readonly path: string;
  /** File type and permissions. */
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
  readonly uid: number;
  readonly gid: number;
  readonly configPath?: string;
}

/** Source: config-linux.md, "Default Devices". */
const DEFAULTS: readonly (readonly [path: string, major: number, minor: number])[] = [
  ["/dev/null", 1, 3],
  ["/dev/random", 1, 8],
  ["/dev/full", 1, 7],
  ["/dev/tty", 5, 0],
  ["/dev/zero", 1, 5],
  ["/dev/urandom", 1, 9],
];
const DEFAULT_MODE = 0o666;
const TYPES: Readonly<Record<string, number>> = { c: S.IFCHR, u: S.IFCHR, b: S.IFBLK, p: S.IFIFO };

/** The nodes of a container: the defaults, unless config.json has its own of that name, then config.json's. */
export function deviceNodes({ spec }: Pick<Recipe, "spec">): Node[] {
  const own = spec.linux?.devices ?? [];
  const root = { uid: hostRoot(spec, "uid"), gid: hostRoot(spec, "gid") };
  const isUserNamespace = root.uid !== 0 || root.gid !== 0;
  const defaults = DEFAULTS.filter(([path]) => !own.some((device) => device.path === path))
    .map(([path, major, minor]): Node => ({ path, mode: S.IFCHR | DEFAULT_MODE, major, minor, uid: 0, gid: 0 }));
  return [
    ...defaults,
    ...own.map((device, i): Node => ({
      path: cleanPath("/" + device.path),
      mode: (TYPES[device.type] ?? 0) | ((device.fileMode ?? DEFAULT_MODE) & ~S_IFMT),
      major: Number(device.major ?? 0),
      minor: Number(device.minor ?? 0),
      uid: isUserNamespace ? 0 : device.uid ?? 0,
      gid: isUserNamespace ? 0 : device.gid ?? 0,
      configPath: `/linux/devices/${i}`,
    })),
  ].filter(({ path }) => path !== "/dev/ptmx");
}

/** The number of a device as mknod(2) takes it. */
const deviceNumber = (major: number, minor: number) => (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);

/** Container lane: nodes, links, ptmx. */
export function makeDevices(recipe: Recipe): void {
  if (!setsUpDev(recipe)) return;
  recipe.box.task("take file modes as they are asked for").sys("umask", [0]);
  const byParent = Map.groupBy(deviceNodes(recipe), ({ path }) => "/" + components(path).slice(0, -1).join("/"));
  if (!byParent.has("/dev")) byParent.set("/dev", []);
  for (const [parent, nodes] of byParent) makeNodes(recipe, parent, nodes);
}

function makeNodes(recipe: Recipe, parent: string, nodes: readonly Node[]): void {
  const { b, box } = recipe;
  const [missing, found] = [b.unique("missing"), b.unique("found")];
  const configPath = nodes.find((node) => node.configPath !== undefined)?.configPath ?? "/linux/devices";
  box.task(`make the device nodes in ${parent}`, {
    path: configPath,
    error: `error creating device nodes in ${parent}`,
  });
  openBeneath(box, slot("rootfs"), text(parent), "directory", { out: "dev", tolerate: [E.NOENT], to: missing });
  box.jump(found).label(missing);
  makeMissing(box, parent, configPath);
  openBeneath(box, slot("rootfs"), text(parent), "directory", { out: "dev" });
  box.label(found);
  const statx = b.buffer("statx", STATX_SIZE);
  box.each(
    nodes.map(({ path, configPath }) => ({ item: path, ...(configPath === undefined ? {} : { path: configPath }) })),
    nodes.map(({ path, mode, major, minor, uid, gid }) => [
      ...[text(components(path).at(-1) ?? "."), mode, deviceNumber(major, minor)],
      ...[uid, gid, text(path), mode & S_IFMT],
    ]),
    ([name, mode, number, uid, gid, hostPath, type], next) => {
      const [bind, own] = [b.unique("bind"), b.unique("own")];
      const done = b.unique("exists");
      box.sys("mknodat", [slot("dev"), name!, mode!, number!], { out: "made", tolerate: [E.EXIST, E.PERM], to: done });
      box.jump(own, { left: uid!, is: "!=", right: 0 });
      box.jump(next, { left: gid!, is: "==", right: 0 });
      // The owner changes by descriptor, and only of what was made: someone else may be writing into this directory.
      box.label(own);
      box.sys("openat", [slot("dev"), name!, b.O.PATH | b.O.NOFOLLOW | b.O.CLOEXEC], { out: "node" });
      box.sys("statx", [slot("node"), text(""), AT.EMPTY_PATH, STATX.TYPE, statx]);
      box.load("mode", 2, statx, STATX_FIELD.mode);
      box.fail("the new device node was exchanged", { left: slot("mode"), is: "!=", right: type!, mask: S_IFMT });
      box.sys("fchownat", [slot("node"), text(""), uid!, gid!, AT.EMPTY_PATH]);
      box.close("node").jump(next);
      box.label(done).jump(bind, { left: slot("made"), is: "==", right: -E.PERM });
      box.jump(next).label(bind);
      // Where nodes cannot be made (user namespaces), the host's stands in.
      box.sys("mknodat", [slot("dev"), name!, S.IFREG, 0], { tolerate: [E.EXIST] });
      box.sys("openat", [slot("dev"), name!, b.O.PATH | b.O.NOFOLLOW | b.O.CLOEXEC], { out: "node" });
      box.sys("open_tree", [AT_FDCWD, hostPath!, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC], { out: "mount" });
      box.sys("move_mount", [slot("mount"), text(""), slot("node"), text(""), ONTO]);
      box.close("mount", "node");
    },
  );
  if (parent === "/dev") makeLinks(recipe);
  box.close("dev");
}

const LINKS = [
  ["/proc/self/fd", "fd"],
  ["/proc/self/fd/0", "stdin"],
  ["/proc/self/fd/1", "stdout"],
  ["/proc/self/fd/2", "stderr"],
] as const;

function makeLinks({ b, box }: Recipe): void {
  box.task("make the links in /dev that programs expect", { error: "error setting up /dev symlinks" });
  box.each(
    LINKS.map(([target, name]) => ({ item: `${name} -> ${target}` })),
    LINKS.map(([target, name]) => [text(target), text(name)]),
    ([target, name]) => box.sys("symlinkat", [target!, slot("dev"), name!], { tolerate: [E.EXIST] }),
  );
  const noKcore = b.unique("no kcore");
  const statx = b.buffer("statx", STATX_SIZE);
  box.sys("statx", [AT_FDCWD, text("/proc/kcore"), 0, 0, statx], { tolerate: [E.NOENT, E.ACCES], to: noKcore });
  box.sys("symlinkat", [text("/proc/kcore"), slot("dev"), text("core")], { tolerate: [E.EXIST] });
  box.label(noKcore);
  box.task("make /dev/ptmx lead to the container's own pseudo terminals", { error: "error setting up ptmx" });
  box.sys("unlinkat", [slot("dev"), text("ptmx"), 0], { tolerate: [E.NOENT] });
  box.sys("symlinkat", [text("pts/ptmx"), slot("dev"), text("ptmx")]);
}
