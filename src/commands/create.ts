/** runk create */
import { bundleDirectory } from "../bundle/open.ts";
import { create, prepare } from "../container/create.ts";
import { detachedStdio } from "../container/run.ts";
import { checkTerminal } from "../process/stdio.ts";
import {
  absolute,
  cgroupManager,
  type Command,
  type Context,
  isRootless,
  preservedFds,
  STREAM_FLAGS,
} from "./command.ts";
import type { Flag } from "./flags.ts";

/** Of create, run and plan. */
export const CONFIG_FLAG: Flag = {
  name: "config",
  short: "f",
  kind: "string",
  value: "file",
  help: "config to use instead of the bundle's config.json",
};

export const BUNDLE_FLAG: Flag = {
  name: "bundle",
  short: "b",
  kind: "string",
  value: "directory",
  help: "directory of the bundle (default: the current directory)",
};

/** The flags that create and run share. */
export const CREATE_FLAGS: readonly Flag[] = [
  BUNDLE_FLAG,
  CONFIG_FLAG,
  ...STREAM_FLAGS,
  {
    name: "no-pivot",
    kind: "bool",
    help: "change the root without pivot_root; for hosts that run from their initial ramdisk",
  },
  { name: "no-new-keyring", kind: "bool", help: "let the container keep the caller's session keyring" },
];

/** The options that create and run hand on. */
export function createOptions({ globals, options, operands }: Context) {
  return {
    cgroupManager: cgroupManager(globals),
    rootless: isRootless(globals),
    id: operands[0]!,
    bundle: bundleDirectory(options.string("bundle")),
    configFile: absolute(options.string("config")) || undefined,
    noPivot: options.bool("no-pivot"),
    noNewKeyring: options.bool("no-new-keyring"),
    preserveFds: preservedFds(options),
    pidFile: absolute(options.string("pid-file")) || undefined,
    pidfdSocket: absolute(options.string("pidfd-socket")) || undefined,
    notifySocket: Deno.env.get("NOTIFY_SOCKET") || undefined,
    listenFds: listenFds(),
    seccompReceiver: Deno.env.get("RUN_OCI_SECCOMP_RECEIVER") || undefined,
  };
}

/** Sockets that a service manager passed to this very process. */
function listenFds() {
  const count = Number(Deno.env.get("LISTEN_FDS") ?? 0);
  if (Deno.env.get("LISTEN_PID") !== String(Deno.pid) || !Number.isSafeInteger(count) || count <= 0) return undefined;
  return { count, names: Deno.env.get("LISTEN_FDNAMES") };
}

export const command: Command = {
  flags: [
    ...CREATE_FLAGS,
    { name: "no-subreaper", kind: "bool", help: "no effect: create collects no one", hidden: true },
  ],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Makes a container from a bundle and stops short of its program: everything is set
up, limits hold, hooks have run, and the container's first process waits until
"start" lets it go on. The bundle is a directory with a config.json and a root
file system; "spec" writes a config.json to begin with, "plan" shows what create
would do.`,
  failurePrefix: (program) => `${program} create failed`,
  run: async (context) => {
    const prepared = await prepare(context.runtime, { ...createOptions(context), attended: false, gate: "fifo" });
    const socket = context.options.string("console-socket");
    const isTerminal = prepared.request.stdio === "terminal";
    checkTerminal({ detach: true, terminal: isTerminal, consoleSocket: socket });
    const { inputs, close } = detachedStdio(isTerminal, absolute(socket));
    try {
      await create(context.runtime, prepared, { inputs });
    } finally {
      close();
    }
  },
};
