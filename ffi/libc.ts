/**
 * The one door into native code: two symbols of libc, and a trampoline of our own.
 *
 * errno cannot be read between two FFI calls (the engine's own work overwrites it), so system calls go through 26 bytes
 * of machine code that shift the arguments and issue the instruction: the kernel's answer, -errno included, comes
 * straight back. `syscall` makes the trampoline's page, `posix_spawn` starts children (a forked JavaScript engine cannot
 * run). Both are asked for as addresses: as functions Deno would compile a fast path for each, which takes 1 ms together
 * and is not worth it for some fifty calls of 2 us.
 */
import type { Arch } from "../src/abi/arch.ts";
import { syscallNumber } from "../src/abi/syscalls.ts";
import { setExit } from "./exit.ts";

const SYMBOLS = { syscall: { type: "pointer" }, posix_spawn: { type: "pointer" } } as const;
const SPAWN = { parameters: ["buffer", "buffer", "pointer", "pointer", "buffer", "buffer"], result: "i32" } as const;
const CALL = { parameters: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"], result: "i64" } as const;
const CALL_ASYNC = { ...CALL, nonblocking: true } as const;

/** syscall(nr, a0..a5) with the C calling convention: shift every argument down by one register, trap, return. */
const TRAMPOLINE: Record<Arch, Uint8Array> = {
  // mov rax,rdi; mov rdi,rsi; mov rsi,rdx; mov rdx,rcx; mov r10,r8; mov r8,r9; mov r9,[rsp+8]; syscall; ret
  x86_64: Uint8Array.of(
    ...[0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x4d, 0x89, 0xc2],
    ...[0x4d, 0x89, 0xc8, 0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05, 0xc3],
  ),
  // mov x8,x0; mov x0,x1; ... mov x5,x6; svc #0; ret
  aarch64: new Uint8Array(
    Uint32Array.of(
      ...[0xaa0003e8, 0xaa0103e0, 0xaa0203e1, 0xaa0303e2, 0xaa0403e3, 0xaa0503e4, 0xaa0603e5, 0xd4000001, 0xd65f03c0],
    ).buffer,
  ),
};

const PAGE = 4096;
const PROT_RW = 3;
const PROT_RX = 5;
const MAP_PRIVATE_ANONYMOUS = 0x22;

type Integer = number | bigint;
type Syscall = (nr: number, a: Integer, b: Integer, c: Integer, d: Integer, e: Integer, f: Integer) => number | bigint;
type SyscallAsync = (...args: Parameters<Syscall>) => Promise<number | bigint>;

interface Libc {
  readonly syscall: Syscall;
  readonly syscallAsync: SyscallAsync;
  readonly posixSpawn: (pid: BufferSource, path: BufferSource, argv: BufferSource, envp: BufferSource) => number;
  /** Maps machine code, read and execute only, for good; returns its address. */
  readonly mapCode: (code: Uint8Array) => number;
}

/** The machine this process runs on. */
export const arch: Arch = Deno.build.arch;

let opened: Libc | undefined;

/** libc, opened on first use (1 to 2 ms) and kept. */
export function libc(): Libc {
  return opened ??= open();
}

function open(): Libc {
  const { symbols } = Deno.dlopen("libc.so.6", SYMBOLS);
  // SAFETY: libc is never unloaded; these are the prototypes of syscall(2) and posix_spawn(3).
  const first = functionAt(symbols.syscall, CALL);
  const spawn = new Deno.UnsafeFnPointer(symbols.posix_spawn as Deno.PointerObject<typeof SPAWN>, SPAWN);
  const mapCode = (code: Uint8Array): number => {
    const page = Number(first(syscallNumber(arch, "mmap"), 0, PAGE, PROT_RW, MAP_PRIVATE_ANONYMOUS, -1, 0));
    if (page === -1) throw new Error("cannot map a page for machine code");
    const pointer = Deno.UnsafePointer.create(BigInt(page))!;
    // SAFETY: the page was mapped above, is PAGE bytes long and is never unmapped.
    new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, PAGE)).set(code);
    if (Number(first(syscallNumber(arch, "mprotect"), page, PAGE, PROT_RX, 0, 0, 0)) !== 0) {
      throw new Error("cannot make a page executable: a security module forbids it (execmem)");
    }
    return page;
  };
  const trampoline = Deno.UnsafePointer.create(BigInt(mapCode(TRAMPOLINE[arch])))!;
  // SAFETY: the page holds the code of this machine's calling convention, read and execute only from here on.
  let nonblocking: Deno.UnsafeFnPointer<typeof CALL_ASYNC> | undefined;
  const syscall = functionAt(trampoline, CALL);
  setExit((status) => syscall(syscallNumber(arch, "exit_group"), status, 0, 0, 0, 0, 0));
  return {
    syscall,
    syscallAsync: (...args) => {
      // SAFETY: as above; the same code, run on a thread of Deno's pool.
      nonblocking ??= new Deno.UnsafeFnPointer(trampoline as Deno.PointerObject<typeof CALL_ASYNC>, CALL_ASYNC);
      return (nonblocking.call as unknown as SyscallAsync)(...args);
    },
    posixSpawn: (pid, path, argv, envp) => spawn.call(pid, path, null, null, argv, envp),
    mapCode,
  };
}

/** A function of seven integers. A number is accepted where the types ask for a bigint, and is cheaper. */
function functionAt(pointer: Deno.PointerValue, definition: typeof CALL): Syscall {
  const target = new Deno.UnsafeFnPointer(pointer as Deno.PointerObject<typeof CALL>, definition);
  return target.call.bind(target) as unknown as Syscall;
}
