/** The command line: global options, the command, and the one place that reports an error and chooses the exit status. */
import { errorChain, RunkError, UsageError } from "../errors.ts";
import { type Log, openLog, tell } from "../log.ts";
import type { Runtime } from "../container/runtime.ts";
import { cleanPath } from "../spec/clean_path.ts";
import { cgroupManager, type Command, type Context } from "./command.ts";
import { type Flag, type Options, parseFlags } from "./flags.ts";
import { findCommand } from "./table.ts";

const FAILURE = 1;

/** How the program was called decides what it is called, and where it keeps its state. */
export interface Program {
  readonly name: "runk" | "runc";
  /** argv[0] or the script's path, as usage errors quote it. */
  readonly path: string;
}

const globalFlags = ({ name }: Program): readonly Flag[] => [
  { name: "debug", kind: "bool", help: "log more" },
  { name: "log", kind: "string", value: "file", help: "file to log to (default: standard error)" },
  {
    name: "log-format",
    kind: "string",
    value: ["text", "json"],
    default: "text",
    help: "format of the log: text or json",
  },
  {
    name: "root",
    kind: "string",
    value: "directory",
    default: defaultRoot(name),
    help: "directory for the state of containers, on a file system that is lost at boot",
  },
  {
    name: "systemd-cgroup",
    kind: "bool",
    help: 'let systemd manage the cgroups; cgroupsPath then is "slice:prefix:name"',
  },
  {
    name: "cgroup-manager",
    kind: "string",
    value: ["cgroupfs", "systemd", "disabled"],
    default: "cgroupfs",
    help:
      "who makes the cgroups: cgroupfs, systemd (as --systemd-cgroup), or disabled: the container stays in the caller's",
  },
  {
    name: "rootless",
    kind: "string",
    value: ["auto", "true", "false"],
    default: "auto",
    help: "ignore missing rights over cgroups: true, false or auto",
  },
  { name: "criu", kind: "string", help: "no effect: criu is looked for in PATH", hidden: true },
];

/** Runs a command line. @returns the exit status */
export async function main(args: readonly string[], program: Program): Promise<number> {
  const flags = globalFlags(program);
  let log: Log = openLog({ path: "", format: "text", debug: false });
  let command: Command | undefined;
  let isParsed = false;
  try {
    const { options: globals, operands: [name, ...rest] } = parseFlags(args, [...flags, VERSION], 0);
    if (globals.bool("version")) return print((await import("./version.ts")).versionText(program));
    const help = async (name?: string) => print(await (await import("./usage.ts")).help(program, flags, name));
    if (globals.bool("help") || name === undefined) return await help();
    if (name === "help" || name === "h") return await help(rest[0]);
    ({ command } = await findCommand(name).load());
    const { options, operands } = parseFlags(rest, command.flags, command.stopAt);
    if (options.bool("help")) return await help(name);
    checkOperands(program, name, command, operands);
    isParsed = true;
    const root = stateRoot(program, globals);
    log = openLog({ path: globals.string("log"), format: globals.string("log-format"), debug: globals.bool("debug") });
    checkGlobals(globals);
    const runtime: Runtime = {
      root,
      planCache: `${defaultRoot(program.name)}-plans`,
      program: program.name,
      // Loaded by who waits: `state` and `list` need no native code at all.
      poll: async (...args) => (await import("../../ffi/poll.ts")).pollBlocking(...args),
      environment: callersEnvironment,
      warn: (message) => log.write("warning", message),
      debug: globals.bool("debug") ? (message) => log.write("debug", message) : undefined,
    };
    const context: Context = { runtime, globals, globalFlags: flags, options, operands, log, print };
    return (await command.run(context)) ?? 0;
  } catch (error) {
    if (error instanceof UsageError && !isParsed) {
      print((await import("./usage.ts")).usage(program, flags, command, args, error));
    }
    const prefix = isParsed ? command?.failurePrefix?.(program.name) : undefined;
    report(log, (prefix === undefined ? "" : prefix + ": ") + errorChain(error));
    if (!(error instanceof RunkError) && error instanceof Error && error.stack !== undefined) {
      log.write("debug", error.stack);
    }
    return (error instanceof RunkError ? error.exitCode : undefined) ?? (isParsed ? command?.failure : undefined) ??
      FAILURE;
  }
}

/** What the first line of dist/runk.js sets for Deno (tasks/bundle.ts). */
const FIRST_LINE =
  /^(DENO_DIR=\/dev\/null|DENO_LOG=error,deno::cache=off|GLIBC_TUNABLES=glibc\.malloc\.top_pad=4194304)$/;

/** The caller's variables. */
const callersEnvironment = () =>
  Object.entries(Deno.env.toObject()).map(([key, value]) => `${key}=${value}`)
    .filter((variable) => !FIRST_LINE.test(variable));

const VERSION: Flag = { name: "version", short: "v", kind: "bool", help: "print the version" };

function print(text: string): 0 {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
  return 0;
}

/** The error goes to the log; where that is a file, people still see it on standard error. */
function report(log: Log, message: string): void {
  log.write("error", message);
  if (log.toFile) tell(message);
}

function checkOperands(
  { path }: Program,
  name: string,
  { operands: [least, most] }: Command,
  { length }: readonly string[],
): void {
  if (length >= least && length <= most) return;
  const words = least === most ? `exactly ${least}` : length < least ? `a minimum of ${least}` : `a maximum of ${most}`;
  throw new UsageError(`${path}: ${JSON.stringify(name)} requires ${words} argument(s)`);
}

/** @throws {RunkError} for global options that runk cannot honour */
function checkGlobals(globals: Options): void {
  const rootless = globals.string("rootless");
  if (!["", "auto", "true", "false"].includes(rootless)) {
    throw new RunkError(`invalid --rootless value ${JSON.stringify(rootless)}: expected true, false or auto`);
  }
  cgroupManager(globals);
}

/** Root's state is under /run; other users' where their session manager gives them a place. */
function defaultRoot(name: string): string {
  const runtimeDirectory = Deno.env.get("XDG_RUNTIME_DIR");
  return runtimeDirectory && (Deno.uid() !== 0 || isRootOfUserNamespace())
    ? `${runtimeDirectory}/${name}`
    : `/run/${name}`;
}

/** uid 0 inside a user namespace whose login was not root's. */
function isRootOfUserNamespace(): boolean {
  if (Deno.env.get("USER") === "root") return false;
  try {
    return !/^\s*0\s+0\s+4294967295\s*$/.test(Deno.readTextFileSync("/proc/self/uid_map"));
  } catch {
    return false;
  }
}

function stateRoot(program: Program, globals: Options): string {
  if (!globals.isSet("root")) {
    const root = defaultRoot(program.name);
    if (root !== `/run/${program.name}`) makeUserRoot(root);
    return root;
  }
  const path = globals.string("root");
  const absolute = path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
  const clean = cleanPath(absolute);
  if (clean === "/") throw new RunkError("Option --root argument should not be set to /");
  return clean;
}

const STICKY_PRIVATE = 0o1700;

/** Sticky, so that cleaners of $XDG_RUNTIME_DIR leave it alone. */
function makeUserRoot(root: string): void {
  try {
    Deno.mkdirSync(root, { recursive: true, mode: 0o700 });
    Deno.chmodSync(root, STICKY_PRIVATE);
  } catch (error) {
    throw new RunkError(`the path in $XDG_RUNTIME_DIR must be writable by the user (cannot make ${root})`, {
      cause: error,
    });
  }
}
