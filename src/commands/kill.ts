/** runk kill */
import { signalNumber } from "../abi/names.ts";
import { kill, NOT_RUNNING } from "../container/kill.ts";
import { goQuoted, RunkError } from "../errors.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  flags: [{ name: "all", short: "a", kind: "bool", help: "succeed when the container is not running" }],
  operands: [1, 2],
  usage: "<container-id> [signal]",
  help: `Sends a signal to the first process of a container: a number, or a name with or
without "SIG". KILL to a container that shares the host's pid namespace kills all
of its processes: its first one's end would not end them. In any other container
the kernel ends all with the first. That is so with and without --all, which is
here for clients that send it: no signal but KILL reaches more than one process.

EXAMPLE:
   # runk kill box KILL`,
  run: async ({ runtime, options, operands: [id, text = "SIGTERM"] }) => {
    const signal = signalNumber(text || "SIGTERM");
    if (signal === undefined) throw new RunkError(`unknown signal ${goQuoted(text)}`);
    try {
      await kill(runtime, id!, signal);
    } catch (error) {
      const isGone = error instanceof RunkError && error.message === NOT_RUNNING;
      if (!isGone || !options.bool("all")) throw error;
    }
  },
};
