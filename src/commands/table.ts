/** The subcommands: name, summary, and how to load each. A command's code is evaluated only when it is asked for. */
import { RunkError } from "../errors.ts";
import type { Command } from "./command.ts";

export interface Entry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<{ command: Command }>;
}

/** In the order in which help shows them. */
export const COMMANDS: readonly Entry[] = [
  { name: "checkpoint", summary: "save a running container to files", load: () => import("./checkpoint.ts") },
  {
    name: "completion",
    summary: "print completions for bash, zsh or fish",
    load: () => import("./completion.ts"),
  },
  { name: "create", summary: "create a container", load: () => import("./create.ts") },
  {
    name: "delete",
    summary: "delete what a container holds: processes, cgroups, its state",
    load: () => import("./delete.ts"),
  },
  {
    name: "doctor",
    summary: "show what this machine offers to containers, what is missing, and the cure",
    load: () => import("./doctor.ts"),
  },
  {
    name: "events",
    summary: "show a container's statistics as they change, and when it runs out of memory",
    load: () => import("./events.ts"),
  },
  { name: "exec", summary: "run a process in a container", load: () => import("./exec.ts") },
  { name: "features", summary: "show what this program can do, as JSON", load: () => import("./features.ts") },
  {
    name: "kill",
    summary: "send a signal (TERM, if none is given) to a container's first process",
    load: () => import("./kill.ts"),
  },
  { name: "list", summary: "list the containers of a state root", load: () => import("./list.ts") },
  { name: "man", summary: "print a manual page, or write all of them", load: () => import("./man.ts") },
  { name: "mounts", summary: "add mounts to a running container, or remove them", load: () => import("./mounts.ts") },
  { name: "pause", summary: "stop all processes of a container", load: () => import("./pause.ts") },
  {
    name: "plan",
    summary: "show every system call that creating a container would issue, without issuing any",
    load: () => import("./plan.ts"),
  },
  { name: "ps", summary: "show the processes of a container", load: () => import("./ps.ts") },
  {
    name: "restore",
    summary: "make a container go on from where checkpoint has saved it",
    load: () => import("./restore.ts"),
  },
  { name: "resume", summary: "let the processes of a paused container go on", load: () => import("./resume.ts") },
  { name: "run", summary: "create and start a container", load: () => import("./run.ts") },
  { name: "spec", summary: "write a new config.json", load: () => import("./spec.ts") },
  { name: "start", summary: "let a created container run its program", load: () => import("./start.ts") },
  { name: "state", summary: "show the state of a container", load: () => import("./state.ts") },
  { name: "update", summary: "change the limits of a container", load: () => import("./update.ts") },
];

const UNKNOWN_COMMAND = 3;

/** @throws {RunkError} with runc's words and exit status when there is no such command */
export function findCommand(name: string): Entry {
  const entry = COMMANDS.find((entry) => entry.name === name);
  if (entry === undefined) throw new RunkError(`No help topic for '${name}'`, { exitCode: UNKNOWN_COMMAND });
  return entry;
}
