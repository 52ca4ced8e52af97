/**
 * Tests that say what they need. A test whose needs the machine does not meet is skipped, with the reason printed, and
 * counts as skipped.
 */
import { exists } from "../../src/files.ts";

export { exists };

export type Need =
  | "root"
  /** cgroup v1 controllers mounted one by one. */
  | "cgroup1"
  /** The unified hierarchy alone, with every controller. */
  | "cgroup2"
  /** Either of the two. */
  | "cgroups"
  /** Systemd runs the machine. */
  | "systemd"
  /** AppArmor is enabled. */
  | "apparmor"
  /** A criu that can work on this kernel. */
  | "criu"
  /** A command on the PATH. */
  | `command:${string}`
  /** A file. */
  | `file:${string}`;

const FILES: Readonly<Record<string, readonly [path: string, reason: string]>> = {
  cgroup1: ["/sys/fs/cgroup/devices/cgroup.procs", "needs the v1 controllers under /sys/fs/cgroup"],
  cgroup2: ["/sys/fs/cgroup/cgroup.controllers", "needs cgroup v2 at /sys/fs/cgroup"],
  systemd: ["/run/systemd/system", "needs systemd as the first process"],
  apparmor: ["/sys/kernel/security/apparmor/profiles", "needs AppArmor"],
};

/** Why a need is not met; undefined when it is. */
function unmet(need: Need): string | undefined {
  if (need === "root") return Deno.uid() === 0 ? undefined : "needs root";
  if (need === "cgroups") {
    return unmet("cgroup1") === undefined || unmet("cgroup2") === undefined ? undefined : "needs cgroups of v1 or v2";
  }
  if (need === "criu") return criuWorks() ? undefined : "needs a criu that works with this kernel";
  if (FILES[need] !== undefined) return exists(FILES[need][0]) ? undefined : FILES[need][1];
  const [kind, name] = [need.slice(0, need.indexOf(":")), need.slice(need.indexOf(":") + 1)];
  if (kind === "command") return which(name) === undefined ? `needs the command ${name}` : undefined;
  return exists(name!) ? undefined : `needs the file ${name}`;
}

function criuWorks(): boolean {
  const criu = which("criu");
  if (criu === undefined) return false;
  return new Deno.Command(criu, { args: ["check"], stdout: "null", stderr: "null" }).outputSync().success;
}

/** The path of a command; undefined when there is none. */
export function which(name: string): string | undefined {
  const directories = `${Deno.env.get("PATH") ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`.split(":");
  return directories.map((directory) => `${directory}/${name}`).find(exists);
}

/** A test. Its name is a sentence that says what holds. */
export function test(name: string, needs: readonly Need[], body: () => void | Promise<void>): void {
  const reasons = needs.map(unmet).filter((reason) => reason !== undefined);
  if (reasons.length > 0) console.log(`skipped: ${name}: ${reasons.join(", ")}`);
  Deno.test({ name, ignore: reasons.length > 0, fn: body, sanitizeOps: false, sanitizeResources: false });
}

/** Machines that are emulated ask for more patience. */
const PATIENCE = Number(Deno.env.get("RUNK_PATIENCE") ?? 1);

/** Waits until `condition` gives something truthy; an error that names `what` when it never does. */
export async function until<T>(what: string, condition: () => T | Promise<T>, patience = 20_000): Promise<T> {
  const end = performance.now() + PATIENCE * patience;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited ${PATIENCE * patience} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
