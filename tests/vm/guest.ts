/** What the tests of a machine that systemd runs have in common. */
import type { Box, Config } from "../support/box.ts";
import { run } from "../support/runk.ts";

export const NEEDS = ["root", "cgroup2", "systemd"] as const;
export const ROOT = "/sys/fs/cgroup";
export const read = (directory: string, file: string) => Deno.readTextFileSync(`${directory}/${file}`).trim();

/** Runs a program that has to succeed. @returns what it printed */
export async function ok(program: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(program, args);
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${status}: ${stderr}${stdout}`);
  return stdout.trim();
}

/** Changes a box's config, which keeps what it had. */
export async function changeConfig(box: Box, change: (config: Config) => void): Promise<void> {
  const path = `${box.directory}/config.json`;
  const config = JSON.parse(await Deno.readTextFile(path));
  change(config);
  await Deno.writeTextFile(path, JSON.stringify(config));
}

/** A property of a unit, as systemctl shows it. */
export const property = (unit: string, name: string) => ok("systemctl", "show", "--property", name, "--value", unit);
