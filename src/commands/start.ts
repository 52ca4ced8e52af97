/** runk start */
import { start } from "../container/start.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  flags: [],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Lets the first process of a created container run its program. With NOTIFY_SOCKET
in the environment (at "create", too) it waits until the container says READY=1,
and passes that on.`,
  run: ({ runtime, operands }) => start(runtime, operands[0]!, Deno.env.get("NOTIFY_SOCKET") || undefined),
};
