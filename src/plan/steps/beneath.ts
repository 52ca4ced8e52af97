/**
 * Paths inside the rootfs. Nothing is ever found by a plain path there: openat2(2) resolves beneath the rootfs's
 * descriptor (a symlink cannot lead out, a magic link is not followed), and what is missing is made through descriptors.
 */
import { RESOLVE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { type Lane, place, type PlanBuilder, slot, text, words } from "../builder.ts";
import type { Operand, Ref } from "../types.ts";

export const OPEN_HOW_SIZE = 24;
const IN_ROOT = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;

/** struct open_how: only a descriptor for the path (O_PATH), resolved inside the root. */
export function how(b: PlanBuilder, kind: "any" | "directory" | "ordinary directory"): Ref {
  const { O } = b;
  const flags = {
    "any": O.PATH | O.CLOEXEC,
    "directory": O.PATH | O.CLOEXEC | O.DIRECTORY,
    // Not even a symlink as the last component.
    "ordinary directory": O.PATH | O.CLOEXEC | O.DIRECTORY | O.NOFOLLOW,
  }[kind];
  return words([flags, 0, IN_ROOT], `{${kind}, in root}`);
}

/** Opens `path` beneath the root in slot `root`. */
export function openBeneath(
  lane: Lane,
  root: Operand,
  path: Operand,
  kind: Parameters<typeof how>[1],
  options: Parameters<Lane["sys"]>[2],
): void {
  lane.sys("openat2", [root, path, how(lane.builder, kind), OPEN_HOW_SIZE], options);
}

/** The parts of an absolute path inside the root: "/a/b" -> ["a", "b"]. */
export const components = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

/**
 * Makes the directories of `path` that are missing, each in its parent's descriptor. The steps exist once in a plan and
 * are jumped to (cold: most rootfs have what they need).
 * @param configPath where in config.json the path comes from
 */
export function makeDirectories(lane: Lane, path: string, configPath: string): void {
  const b = lane.builder;
  let section = sections.get(b);
  if (section === undefined) sections.set(b, section = addSection(b, lane.name));
  const back = b.unique("made directories");
  const parts = components(path);
  // Pairs (parent, name) from the top down, then a zero.
  const pairs = parts.flatMap((name, i): Operand[] => [text("/" + parts.slice(0, i).join("/")), text(name)]);
  lane.set("index", section.items.push({ item: path, path: configPath }) - 1);
  lane.set("directories", words([...pairs, 0], parts.join("/")));
  lane.set("directories.back", place(back));
  lane.jump(section.label).label(back);
}

interface Section {
  readonly label: string;
  readonly items: { item: string; path: string }[];
}
const sections = new WeakMap<PlanBuilder, Section>();

function addSection(b: PlanBuilder, laneName: string): Section {
  const label = "make missing directories";
  const items: Section["items"] = [];
  const lane = b.section(laneName, label);
  const [parent, name] = ["directories.parent", "directories.name"];
  const done = b.unique("directories done");
  lane.task("make missing directories of the rootfs, each in its parent", {
    error: `make mountpoint "{item}"`,
    each: items,
  });
  lane.load(parent, 8, slot("directories"));
  lane.jump(done, { left: slot(parent), is: "==", right: 0 });
  lane.load(name, 8, slot("directories"), 8);
  openBeneath(lane, slot("rootfs"), slot(parent), "directory", { out: "directories.fd" });
  lane.sys("mkdirat", [slot("directories.fd"), slot(name), 0o755], { tolerate: [E.EXIST] });
  lane.close("directories.fd");
  lane.set("directories", slot("directories"), 16);
  lane.jump(label);
  lane.label(done).jumpBack("directories.back");
  return { label, items };
}
