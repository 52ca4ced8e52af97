/** runk pause */
import { pause } from "../container/pause.ts";
import { type Command, warnOfCgroups } from "./command.ts";

export const command: Command = {
  flags: [],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Stops all processes of a created or running container where they are, until
"resume" lets them go on. Signals wait until then, but for KILL. This needs write
access to the container's cgroups.`,
  run: ({ runtime, globals, operands }) => {
    warnOfCgroups(runtime, globals, "pause");
    return pause(runtime, operands[0]!);
  },
};
