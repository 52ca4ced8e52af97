/** runk checkpoint */
import { checkpoint, type CheckpointOptions } from "../container/checkpoint.ts";
import { RunkError } from "../errors.ts";
import type { Command } from "./command.ts";
import { CRIU_FLAGS, criuOptions, warnOfRootless } from "./criu_flags.ts";
import { parseInteger } from "./flags.ts";

export const command: Command = {
  flags: [
    ...CRIU_FLAGS,
    {
      name: "parent-path",
      kind: "string",
      value: "directory",
      help: "images of an earlier --pre-dump, relative to --image-path: only what changed since is saved",
    },
    { name: "leave-running", kind: "bool", help: "let the container run on" },
    { name: "pre-dump", kind: "bool", help: "save memory only and let the container run on, to be saved later" },
    { name: "tcp-skip-in-flight", kind: "bool", help: "leave out TCP connections that are being made" },
    { name: "link-remap", kind: "bool", help: "allow open files that were deleted, by linking them again" },
    { name: "page-server", kind: "string", help: "ADDRESS:PORT of a page server to send memory to" },
    {
      name: "status-fd",
      kind: "int",
      default: "-1",
      help: "descriptor that takes a zero byte when --lazy-pages can begin",
    },
  ],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Saves a running container to files, with criu, and removes it; "restore" makes it
go on from there, here or elsewhere. With --leave-running the container runs on.

EXAMPLE:
   # runk checkpoint --image-path /var/tmp/box box
   # runk restore --detach --image-path /var/tmp/box --bundle /srv/box box`,
  run: async (context) => {
    const { runtime, options, operands } = context;
    warnOfRootless(context);
    await checkpoint(runtime, operands[0]!, {
      ...criuOptions(options),
      parentPath: options.string("parent-path"),
      leaveRunning: options.bool("leave-running"),
      preDump: options.bool("pre-dump"),
      tcpSkipInFlight: options.bool("tcp-skip-in-flight"),
      linkRemap: options.bool("link-remap"),
      pageServer: pageServer(options.string("page-server")),
      statusFd: options.int("status-fd"),
    });
  },
};

const PORT_MAX = 65535;

/** "10.0.0.1:2000", "[::1]:2000" */
function pageServer(text: string): CheckpointOptions["pageServer"] {
  if (text === "") return undefined;
  const [, bracketed, plain, port = ""] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(.+)$/.exec(text) ?? [];
  const address = bracketed ?? plain;
  if (address === undefined) throw new RunkError("Use --page-server ADDRESS:PORT to specify page server");
  const number = parseInteger(port);
  if (number === undefined || number < 1 || number > PORT_MAX) throw new RunkError("Invalid port number");
  return { address, port: number };
}
