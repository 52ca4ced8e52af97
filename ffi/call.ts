/** System calls from JavaScript: EINTR is retried, failure becomes a SysError with the call's name. */
import { E } from "../src/abi/errno.ts";
import { type SyscallName, syscallNumber } from "../src/abi/syscalls.ts";
import { SysError } from "../src/errors.ts";
import { arch, libc } from "./libc.ts";
import { Memory } from "./memory.ts";

/** A number, or memory whose address is passed. */
export type CallArgument = number | bigint | Memory;

const address = (argument: CallArgument | undefined) =>
  argument === undefined ? 0 : argument instanceof Memory ? argument.address : argument;

/**
 * Issues a system call; the answer is the kernel's, -errno included. EINTR is retried.
 * Blocks the thread: only for calls that do not wait.
 */
export function tryCall(name: SyscallName, ...args: CallArgument[]): number {
  const { syscall } = libc();
  const nr = syscallNumber(arch, name);
  for (;;) {
    const answer = Number(
      syscall(
        nr,
        address(args[0]),
        address(args[1]),
        address(args[2]),
        address(args[3]),
        address(args[4]),
        address(args[5]),
      ),
    );
    // SAFETY: `args` is read again below, so that what it references outlives the call.
    if (answer !== -E.INTR || args.length < 0) return answer;
  }
}

/**
 * Issues a system call and returns its answer.
 * @throws {SysError} named after the call when the kernel answers with an error other than EINTR.
 */
export function call(name: SyscallName, ...args: CallArgument[]): number {
  const answer = tryCall(name, ...args);
  if (answer < 0 && answer > -4096) throw new SysError(name, -answer);
  return answer;
}

/** As {@link call}, on a thread of Deno's pool, for calls that wait. At most 32 can wait at once in a process. */
export async function callAsync(name: SyscallName, ...args: CallArgument[]): Promise<number> {
  const { syscallAsync } = libc();
  const nr = syscallNumber(arch, name);
  for (;;) {
    const answer = Number(
      await syscallAsync(
        ...[nr, address(args[0]), address(args[1]), address(args[2])] as const,
        ...[address(args[3]), address(args[4]), address(args[5])] as const,
      ),
    );
    // SAFETY: `args` is read again here, after the pool's thread is done with what it references.
    if (answer !== -E.INTR || args.length < 0) {
      if (answer < 0 && answer > -4096) throw new SysError(name, -answer);
      return answer;
    }
  }
}
