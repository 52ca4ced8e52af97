/** runk start */
import { start } from "../container/start.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  flags: [],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Lets the first process of a created container run its program.`,
  run: ({ runtime, operands }) => start(runtime, operands[0]!),
};
