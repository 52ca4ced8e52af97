/** runk delete */
import { deleteContainer } from "../container/delete.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  flags: [{
    name: "force",
    short: "f",
    kind: "bool",
    help: "kill the container first if it still runs; no error if there is none",
  }],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Deletes a container that has stopped, or was created and never started: its
remaining processes, its cgroups and its state. Then the poststop hooks run. What
a killed "create" left is deleted, too.`,
  run: ({ runtime, options, operands }) => deleteContainer(runtime, operands[0]!, { force: options.bool("force") }),
};
