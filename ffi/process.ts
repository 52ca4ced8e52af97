/** Child processes: executables in memory, spawning, signalling and waiting by pidfd. */
import { E } from "../src/abi/errno.ts";
import { CLD, F, F_SEAL, MFD, P, SIGINFO_FIELD, SIGINFO_SIZE, W } from "../src/abi/flags.ts";
import { RLIMIT_NOFILE } from "../src/abi/names.ts";
import { SysError } from "../src/errors.ts";
import { call, tryCall } from "./call.ts";
import { Fd } from "./fd.ts";
import { libc } from "./libc.ts";
import { cstring, Memory, memoryOf, stringArray } from "./memory.ts";

/** Writes all of `bytes`. */
export function writeAll(fd: Fd, bytes: Uint8Array): void {
  const memory = memoryOf(bytes);
  for (let done = 0; done < bytes.length;) {
    done += call("write", fd.number, memory.address + done, bytes.length - done);
  }
}

/**
 * An executable in memory, sealed against any change, close-on-exec.
 * @throws {SysError} where the machine forbids it (`vm.memfd_noexec`, a security module)
 */
export function memfdExecutable(name: string, image: Uint8Array): Fd {
  const flags = MFD.CLOEXEC | MFD.ALLOW_SEALING;
  let number = tryCall("memfd_create", cstring(name), flags | MFD.EXEC);
  // Kernels before 6.3 do not know MFD_EXEC; there, every memfd is executable.
  if (number === -E.INVAL) number = tryCall("memfd_create", cstring(name), flags);
  if (number < 0) throw new SysError("memfd_create", -number);
  const fd = new Fd(number);
  try {
    writeAll(fd, image);
    call("fcntl", fd.number, F.ADD_SEALS, F_SEAL.SEAL | F_SEAL.SHRINK | F_SEAL.GROW | F_SEAL.WRITE);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

/**
 * Starts the executable behind a descriptor with an empty environment; the child inherits every descriptor that is not
 * close-on-exec. Signal dispositions, mask and limits are the executed program's own business: runk's executor resets
 * them first thing (plan/steps/prologue.ts).
 * @throws {SysError} of posix_spawn(3)
 */
export function spawn(executable: Fd, argv: readonly string[]): number {
  const pid = new Memory(8);
  const path = cstring(`/proc/self/fd/${executable.number}`);
  const args = stringArray(argv);
  const env = stringArray([]);
  const errno = libc().posixSpawn(pid.bytes, path.bytes, args.array.bytes, env.array.bytes);
  // SAFETY: `args.keep` holds the strings that the array points to until the call is over.
  if (errno !== 0 || args.keep.length < 0) throw new SysError("posix_spawn", errno);
  return pid.view.getInt32(0, true);
}

/** A pidfd for a process. @throws {SysError} ESRCH when there is none */
export function pidfdOpen(pid: number): Fd {
  return new Fd(call("pidfd_open", pid, 0));
}

/** Sends a signal. @throws {SysError} ESRCH when the process is gone */
export function pidfdSignal(pidfd: Fd, signal: number): void {
  call("pidfd_send_signal", pidfd.number, signal, 0, 0);
}

/** How a child ended: `status` is its exit code, or the signal that killed it. */
export interface Ended {
  readonly pid: number;
  readonly signalled: boolean;
  readonly status: number;
}

/**
 * Collects a child that has ended. Undefined when it has not (or is not a child of this process).
 * @param which a child's pid, or "any"
 */
export function reap(which: number | "any", options: { block?: boolean } = {}): Ended | undefined {
  const info = new Memory(SIGINFO_SIZE);
  const [type, id] = which === "any" ? [P.ALL, 0] : [P.PID, which];
  const answer = tryCall("waitid", type, id, info, W.EXITED | (options.block ? 0 : W.NOHANG), 0);
  if (answer === -E.CHILD) return undefined;
  if (answer < 0) throw new SysError("waitid", -answer);
  const pid = info.view.getInt32(SIGINFO_FIELD.pid, true);
  if (pid === 0) return undefined;
  return {
    pid,
    signalled: info.view.getInt32(SIGINFO_FIELD.code, true) !== CLD.EXITED,
    status: info.view.getInt32(SIGINFO_FIELD.status, true),
  };
}

/** A resource limit; 2^64-1 is RLIM_INFINITY. */
export interface Limit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** The limit on open files of a process (0: this one); undefined when it cannot be read. */
export function openFilesLimit(pid: number): Limit | undefined {
  const limit = new Memory(16);
  if (tryCall("prlimit64", pid, RLIMIT_NOFILE, 0, limit) < 0) return undefined;
  return { soft: limit.view.getBigUint64(0, true), hard: limit.view.getBigUint64(8, true) };
}
