/** Help where it was asked for, and behind a command line that is wrong. */
import type { UsageError } from "../errors.ts";
import type { Command } from "./command.ts";
import type { Flag } from "./flags.ts";
import { appHelp, commandHelp } from "./help.ts";
import type { Program } from "./main.ts";
import { COMMANDS, findCommand } from "./table.ts";
import { versionText } from "./version.ts";

/**
 * Help on a command; without a name, on the program.
 * @throws {RunkError} for a command that there is not
 */
export async function help(program: Program, flags: readonly Flag[], name: string | undefined): Promise<string> {
  if (name === undefined) return appHelp(program.name, versionText(program), flags);
  const entry = findCommand(name);
  return commandHelp(program.name, name, entry.summary, (await entry.load()).command);
}

/** As runc: what is wrong, then the help. */
export function usage(
  program: Program,
  flags: readonly Flag[],
  command: Command | undefined,
  args: readonly string[],
  error: UsageError,
): string {
  const isCount = error.message.endsWith("argument(s)");
  const entry = command && COMMANDS.find(({ name }) => args.includes(name));
  return (isCount ? "Incorrect Usage.\n\n" : `Incorrect Usage: ${error.message}\n\n`) +
    (entry === undefined || command === undefined
      ? appHelp(program.name, versionText(program), flags)
      : commandHelp(program.name, entry.name, entry.summary, command));
}
