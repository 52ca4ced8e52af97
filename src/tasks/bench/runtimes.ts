/** Runtimes at work on bundles made for the purpose, each with a state root of its own. */
import { exists } from "../../files.ts";
import type { Costs, Program } from "./costs.ts";

// deno-lint-ignore no-explicit-any
type Config = any;

const QUIET = { stdin: "null", stdout: "null", stderr: "null" } as const;
const decoder = new TextDecoder();

/** The runtimes that are compared. */
export class Runtimes {
  readonly directory = Deno.makeTempDirSync({ prefix: "runk-bench-" });
  /** Where runtimes keep their state unless they are told otherwise: a file system in memory. */
  readonly #state = `/run/runk-bench-${Deno.pid}`;
  #id = 0;

  constructor(readonly programs: readonly Program[], readonly costs: Costs) {
    // Containers with users of their own must reach the bundles.
    Deno.chmodSync(this.directory, 0o755);
  }

  newId = (): string => `bench-${Deno.pid}-${++this.#id}`;

  /** A bundle of the default config with a busybox for a root file system. @returns its directory */
  bundle(name: string, args: readonly string[], change: (config: Config, bundle: string) => void = () => {}): string {
    const bundle = `${this.directory}/${name}`;
    for (const directory of ["bin", "proc", "dev", "sys", "mnt"]) {
      Deno.mkdirSync(`${bundle}/rootfs/${directory}`, { recursive: true });
    }
    for (const program of ["true", "sleep"]) Deno.copyFileSync("/bin/busybox", `${bundle}/rootfs/bin/${program}`);
    this.output(this.programs[0]!, ["spec", "--bundle", bundle]);
    const config = JSON.parse(Deno.readTextFileSync(`${bundle}/config.json`));
    config.process.terminal = false;
    config.process.args = args;
    change(config, bundle);
    Deno.writeTextFileSync(`${bundle}/config.json`, JSON.stringify(config));
    return bundle;
  }

  arguments = ({ name }: Program, args: readonly string[]): string[] => ["--root", `${this.#state}/${name}`, ...args];

  measure(operation: string, program: Program, args: readonly string[]): void {
    this.costs.measure(operation, program.name, program.path, this.arguments(program, args));
  }

  /** Runs a command and returns what it printed. */
  output(program: Program, args: readonly string[]): string {
    const { code, stdout, stderr } = new Deno.Command(program.path, {
      args: this.arguments(program, args),
      stdin: "null",
    }).outputSync();
    if (code !== 0) throw new Error(`${program.name} ${args.join(" ")}: ${decoder.decode(stderr)}`);
    return decoder.decode(stdout);
  }

  /** Starts a command whose container keeps the streams that it is given. */
  start = (program: Program, args: readonly string[]): Deno.ChildProcess =>
    new Deno.Command(program.path, { args: this.arguments(program, args), ...QUIET }).spawn();

  /** As start, to its end. */
  quietly(program: Program, args: readonly string[]): void {
    const { code } = new Deno.Command(program.path, { args: this.arguments(program, args), ...QUIET }).outputSync();
    if (code !== 0) throw new Error(`${program.name} ${args.join(" ")} ended with status ${code}`);
  }

  status(program: Program, id: string): string | undefined {
    try {
      return JSON.parse(this.output(program, ["state", id])).status;
    } catch {
      return undefined;
    }
  }

  /** Also after a failure in the middle. */
  cleanUp(): void {
    for (const program of this.programs) {
      const state = `${this.#state}/${program.name}`;
      if (!exists(state)) continue;
      for (const { name } of [...Deno.readDirSync(state)]) this.output(program, ["delete", "--force", name]);
    }
    for (const directory of [this.directory, this.#state]) {
      if (exists(directory)) Deno.removeSync(directory, { recursive: true });
    }
  }
}
