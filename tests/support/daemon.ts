/** Daemons that a test starts for itself: in a process group of its own, ended with everything that they started. */
import { exists, until } from "./test.ts";

const PATIENCE = 60_000;
const GRACE = 15_000;

export interface DaemonOptions {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Record<string, string>;
  /** Where what it prints goes. */
  readonly log: string;
  /** True as soon as it answers. */
  readonly isReady: () => boolean | Promise<boolean>;
}

export class Daemon {
  readonly #child: Deno.ChildProcess;
  readonly #log: string;
  #hasEnded = false;

  private constructor(child: Deno.ChildProcess, log: string) {
    this.#child = child;
    this.#log = log;
    child.status.then(() => (this.#hasEnded = true));
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Starts a daemon and waits until it answers. @throws with the end of its log when it does not come up */
  static async start({ program, args, env, log, isReady }: DaemonOptions): Promise<Daemon> {
    const child = new Deno.Command("setsid", {
      args: ["sh", "-c", 'log=$1; shift; exec "$@" >>"$log" 2>&1', "sh", log, program, ...args],
      stdin: "null",
      stdout: "null",
      stderr: "null",
      ...(env === undefined ? {} : { env }),
    }).spawn();
    const daemon = new Daemon(child, log);
    try {
      await until(`${program} answers`, async () => daemon.#hasEnded || (await isReady()), PATIENCE);
      if (daemon.#hasEnded) throw new Error(`${program} ended at once`);
      return daemon;
    } catch (error) {
      await daemon.kill();
      throw new Error(`${program} did not come up: ${error}\n${daemon.lastWords()}`);
    }
  }

  /** The end of its log. */
  lastWords(): string {
    return Deno.readTextFileSync(this.#log).split("\n").slice(-40).join("\n");
  }

  /** Asks it to end; kills it when it does not. */
  async stop(): Promise<void> {
    this.signal("SIGTERM");
    const isDone = await Promise.race([
      this.#child.status,
      new Promise((resolve) => setTimeout(resolve, GRACE, false)),
    ]);
    if (isDone === false) await this.kill();
  }

  /** kill -9: what it started lives on. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#child.status;
  }

  signal(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended.
    }
  }
}

/**
 * Ends and removes what daemons left that worked below a directory: processes that name it on their command line, the
 * cgroups with this name and what is in them, mounts.
 */
export async function sweep(directory: string, cgroup: string): Promise<void> {
  await until("every process below the directory has ended", () => {
    const pids = [...processesNaming(directory), ...cgroupsNamed(cgroup).flatMap(processesIn)];
    for (const pid of pids) kill(pid);
    return pids.length === 0;
  });
  for (const path of cgroupsNamed(cgroup).sort((a, b) => b.length - a.length)) {
    await until(`the cgroup ${path} is removed`, () => remove(path));
  }
  const mounts = Deno.readTextFileSync("/proc/self/mountinfo").split("\n").map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path.startsWith(directory + "/"));
  for (const path of mounts.reverse()) {
    await new Deno.Command("umount", { args: ["-l", path], stdout: "null", stderr: "null" }).output();
  }
}

function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch {
    // gone
  }
}

/** Processes (zombies are none) whose command line holds the text. */
export function processesNaming(text: string): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter((pid) => {
    if (!Number.isInteger(pid) || pid === Deno.pid) return false;
    try {
      return Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes(text);
    } catch {
      return false;
    }
  });
}

/** Directories with this name, and everything in them, in every hierarchy. */
export function cgroupsNamed(name: string): string[] {
  const found: string[] = [];
  const walk = (directory: string, isInside: boolean) => {
    try {
      for (const entry of Deno.readDirSync(directory)) {
        if (!entry.isDirectory) continue;
        const path = `${directory}/${entry.name}`;
        const matches = isInside || entry.name === name;
        if (matches) found.push(path);
        walk(path, matches);
      }
    } catch {
      // It went away meanwhile.
    }
  };
  walk("/sys/fs/cgroup", false);
  return found;
}

function processesIn(cgroup: string): number[] {
  try {
    return Deno.readTextFileSync(`${cgroup}/cgroup.procs`).split("\n").map(Number).filter((pid) => pid > 0);
  } catch {
    return [];
  }
}

/** A client may have made a directory where there is no hierarchy of that name; there is more than directories in it. */
function remove(path: string): boolean {
  try {
    Deno.removeSync(path, { recursive: !exists(`${path}/cgroup.procs`) });
    return true;
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}
