/** runk run */
import { prepare } from "../container/create.ts";
import { runDetached, runForeground } from "../container/run.ts";
import { checkTerminal } from "../process/stdio.ts";
import { absolute, type Command } from "./command.ts";
import { CREATE_FLAGS, createOptions } from "./create.ts";

export const command: Command = {
  flags: [
    ...CREATE_FLAGS,
    { name: "detach", short: "d", kind: "bool", help: "return when the program runs" },
    { name: "keep", kind: "bool", help: "do not delete the container when its program has ended" },
    { name: "no-subreaper", kind: "bool", help: "leave orphans of the container to the caller" },
  ],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Makes a container from a bundle and runs its program. In the foreground (without
--detach) standard streams and signals are passed on, the exit status is the
program's (128 and the signal's number if a signal ended it), and the container
is deleted at its end.`,
  failurePrefix: (program) => `${program} run failed`,
  run: async (context) => {
    const { runtime, options } = context;
    const detach = options.bool("detach");
    const prepared = await prepare(runtime, { ...createOptions(context), attended: !detach, gate: "none" });
    const socket = options.string("console-socket");
    checkTerminal({ detach, terminal: prepared.request.stdio === "terminal", consoleSocket: socket });
    if (detach) return await runDetached(runtime, prepared, absolute(socket));
    return await runForeground(runtime, prepared, {
      keep: options.bool("keep"),
      subreaper: !options.bool("no-subreaper"),
    });
  },
};
