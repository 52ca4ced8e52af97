/** criu's process, for the time of one checkpoint or restore. */
import { type Notice, Session, type Version } from "../criu/session.ts";
import type { Options } from "../criu/messages.ts";
import { CGROUP_MODE } from "../criu/messages.ts";
import { describeFileError, RunkError } from "../errors.ts";
import { AT_FDCWD } from "../abi/flags.ts";
import { O } from "../abi/arch.ts";
import { call, tryCall } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { cstring } from "../../ffi/memory.ts";
import { type Ended, pidfdOpen, reap } from "../../ffi/process.ts";
import { receiveDescriptor } from "../../ffi/message.ts";
import { socketPair } from "../../ffi/socket.ts";
import { SIG } from "../abi/names.ts";
import { assemble } from "../init/assemble.ts";
import { carryOut } from "../init/carry_out.ts";
import type { EventHandlers } from "../init/drive.ts";
import { CRIU_FD, CRIU_SOCKET } from "../plan/criu.ts";
import type { Plan } from "../plan/types.ts";
import { pathOf } from "./interpret.ts";
import type { Runtime } from "./runtime.ts";

export type { Notice, Options, Version };

/** The first criu whose service says which version it is. */
const LEAST_VERSION: Version = 30000;
/** The first criu that knows a thing. */
export const SINCE = {
  externalNetwork: 31100,
  freezerV2: 31400,
  timeNamespaces: 31400,
  externalPids: 31500,
  statusNotice: 31500,
  otherLabels: 31600,
} as const satisfies Record<string, Version>;

/** How long criu may take to clean up after a failure, in milliseconds. */
const PATIENCE = 10_000;

export interface Criu {
  readonly session: Session;
  readonly version: Version;
  readonly pid: number;
  /** Ends the conversation and collects the process. */
  end(): Promise<Ended | undefined>;
}

/** @throws {RunkError} in the words of Go's exec, with the cure */
export function findCriu(environment: readonly string[]): string {
  const program = pathOf(environment).split(":").filter((directory) => directory.startsWith("/"))
    .map((directory) => `${directory}/criu`).find(isExecutable);
  if (program !== undefined) return program;
  throw new RunkError(
    'CRIU version check failed: exec: "criu": executable file not found in $PATH (install criu: it saves and restores processes)',
  );
}

const X_OK = 1;
const isExecutable = (path: string) =>
  tryCall("faccessat2", AT_FDCWD, cstring(path), X_OK, 0) === 0 && Deno.statSync(path).isFile;

export interface StartOptions {
  readonly inputs?: Readonly<Record<string, Fd>>;
  readonly handlers?: EventHandlers;
  /** See CarryOutOptions. */
  readonly directory: string;
  /** criu's process is there. */
  readonly cloned?: (pid: number) => void;
}

/** Starts criu by its plan, and learns its version. @throws {RunkError} for one that is too old */
export async function startCriu(runtime: Runtime, plan: Plan, options: StartOptions): Promise<Criu> {
  const [ours, theirs] = socketPair();
  using inbox = ours;
  let session: Session | undefined;
  let pid = 0;
  const end = async () => {
    session?.[Symbol.dispose]();
    return pid === 0 ? undefined : await collect(runtime, pid);
  };
  try {
    await carryOut(assemble(plan, false), {
      argv: [runtime.program, "init"],
      inputs: { ...options.inputs, [CRIU_SOCKET]: theirs },
      directory: options.directory,
      plan: () => plan,
      poll: runtime.poll,
      warn: runtime.warn,
      handlers: {
        ...options.handlers,
        cloned: ([made]) => {
          pid = made!;
          options.cloned?.(pid);
        },
      },
    });
    theirs.close();
    const socket = receiveDescriptor(inbox);
    if (socket === undefined) throw new RunkError("criu failed: it has not started");
    session = new Session(socket, runtime.poll);
    const version = await session.version();
    if (version < LEAST_VERSION) throw new RunkError(`CRIU version ${version} must be ${LEAST_VERSION} or higher`);
    runtime.debug?.(`Using CRIU ${version}`);
    return { session, version, pid, end };
  } catch (error) {
    theirs.close();
    await end();
    throw error;
  }
}

