/** What a subcommand is made of. */
import type { Flag, Options } from "./flags.ts";
import type { Log } from "../log.ts";
import type { CgroupManager } from "../container/interpret.ts";
import type { Runtime } from "../container/runtime.ts";
import { describeFileError, goQuoted, RunkError } from "../errors.ts";
import { inUserNamespace } from "../host/user_namespace.ts";

/** Everything that a command's own code gets. */
export interface Context {
  readonly runtime: Runtime;
  readonly globals: Options;
  readonly globalFlags: readonly Flag[];
  readonly options: Options;
  readonly operands: readonly string[];
  readonly log: Log;
  /** Writes to standard output. */
  readonly print: (text: string) => void;
}

export interface Command {
  readonly flags: readonly Flag[];
  /** How many operands it takes: at least and at most. */
  readonly operands: readonly [least: number, most: number];
  /** What the usage line shows behind the name: `<container-id>`, `add|remove` and the like are completed by shells. */
  readonly usage: string;
  /** Paragraphs for help. */
  readonly help: string;
  /** Flags end behind this many operands; undefined: they may stand anywhere. */
  readonly stopAt?: number;
  /** @returns the exit status; nothing for 0 */
  readonly run: (context: Context) => Promise<number | void> | number | void;
  /** Exit status of a failure, when it is not 1. */
  readonly failure?: number;
  /** What stands in front of the message of a failure: `exec failed`. */
  readonly failurePrefix?: (program: string) => string;
}

/** The flags that create, run and exec share. */
export const STREAM_FLAGS: readonly Flag[] = [
  {
    name: "console-socket",
    kind: "string",
    value: "file",
    help: "path of a unix socket that receives the master of the process's terminal",
  },
  {
    name: "pidfd-socket",
    kind: "string",
    value: "file",
    help: "path of a unix socket that receives a pidfd of the process",
  },
  { name: "pid-file", kind: "string", value: "file", help: "file to write the process's pid to" },
  {
    name: "preserve-fds",
    kind: "int",
    default: "0",
    help: "keep this many descriptors, from 3 on, open in the process",
  },
];

/** @throws {RunkError} for a value of --format that is none of table and json */
export function tableOrJson(options: Options): "table" | "json" {
  const format = options.string("format");
  if (format === "table" || format === "json") return format;
  throw new RunkError(`invalid format option ${goQuoted(format)}: table or json is expected`);
}

/** How many descriptors are kept. @throws {RunkError} for fewer than none */
export function preservedFds(options: Options): number {
  const count = options.int("preserve-fds");
  if (count < 0) throw new RunkError(`invalid --preserve-fds ${count}: it is a number of descriptors`);
  return count;
}

const CGROUP_MANAGERS: readonly string[] = ["cgroupfs", "systemd", "disabled"] satisfies CgroupManager[];

/** @throws {RunkError} for a --cgroup-manager that there is not */
export function cgroupManager(globals: Options): CgroupManager {
  const name = globals.string("cgroup-manager");
  if (!CGROUP_MANAGERS.includes(name)) {
    throw new RunkError(`invalid --cgroup-manager ${JSON.stringify(name)}: expected ${CGROUP_MANAGERS.join(", ")}`);
  }
  return globals.bool("systemd-cgroup") ? "systemd" : name as CgroupManager;
}

/** Whether missing rights over cgroups are forgiven: --rootless, or whoever is not root in the initial user namespace. */
export function isRootless(globals: Options): boolean {
  const asked = globals.string("rootless");
  if (asked === "true" || asked === "false") return asked === "true";
  return Deno.uid() !== 0 || inUserNamespace();
}

/** For commands that need a container's cgroups, and whose caller may not have all rights over them. */
export function warnOfCgroups(runtime: Runtime, globals: Options, command: string): void {
  if (!isRootless(globals)) return;
  runtime.warn(`${runtime.program} ${command} may fail if you don't have the full access to cgroups`);
}

/** The path as it is now, whatever directory later steps run in. */
export function absolute(path: string): string {
  if (path === "" || path.startsWith("/")) return path;
  return `${Deno.cwd()}/${path}`;
}

/** The text of a document that an operand or an option names: a file, or "-" for standard input; and what to call it. */
export async function readOperand(file: string): Promise<{ text: string; name: string }> {
  const name = file === "-" ? "standard input" : file;
  try {
    const text = file === "-" ? await new Response(Deno.stdin.readable).text() : Deno.readTextFileSync(file);
    return { text, name };
  } catch (error) {
    throw new RunkError(describeFileError("open", name, error));
  }
}
