/** Containers that show the mounts they see, and what goes into their configs. */
import assert from "node:assert/strict";
import { Box, type Config } from "./box.ts";
import { sh } from "./shell.ts";

export const NEEDS = ["root", "cgroups"] as const;
/** A container's config, and what it needs around it. */
export interface Setting {
  readonly config: (config: Config, box: Box) => void;
  /** Makes what the config refers to, and changes the rootfs. */
  readonly setup?: (box: Box) => void | Promise<unknown>;
  /** Undoes what setup did outside of the box's directory. */
  readonly cleanup?: (box: Box) => void | Promise<unknown>;
}

/** Adds mounts to a config. */
export const add = (...mounts: Config[]) => (c: Config) => c.mounts.push(...mounts);
/** A bind mount of a file or a directory. */
export const bind = (source: string, destination: string, ...options: string[]): Config => ({
  destination,
  source,
  type: "none",
  options: ["bind", ...options],
});

/** Makes a directory and a file to mount in the box's directory: `tree` with `file` and `below` in it, and `file`. */
export async function sources({ directory }: Box): Promise<void> {
  await Deno.mkdir(`${directory}/tree/below`, { recursive: true });
  await Deno.writeTextFile(`${directory}/tree/file`, "in the tree\n");
  await Deno.writeTextFile(`${directory}/file`, "a file\n");
}

/** The sources, with another mount at `tree/below`. */
export const treeWithMount: Pick<Setting, "setup" | "cleanup"> = {
  setup: async (box) => {
    await sources(box);
    await sh(`mount -t tmpfs -o mode=755 below ${box.directory}/tree/below; touch ${box.directory}/tree/below/x`);
  },
  cleanup: (box) => sh(`umount ${box.directory}/tree/below`),
};

/** Runs a script in a container of runk's: what it printed, on standard error where another status than 0 is expected. */
export async function seen(script: string, { config, setup, cleanup }: Setting, status = 0): Promise<string> {
  await using box = await Box.create({ script });
  try {
    await setup?.(box);
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sh", "-c", script];
      config(c, box);
    });
    const result = await box.runk(["run", box.id]);
    assert.equal(result.status, status, result.stderr);
    return (status === 0 ? result.stdout : result.stderr).replaceAll(box.directory, "BOX");
  } finally {
    await cleanup?.(box);
  }
}

/** A user namespace of 65536 ids, without the cgroup mount. */
export const withUserNamespace = (c: Config) => {
  c.linux.namespaces.push({ type: "user" });
  c.linux.uidMappings = c.linux.gidMappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
  c.mounts = c.mounts.filter(({ type }: Config) => type !== "cgroup");
};

/** Places of tmpfs mounts whose options say no mode: runk and later runc show the one that they take over from there. */
export const withoutMode = (config: Config): string[] =>
  config.mounts.filter(({ type, options = [] }: Config) =>
    type === "tmpfs" && !options.some((option: string) => option.startsWith("mode="))
  ).map(({ destination }: Config) => destination);
