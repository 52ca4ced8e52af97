/** runk man */
import { describeFileError, RunkError } from "../errors.ts";
import type { Command } from "./command.ts";
import { VERSION } from "./version.ts";

export const command: Command = {
  flags: [{
    name: "output",
    short: "o",
    kind: "string",
    value: "directory",
    help: "directory to write all pages to, instead of printing one",
  }],
  operands: [0, 1],
  usage: "[command]",
  help: `Prints a manual page: the program's, or a command's; or writes all of them.

EXAMPLE:
   # runk man create | man -l -
   # runk man --output /usr/local/share/man/man8`,
  run: async ({ runtime, globalFlags, options, operands: [name], print }) => {
    const [{ document }, manual] = await Promise.all([import("./docs/document.ts"), import("./docs/manual.ts")]);
    const tables = await document(runtime.program, globalFlags);
    const directory = options.string("output");
    if (directory !== "") {
      const pages = [
        [tables.program, manual.programPage(tables, VERSION)],
        ...tables.commands.map((entry) => [
          `${tables.program}-${entry.name}`,
          manual.commandPage(entry, tables, VERSION),
        ]),
      ];
      for (const [page, text] of pages) {
        const path = `${directory}/${page}.8`;
        try {
          Deno.writeTextFileSync(path, text!);
        } catch (error) {
          throw new RunkError(describeFileError("cannot write", path, error));
        }
      }
      return;
    }
    if (name === undefined) return void print(manual.programPage(tables, VERSION));
    const entry = tables.commands.find((entry) => entry.name === name);
    if (entry === undefined) throw new RunkError(`there is no command ${JSON.stringify(name)}`);
    print(manual.commandPage(entry, tables, VERSION));
  },
};
