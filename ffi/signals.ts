/**
 * Catching signals: every one of them, real-time signals included, becomes four bytes in a pipe. The handler is machine
 * code (a JavaScript callback cannot run in a signal handler); it writes the signal's number and returns.
 */
import type { Arch } from "../src/abi/arch.ts";
import { O } from "../src/abi/arch.ts";
import { E } from "../src/abi/errno.ts";
import { call, tryCall } from "./call.ts";
import { Fd } from "./fd.ts";
import { arch, libc } from "./libc.ts";
import { Memory } from "./memory.ts";

const SA_RESTORER = 0x04000000;
const SA_ONSTACK = 0x08000000;
const SA_RESTART = 0x10000000;
const SIGSET_SIZE = 8;

const little32 = (value: number) => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255];

/** The handler, and (x86_64 only) what returns from it, `restorer` bytes behind the start. */
const HANDLER: Record<Arch, (fd: number) => { code: Uint8Array; restorer: number }> = {
  x86_64: (fd) => {
    const handler = [
      0x57, // push rdi
      ...[0x48, 0x89, 0xe6], // mov rsi, rsp
      ...[0xbf, ...little32(fd)], // mov edi, fd
      ...[0xba, ...little32(4)], // mov edx, 4
      ...[0xb8, ...little32(1)], // mov eax, write
      ...[0x0f, 0x05], // syscall
      0x5f, // pop rdi
      0xc3, // ret
    ];
    const restorer = [0xb8, ...little32(15), 0x0f, 0x05]; // mov eax, rt_sigreturn; syscall
    return { code: Uint8Array.from([...handler, ...restorer]), restorer: handler.length };
  },
  aarch64: (fd) => {
    const words = [
      0xf81f0fe0, // str x0, [sp, #-16]!
      0x910003e1, // mov x1, sp
      0xd2800000 | (fd << 5), // mov x0, fd
      0xd2800082, // mov x2, 4
      0xd2800808, // mov x8, write
      0xd4000001, // svc #0
      0x910043ff, // add sp, sp, 16
      0xd65f03c0, // ret
    ];
    return { code: new Uint8Array(Uint32Array.from(words).buffer), restorer: 0 };
  },
};

/** Signals that arrive, as numbers. The process's dispositions change for good: for commands, not for long-lived hosts. */
export class SignalPipe implements Disposable {
  readonly #read: Fd;
  readonly #write: Fd;
  readonly #buffer = new Memory(256);

  /** Catches `signals` (numbers) from here on. */
  constructor(signals: readonly number[]) {
    const pair = new Memory(8);
    call("pipe2", pair, O[arch].CLOEXEC | O[arch].NONBLOCK);
    this.#read = new Fd(pair.view.getInt32(0, true));
    this.#write = new Fd(pair.view.getInt32(4, true));
    const { code, restorer } = HANDLER[arch](this.#write.number);
    const address = libc().mapCode(code);
    // struct kernel_sigaction: handler, flags, restorer, mask
    const action = new Memory(32);
    action.view.setBigUint64(0, BigInt(address), true);
    action.view.setBigUint64(8, BigInt(SA_RESTART | SA_ONSTACK | (restorer > 0 ? SA_RESTORER : 0)), true);
    action.view.setBigUint64(16, BigInt(restorer > 0 ? address + restorer : 0), true);
    for (const signal of signals) call("rt_sigaction", signal, action, 0, SIGSET_SIZE);
  }

  /** To be polled for reading. */
  get fd(): number {
    return this.#read.number;
  }

  /** The signals that have arrived since the last call, in order; none when there are none. */
  take(): number[] {
    const length = tryCall("read", this.fd, this.#buffer, this.#buffer.bytes.length);
    if (length < 0 && length !== -E.AGAIN) return [];
    return Array.from(
      { length: Math.max(0, Math.floor(length / 4)) },
      (_, i) => this.#buffer.view.getInt32(4 * i, true),
    );
  }

  /** Closes the reading end only: a handler may still run, and its writes must go nowhere, not into another file. */
  [Symbol.dispose](): void {
    this.#read.close();
  }
}
