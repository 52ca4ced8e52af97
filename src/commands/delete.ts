/** runk delete */
import { deleteContainer } from "../container/delete.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  flags: [
    {
      name: "force",
      short: "f",
      kind: "bool",
      help: "kill the container first if it still runs; no error if there is none",
    },
    {
      name: "regex",
      short: "r",
      kind: "bool",
      help: "the id is a regular expression: delete all containers whose id it matches as a whole",
    },
  ],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Deletes a container that has stopped, or was created and never started: its
remaining processes, its cgroups and its state. Then the poststop hooks run. What
a killed "create" left is deleted, too.

EXAMPLE:
   # runk delete --force --regex 'job-[0-9]+'`,
  run: async ({ runtime, options, operands: [id] }) => {
    const force = options.bool("force");
    if (options.bool("regex")) {
      await (await import("../container/delete_matching.ts")).deleteMatching(runtime, id!, force);
    } else await deleteContainer(runtime, id!, { force });
  },
};
