/** runk resume */
import { resume } from "../container/pause.ts";
import { type Command, warnOfCgroups } from "./command.ts";

export const command: Command = {
  flags: [],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Lets the processes of a paused container go on. This needs write access to the
container's cgroups.`,
  run: ({ runtime, globals, operands }) => {
    warnOfCgroups(runtime, globals, "resume");
    return resume(runtime, operands[0]!);
  },
};