/** criu ends when no one talks to it any more. */
async function collect({ poll }: Runtime, pid: number): Promise<Ended | undefined> {
  const ended = reap(pid);
  if (ended !== undefined) return ended;
  let process: Fd;
  try {
    process = pidfdOpen(pid);
  } catch {
    return undefined;
  }
  using held = process;
  const [isOver] = await poll([{ fd: held.number }], PATIENCE);
  if (!isOver) tryCall("kill", pid, SIG.KILL);
  return reap(pid, { block: true });
}

/** What checkpoint and restore are both asked for. */
export interface CriuOptions {
  /** Absolute path of the images. */
  readonly imageDirectory: string;
  /** Absolute path for logs and work files. */
  readonly workDirectory: string;
  /** One of criu's modes, from cgroupModeOf. */
  readonly cgroupMode: number;
  readonly tcpEstablished: boolean;
  readonly extUnixSk: boolean;
  readonly shellJob: boolean;
  readonly fileLocks: boolean;
  readonly autoDedup: boolean;
  readonly lazyPages: boolean;
}

/** @throws {RunkError} for a mode that there is not */
export function cgroupModeOf(mode: string): number {
  if (mode === "") return CGROUP_MODE.default;
  if (mode in CGROUP_MODE && mode !== "default") return CGROUP_MODE[mode as keyof typeof CGROUP_MODE];
  throw new RunkError("invalid manage-cgroups-mode value: soft, full, strict or ignore is expected");
}

const LOG_EVERYTHING = 4;
/** Namespaces whose content is not criu's: network devices and their addresses are whoever's who made them. */
const EMPTY_NAMESPACES = 0x40000000;
const DEFAULT_CONFIG = "/etc/criu/runc.conf";

/**
 * The part of the request that checkpoint and restore share.
 * @param config of the annotation org.criu.config: a file; an empty text for none
 */
export function commonOptions(
  options: CriuOptions,
  logFile: string,
  config: string | undefined,
): Options {
  return {
    imagesDirFd: CRIU_FD.images,
    workDirFd: CRIU_FD.work,
    logLevel: LOG_EVERYTHING,
    logFile,
    // Older ones know only this.
    manageCgroups: true,
    manageCgroupsMode: options.cgroupMode,
    notifyScripts: true,
    shellJob: options.shellJob,
    tcpEstablished: options.tcpEstablished,
    extUnixSk: options.extUnixSk,
    fileLocks: options.fileLocks,
    emptyNs: EMPTY_NAMESPACES,
    orphanPtsMaster: true,
    autoDedup: options.autoDedup,
    lazyPages: options.lazyPages,
    configFile: (config ?? DEFAULT_CONFIG) || undefined,
  };
}

/** Makes the directories for images and for work where they are missing. @throws {RunkError} naming the one that cannot be */
export function makeDirectories({ imageDirectory, workDirectory }: CriuOptions, { images }: { images: boolean }): void {
  if (images) makeDirectory(imageDirectory);
  makeDirectory(workDirectory);
}

const PRIVATE = 0o700;

function makeDirectory(path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true, mode: PRIVATE });
  } catch (error) {
    throw new RunkError(describeFileError("mkdir", path, error));
  }
}

/** Opens a file for criu. @throws {SysError} */
export const openFile = (path: string): Fd => new Fd(call("openat", AT_FDCWD, cstring(path), O[arch].CLOEXEC, 0));

/** Lines of criu's log before one that tells of an error. */
const CONTEXT = 5;

/** Quotes what criu's log says of errors, with the lines before it. */
export function quoteLog({ warn }: Runtime, directory: string, file: string): void {
  const path = `${directory}/${file}`;
  let lines: string[];
  try {
    lines = Deno.readTextFileSync(path).split("\n");
  } catch (error) {
    return warn(describeFileError("open", path, error));
  }
  let quoted = -1;
  lines.forEach((line, i) => {
    if (!line.includes("Error")) return;
    if (quoted < 0) warn(`--- Quoting ${JSON.stringify(path)}`);
    else if (i - CONTEXT > quoted + 1) warn("...");
    for (let at = Math.max(quoted + 1, i - CONTEXT); at <= i; at++) {
      if (lines[at] !== "") warn(`${at + 1}:${lines[at]}`);
    }
    quoted = i;
  });
  if (quoted >= 0) warn("---");
}
