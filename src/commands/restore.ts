/** runk restore */
import { prepareRestore } from "../container/restore.ts";
import { restoreDetached, restoreForeground } from "../container/run_restored.ts";
import { checkTerminal } from "../process/stdio.ts";
import { absolute, type Command } from "./command.ts";
import { CREATE_FLAGS, createOptions } from "./create.ts";
import { CRIU_FLAGS, criuOptions, warnOfRootless } from "./criu_flags.ts";

/** Those of create that are about a container that goes on. */
const OF_CREATE = ["bundle", "config", "console-socket", "pid-file", "no-pivot"];

export const command: Command = {
  flags: [
    ...CREATE_FLAGS.filter(({ name }) => OF_CREATE.includes(name)),
    ...CRIU_FLAGS,
    { name: "detach", short: "d", kind: "bool", help: "return when the container runs" },
    { name: "no-subreaper", kind: "bool", help: "leave orphans of the container to the caller" },
    { name: "lsm-profile", kind: "string", help: "TYPE:NAME of a security label instead of the saved one" },
    { name: "lsm-mount-context", kind: "string", help: "SELinux label of mounts instead of the saved one" },
  ],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Makes a container go on from where "checkpoint" has saved it, in a bundle like the
one that it was made from. It runs at once. In the foreground (without --detach)
its exit status is passed on, and it is deleted at its end.

EXAMPLE:
   # runk checkpoint --image-path /var/tmp/box box
   # runk restore --detach --image-path /var/tmp/box --bundle /srv/box box`,
  run: async (context) => {
    const { runtime, options } = context;
    warnOfRootless(context);
    const detach = options.bool("detach");
    const prepared = await prepareRestore(
      runtime,
      // Sockets that were passed to the saved container are in its images.
      { ...createOptions(context), listenFds: undefined, attended: !detach, gate: "none" },
      {
        ...criuOptions(options),
        lsmProfile: options.string("lsm-profile"),
        lsmMountContext: options.string("lsm-mount-context"),
      },
    );
    const socket = options.string("console-socket");
    checkTerminal({ detach, terminal: prepared.request.stdio === "terminal", consoleSocket: socket });
    if (detach) return await restoreDetached(runtime, prepared, absolute(socket));
    return await restoreForeground(runtime, prepared, { subreaper: !options.bool("no-subreaper") });
  },
};
