/** runk exec */
import { readDocument } from "../bundle/document.ts";
import { exec } from "../container/exec.ts";
import { changedProcess } from "../container/exec_process.ts";
import { RunkError } from "../errors.ts";
import { checkTerminal } from "../process/stdio.ts";
import { parseDocument } from "../spec/document.ts";
import type { Process, Spec } from "../spec/schema.ts";
import { absolute, type Command, type Context, preservedFds, STREAM_FLAGS } from "./command.ts";
import { parseInteger } from "./flags.ts";

const FAILURE = 255;

export const command: Command = {
  flags: [
    ...STREAM_FLAGS,
    { name: "cwd", kind: "string", help: "working directory in the container" },
    { name: "env", short: "e", kind: "list", help: "environment variable NAME=VALUE; may be given several times" },
    { name: "tty", short: "t", kind: "bool", help: "give the process a terminal" },
    { name: "user", short: "u", kind: "string", help: "user as uid or uid:gid" },
    { name: "additional-gids", short: "g", kind: "list", help: "supplementary group; may be given several times" },
    {
      name: "process",
      short: "p",
      kind: "string",
      value: "file",
      help: "file with the process as JSON, instead of arguments and the flags about it",
    },
    { name: "detach", short: "d", kind: "bool", help: "return when the process runs" },
    { name: "process-label", kind: "string", help: "SELinux label of the process" },
    { name: "apparmor", kind: "string", help: "AppArmor profile of the process" },
    { name: "no-new-privs", kind: "bool", help: "forbid the process gaining privileges" },
    { name: "cap", short: "c", kind: "list", help: "capability to add; may be given several times" },
    { name: "cgroup", kind: "list", help: "sub-cgroup to run in: [controller[,controller]:]path" },
    { name: "ignore-paused", kind: "bool", help: "allow it in a paused container" },
  ],
  operands: [1, Infinity],
  usage: "<container-id> <command> [arguments]  || -p process.json <container-id>",
  help: `Runs a process in a container: with the user, environment, working directory and
capabilities of the container's own process, as the flags change them; or as a
file describes it. In the foreground (without --detach) the exit status is the
process's. Failures before it runs give 255.

EXAMPLE:
   # runk exec --tty box sh`,
  stopAt: 1,
  failure: FAILURE,
  failurePrefix: () => "exec failed",
  run: async (context) => {
    const { runtime, options, operands: [id, ...args] } = context;
    const file = options.string("process");
    if (file === "" && args.length === 0) throw new RunkError("exec args cannot be empty");
    const detach = options.bool("detach");
    const socket = options.string("console-socket");
    const makeProcess = (spec: () => Spec): Process => {
      const process = file === ""
        ? fromFlags(context, spec(), args)
        : parseDocument(readDocument(file), file) as Process;
      checkTerminal({ detach, terminal: process.terminal ?? false, consoleSocket: socket });
      return process;
    };
    return await exec(runtime, {
      id: id!,
      detach,
      consoleSocket: absolute(socket),
      pidFile: absolute(options.string("pid-file")) || undefined,
      preserveFds: preservedFds(options),
      ignorePaused: options.bool("ignore-paused"),
      pidfdSocket: absolute(options.string("pidfd-socket")),
      cgroups: options.list("cgroup"),
      name: file === "" ? "the process" : file,
    }, makeProcess);
  },
};

function fromFlags({ options }: Context, spec: Spec, args: readonly string[]): Process {
  return changedProcess(spec, {
    args,
    cwd: options.string("cwd") || undefined,
    env: options.list("env"),
    tty: options.bool("tty"),
    user: options.string("user") === "" ? undefined : parseUser(options.string("user")),
    additionalGids: options.list("additional-gids").map(parseGroup),
    capabilities: options.list("cap"),
    selinuxLabel: options.string("process-label") || undefined,
    apparmorProfile: options.string("apparmor") || undefined,
    noNewPrivileges: options.isSet("no-new-privs") ? options.bool("no-new-privs") : undefined,
  });
}

function parseUser(text: string): { uid: number; gid: number | undefined } {
  const [uid, gid] = text.split(":");
  return { uid: parseId(uid ?? "", "bad uid"), gid: gid === undefined ? undefined : parseId(gid, "bad gid") };
}

function parseGroup(text: string): number {
  if ((parseInteger(text) ?? 0) < 0) throw new RunkError(`additional-gids must be a positive number ${text}`);
  return parseId(text, "bad gid");
}

function parseId(text: string, error: string): number {
  const number = parseInteger(text);
  if (number === undefined || number < 0 || number > 0xffffffff) {
    throw new RunkError(`${error}: ${JSON.stringify(text)} is not an id`);
  }
  return number;
}
