/** All commands with their flags, for what is generated from them: completions and manual pages. */
import type { Command } from "../command.ts";
import type { Flag } from "../flags.ts";
import { COMMANDS } from "../table.ts";

export interface DocumentedCommand {
  readonly name: string;
  readonly summary: string;
  readonly command: Command;
}

export interface Document {
  /** What the program is called. */
  readonly program: string;
  readonly globals: readonly Flag[];
  readonly commands: readonly DocumentedCommand[];
}

const HELP: Flag = { name: "help", short: "h", kind: "bool", help: "show help" };
const VERSION: Flag = { name: "version", short: "v", kind: "bool", help: "print the version" };

/** Loads every command, and leaves hidden flags out. */
export async function document(program: string, globals: readonly Flag[]): Promise<Document> {
  const commands = await Promise.all(
    COMMANDS.map(async ({ name, summary, load }) => {
      const { command } = await load();
      return { name, summary, command: { ...command, flags: [...visible(command.flags), HELP] } };
    }),
  );
  return { program, globals: [...visible(globals), HELP, VERSION], commands };
}

const visible = (flags: readonly Flag[]) => flags.filter(({ hidden }) => !hidden);

/** A flag as it is typed: `--bundle`, `-b`. */
export const spellings = ({ name, short }: Flag): string[] => [
  `--${name}`,
  ...(short === undefined ? [] : [`-${short}`]),
];

/** The value is the next word. */
export const takesValue = ({ kind }: Flag): boolean => kind !== "bool";
