/** What a machine looks like from outside before a test, and that it looks the same afterwards. */

export interface Before {
  readonly mounts: ReadonlySet<string>;
  readonly cgroups: ReadonlySet<string>;
}

/** A box, as far as this module needs to know it. */
interface Owner {
  readonly directory: string;
  readonly root: string;
}

const CGROUP_ROOT = "/sys/fs/cgroup";

export async function lookAround(): Promise<Before> {
  return { mounts: await mounts(), cgroups: new Set(await cgroups(CGROUP_ROOT)) };
}

async function mounts(): Promise<Set<string>> {
  const lines = (await Deno.readTextFile("/proc/self/mountinfo")).split("\n");
  return new Set(lines.map((line) => line.split(" ")[4] ?? ""));
}

/** All cgroup directories that a test could have made: those whose names say so. */
async function cgroups(directory: string): Promise<string[]> {
  const result: string[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(directory)) {
      if (!isDirectory) continue;
      const path = `${directory}/${name}`;
      if (name.includes("runk-test")) result.push(path);
      result.push(...await cgroups(path));
    }
  } catch (error) {
    // Others come and go meanwhile.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return result;
}

/** Removes empty cgroups of this name: parents of containers' own, which runtimes leave where they are. */
export async function removeParents(name: string): Promise<void> {
  for (const path of await cgroups(CGROUP_ROOT)) {
    if (path.endsWith(`/${name}`)) await Deno.remove(path);
  }
}

/** Processes whose executable, root or working directory lies in a box, or that are named like runk's init. */
async function processes({ directory }: Owner): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const links = await Promise.all(["root", "cwd"].map((link) => Deno.readLink(`/proc/${name}/${link}`)));
      const stat = await Deno.readTextFile(`/proc/${name}/stat`);
      // A zombie belongs to its parent, which may be a test of another file.
      const isZombie = stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z");
      if (!isZombie && links.some((link) => link.startsWith(directory))) found.push(`${name} ${stat.split(" ")[1]}`);
    } catch {
      // gone
    }
  }
  return found;
}

/** @throws when a mount, cgroup, process or state directory is left */
export async function assertNothingLeft(before: Before, owner: Owner): Promise<void> {
  const left: string[] = [];
  for (const mount of await mounts()) {
    if (!before.mounts.has(mount) && mount.startsWith(owner.directory)) left.push(`mount ${mount}`);
  }
  for (const path of await cgroups(CGROUP_ROOT)) {
    if (!before.cgroups.has(path) && path.includes(`runk-test-${Deno.pid}-`)) left.push(`cgroup ${path}`);
  }
  for (const process of await processes(owner)) left.push(`process ${process}`);
  try {
    for (const { name } of Deno.readDirSync(owner.root)) left.push(`state ${owner.root}/${name}`);
  } catch {
    // no container was made
  }
  if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
}
