/** The cgroups of a test's container, as the kernel shows them. */
import assert from "node:assert/strict";
import { Box, type BoxOptions } from "./box.ts";
import { exists, until } from "./test.ts";

/** This machine has the unified hierarchy alone. */
export const isV2 = exists("/sys/fs/cgroup/cgroup.controllers");

export type Paths = Readonly<Record<string, string>>;

interface Owner {
  readonly root: string;
  readonly id: string;
}

/** Directories by controller, from the container's state.json; runc's has them, too. */
export const cgroupPaths = ({ root, id }: Owner): Paths =>
  JSON.parse(Deno.readTextFileSync(`${root}/${id}/state.json`)).cgroup_paths;

/** The directory by which a container's processes are known. */
export const processDirectory = (paths: Paths): string => (paths["devices"] ?? paths[""])!;

/** A file's text without the last line end. */
export const readCgroup = (paths: Paths, controller: string, file: string): string =>
  Deno.readTextFileSync(`${paths[controller]}/${file}`).trimEnd();

/** Pids in a cgroup directory itself. */
export const members = (directory: string): number[] =>
  Deno.readTextFileSync(`${directory}/cgroup.procs`).split("\n").filter((line) => line !== "").map(Number);

/** Puts a process into the cgroup of a directory. */
export const move = (pid: number, directory: string): void =>
  Deno.writeTextFileSync(`${directory}/cgroup.procs`, `${pid}`);

const ROOT = "/sys/fs/cgroup";
const SOME_V1 = ["devices", "cpu", "memory", "freezer", "pids"];

/** Someone else's cgroup, in some hierarchies of v1 or in that of v2; removed at the end where it still is. */
export class ForeignCgroup implements Disposable {
  readonly directories: readonly string[];

  constructor(name: string) {
    this.directories = isV2 ? [`${ROOT}/${name}`] : SOME_V1.map((controller) => `${ROOT}/${controller}/${name}`);
    for (const path of this.directories) Deno.mkdirSync(path);
  }

  [Symbol.dispose](): void {
    for (const path of this.directories) if (exists(path)) Deno.removeSync(path);
  }
}

/** The rule that every list of device rules begins with. */
export const DENY_ALL = { allow: false, access: "rwm" };

export type Resources = Record<string, unknown>;

/** A box whose container sleeps, with these limits. */
export const boxWith = (resources: Resources, options: BoxOptions = {}) =>
  Box.create({
    script: "sleep 1000",
    ...options,
    config: (c) => {
      c.linux.resources = { devices: [DENY_ALL], ...resources };
      options.config?.(c);
    },
  });

/** Makes the same container under runc, too; where its cgroups are. */
export async function runcPaths(box: Box): Promise<Paths> {
  const { status, stderr } = await box.other("runc", ["create", `${box.id}-runc`]);
  assert.equal(status, 0, stderr);
  return cgroupPaths({ root: `${box.directory}/other-state`, id: `${box.id}-runc` });
}

/**
 * Dissolves v1 hierarchies that someone mounted and unmounted again: the kernel keeps one whose cgroups were not gone yet
 * until the next time. It takes controllers away from cgroup v2, and containerd reads no statistics while one is listed.
 */
export async function dissolveHierarchies(): Promise<void> {
  const mounted = Deno.readTextFileSync("/proc/self/mountinfo").split("\n").filter((line) =>
    line.includes(" - cgroup ")
  );
  const unmounted = () =>
    Deno.readTextFileSync("/proc/self/cgroup").split("\n").map((line) => line.split(":")[1] ?? "")
      .filter((controllers) => controllers !== "" && !mounted.some((line) => line.endsWith(`,${controllers}`)));
  await until("no hierarchy is left that is not mounted", async () => {
    for (const controllers of unmounted()) {
      const script = 'd=$(mktemp -d); mount -t cgroup -o "$1" none "$d" && umount "$d"; rmdir "$d"';
      await new Deno.Command("unshare", { args: ["--mount", "sh", "-c", script, "sh", controllers] }).output();
    }
    return unmounted().length === 0;
  });
}

/** The first block device of this machine. */
export function blockDevice(): { name: string; major: number; minor: number } | undefined {
  const [name] = [...Deno.readDirSync("/sys/block")].map(({ name }) => name).sort();
  if (name === undefined) return undefined;
  const [major, minor] = Deno.readTextFileSync(`/sys/block/${name}/dev`).trim().split(":").map(Number);
  return { name, major: major!, minor: minor! };
}
