/**
 * The dozen operations that the executor is written in, independent of the machine, and the bookkeeping that both
 * encoders share: bytes, labels, branches to be patched, a listing.
 */
import type { Arch } from "../abi/arch.ts";
import { aarch64 } from "./aarch64.ts";
import { x86_64 } from "./x86_64.ts";

/**
 * Registers. t0 to t3 are scratch; a system call keeps only step, work, result and error.
 * `step`: address of the record under way. `work`: address of the machine's memory.
 */
const REGISTERS = ["t0", "t1", "t2", "t3", "step", "work", "result", "error"] as const;
export type Register = typeof REGISTERS[number];
export type Size = 1 | 2 | 4 | 8;
export type Comparison = "==" | "!=" | "<";

/** How one machine encodes an operation. Branches are emitted with distance 0 and patched by `patch`. */
export interface Encoder {
  li(d: Register, value: number): number[];
  mv(d: Register, s: Register): number[];
  add(d: Register, s: Register): number[];
  sub(d: Register, s: Register): number[];
  and(d: Register, s: Register): number[];
  addi(d: Register, value: number): number[];
  shl(d: Register, bits: number): number[];
  shr(d: Register, bits: number): number[];
  ld(size: Size, d: Register, base: Register, offset: number): number[];
  st(size: Size, s: Register, base: Register, offset: number): number[];
  /** t0 = t0 / 10, t2 = t0 % 10; t1 is lost. */
  divmod10(): number[];
  /** result = system call number t0 with the six arguments at work + offset. */
  syscall(argsOffset: number): number[];
  /** Compares without branching. */
  cmp(a: Register, b: Register | number): number[];
  /** Branches on the last comparison. */
  branch(is: Comparison): number[];
  /** Branches if a bit is clear. */
  branchClear(r: Register, bit: number): number[];
  jmp(): number[];
  /** Writes the distance into the branch that was emitted at [start, end). */
  patch(code: number[], start: number, end: number, target: number): void;
}

const ENCODERS: Record<Arch, Encoder> = { x86_64, aarch64 };

/** Collects one program for one machine. */
export class Assembler {
  readonly code: number[] = [];
  /** One line per operation: offset, bytes, mnemonic. */
  readonly listing: string[] = [];
  readonly #encoder: Encoder;
  readonly #labels = new Map<string, number>();
  readonly #branches: { start: number; end: number; label: string }[] = [];

  constructor(readonly arch: Arch) {
    this.#encoder = ENCODERS[arch];
  }

  label(name: string): void {
    if (this.#labels.has(name)) throw new Error(`assembler: label ${name} is bound twice`);
    this.#labels.set(name, this.code.length);
    this.listing.push(`${name}:`);
  }

  li(d: Register, value: number): void {
    this.#emit(`li ${d}, 0x${value.toString(16)}`, this.#encoder.li(d, value));
  }
  mv(d: Register, s: Register): void {
    this.#emit(`mv ${d}, ${s}`, this.#encoder.mv(d, s));
  }
  add(d: Register, s: Register): void {
    this.#emit(`add ${d}, ${s}`, this.#encoder.add(d, s));
  }
  sub(d: Register, s: Register): void {
    this.#emit(`sub ${d}, ${s}`, this.#encoder.sub(d, s));
  }
  and(d: Register, s: Register): void {
    this.#emit(`and ${d}, ${s}`, this.#encoder.and(d, s));
  }
  addi(d: Register, value: number): void {
    this.#emit(`addi ${d}, ${value}`, this.#encoder.addi(d, value));
  }
  shl(d: Register, bits: number): void {
    this.#emit(`shl ${d}, ${bits}`, this.#encoder.shl(d, bits));
  }
  shr(d: Register, bits: number): void {
    this.#emit(`shr ${d}, ${bits}`, this.#encoder.shr(d, bits));
  }
  ld(size: Size, d: Register, base: Register, offset: number): void {
    this.#emit(`ld${size} ${d}, [${base}+${offset}]`, this.#encoder.ld(size, d, base, offset));
  }
  st(size: Size, s: Register, base: Register, offset: number): void {
    this.#emit(`st${size} ${s}, [${base}+${offset}]`, this.#encoder.st(size, s, base, offset));
  }
  divmod10(): void {
    this.#emit("divmod10 t0, t2", this.#encoder.divmod10());
  }
  syscall(argsOffset: number): void {
    this.#emit(`syscall t0, [work+${argsOffset}]`, this.#encoder.syscall(argsOffset));
  }
  /** Goes to `label` if the comparison holds (unsigned). */
  branch(a: Register, is: Comparison, b: Register | number, label: string): void {
    this.#emit(`cmp ${a}, ${b}`, this.#encoder.cmp(a, b));
    this.#emitBranch(`branch ${is} ${label}`, this.#encoder.branch(is), label);
  }
  branchClear(r: Register, bit: number, label: string): void {
    this.#emitBranch(`branch ${r} bit ${bit} clear ${label}`, this.#encoder.branchClear(r, bit), label);
  }
  jmp(label: string): void {
    this.#emitBranch(`jmp ${label}`, this.#encoder.jmp(), label);
  }

  /** The finished code. */
  finish(): Uint8Array {
    for (const { start, end, label } of this.#branches) {
      const target = this.#labels.get(label);
      if (target === undefined) throw new Error(`assembler: label ${label} is not bound`);
      this.#encoder.patch(this.code, start, end, target);
    }
    return Uint8Array.from(this.code);
  }

  #emit(mnemonic: string, bytes: number[]): void {
    const hex = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
    this.listing.push(`  ${this.code.length.toString(16).padStart(4, "0")}  ${mnemonic.padEnd(32)} ${hex}`);
    this.code.push(...bytes);
  }

  #emitBranch(mnemonic: string, bytes: number[], label: string): void {
    this.#branches.push({ start: this.code.length, end: this.code.length + bytes.length, label });
    this.#emit(mnemonic, bytes);
  }
}
