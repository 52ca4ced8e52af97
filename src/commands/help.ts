/** Help texts, in the shape that runc's have, from the tables of commands and flags. */
import type { Command } from "./command.ts";
import type { Flag } from "./flags.ts";
import { COMMANDS } from "./table.ts";

const HELP_LINE: readonly [string, string] = ["help, h", "show a list of commands, or help for one"];

/** A flag's name column: `--bundle value, -b value`. */
function names({ name, short, kind }: Flag): string {
  const value = kind === "bool" ? "" : " value";
  return [`--${name}${value}`, ...(short === undefined ? [] : [`-${short}${value}`])].join(", ");
}

function described({ help, default: fallback, kind }: Flag): string {
  if (fallback === undefined || fallback === "") return help;
  return `${help} (default: ${kind === "string" ? JSON.stringify(fallback) : fallback})`;
}

/** Two columns, indented by three. */
function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows.map(([left, right]) => `   ${left.padEnd(width)}${right}`).join("\n");
}

const visible = (flags: readonly Flag[]) =>
  flags.filter(({ hidden }) => !hidden).map((flag) => [names(flag), described(flag)] as const);

/** `runk --help` */
export function appHelp(program: string, version: string, globals: readonly Flag[]): string {
  return `NAME:
   ${program} - Open Container Initiative runtime

${program} runs containers as the OCI runtime specification describes them. A
container is made from a bundle: a directory with a file config.json and a root
file system. In the bundle's directory, this makes and runs one:

    # ${program} run <container-id>

where "<container-id>" is a name of your choice, unique on the host.
\`${program} plan <container-id>\` shows what that would do, call by call.

USAGE:
   ${program} [global options] command [command options] [arguments...]

VERSION:
   ${version.trimEnd().replace(/^\S+ version /, "")}

COMMANDS:
${columns([...COMMANDS.map(({ name, summary }) => [name, summary] as const), HELP_LINE])}

GLOBAL OPTIONS:
${columns([...visible(globals), ["--help, -h", "show help"], ["--version, -v", "print the version"]])}
`;
}

/** `runk CMD --help` */
export function commandHelp(program: string, name: string, summary: string, command: Command): string {
  const flags = visible(command.flags);
  const options = flags.length === 0 ? "" : `\nOPTIONS:\n${columns(flags)}\n`;
  const usage = [program, name, ...(flags.length === 0 ? [] : ["[command options]"]), command.usage].filter((word) =>
    word !== ""
  );
  return `NAME:
   ${program} ${name} - ${summary}

USAGE:
   ${usage.join(" ")}

${command.help.trim()}
${options}`;
}
