/** What the tests of the machines have in common. */
import assert from "node:assert/strict";
import type { Box, Config } from "../support/box.ts";
import { run } from "../support/runk.ts";
import { exists } from "../support/test.ts";

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

/** Limits that every v2 cgroup can have, as config.json has them. */
export const LIMITS = {
  memory: { limit: 64 << 20, swap: 96 << 20, reservation: 32 << 20 },
  cpu: { shares: 512, quota: 20000, period: 50000, burst: 1000, cpus: "0", mems: "0" },
  pids: { limit: 33 },
  blockIO: { weight: 100 },
  unified: { "memory.high": String(48 << 20) },
};

/** What the files of a cgroup hold under them. */
export const LIMIT_FILES: Readonly<Record<string, string>> = {
  "memory.max": String(64 << 20),
  "memory.swap.max": String(32 << 20),
  "memory.low": String(32 << 20),
  "memory.high": String(48 << 20),
  "cpu.weight": "59",
  "cpu.max": "20000 50000",
  "cpu.max.burst": "1000",
  "cpuset.cpus": "0",
  "cpuset.mems": "0",
  "pids.max": "33",
};

/** Compares files of a cgroup; with the weight of LIMITS, whose file's name depends on the kernel. */
export function assertLimits(directory: string, values: Readonly<Record<string, string>>, when: string): void {
  const isBfq = exists(`${directory}/io.bfq.weight`);
  const weight = isBfq ? { "io.bfq.weight": "default 100" } : { "io.weight": "default 910" };
  for (const [file, value] of Object.entries({ ...values, ...weight })) {
    assert.equal(read(directory, file), value, `${file} ${when}`);
  }
}
