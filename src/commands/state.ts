/** runk state */
import { state } from "../container/state.ts";
import { formatJson } from "../spec/json.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  flags: [],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Prints the state of a container as JSON: its status (created, running, paused or
stopped), the pid of its first process, its bundle and its annotations.`,
  run: ({ runtime, operands, print }) => {
    print(formatJson(state(runtime, operands[0]!), "  "));
  },
};
