/**
 * The executor's operations as aarch64 machine code.
 * Source: Arm Architecture Reference Manual for A-profile, chapter C6.
 */
import type { Comparison, Encoder, Register } from "./assembler.ts";

/** Hardware registers; a system call changes only x0. x15 and x14 are the encoder's own scratch. */
const NUMBER: Record<Register, number> = {
  t0: 9,
  t1: 10,
  t2: 11,
  t3: 12,
  step: 19,
  work: 20,
  result: 21,
  error: 22,
};
const SCRATCH = 15;
const SCRATCH2 = 14;
const ZERO = 31;

const word = (value: number) => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255];
/** Three registers: destination, first and second operand. */
const rrr = (opcode: number, d: number, n: number, m: number) => word(opcode | (m << 16) | (n << 5) | d);
/** A 64-bit number in four instructions: movz, then movk for the other three quarters. */
function load(d: number, value: number): number[] {
  const wide = BigInt.asUintN(64, BigInt(value));
  return [0, 1, 2, 3].flatMap((quarter) => {
    const bits = Number((wide >> BigInt(16 * quarter)) & 0xffffn);
    return word((quarter === 0 ? 0xd2800000 : 0xf2800000) | (quarter << 21) | (bits << 5) | d);
  });
}
const SIZE_BITS = { 1: 0x39000000, 2: 0x79000000, 4: 0xb9000000, 8: 0xf9000000 } as const;
const memory = (size: 1 | 2 | 4 | 8, isLoad: number, reg: number, base: number, offset: number) =>
  word(SIZE_BITS[size] | (isLoad << 22) | ((offset / size) << 10) | (base << 5) | reg);
const CONDITION: Record<Comparison, number> = { "==": 0, "!=": 1, "<": 3 };
/** Field of a branch that holds its distance in instructions: lowest bit and width, by opcode. */
const isTestBranch = (instruction: number) => (instruction & 0x7e000000) === 0x36000000;
const isConditional = (instruction: number) => (instruction & 0xff000000) === 0x54000000;

/** See {@link Encoder}. */
export const aarch64: Encoder = {
  li: (d, value) => load(NUMBER[d], value),
  mv: (d, s) => rrr(0xaa000000, NUMBER[d], ZERO, NUMBER[s]),
  add: (d, s) => rrr(0x8b000000, NUMBER[d], NUMBER[d], NUMBER[s]),
  sub: (d, s) => rrr(0xcb000000, NUMBER[d], NUMBER[d], NUMBER[s]),
  and: (d, s) => rrr(0x8a000000, NUMBER[d], NUMBER[d], NUMBER[s]),
  addi: (d, value) =>
    word((value < 0 ? 0xd1000000 : 0x91000000) | (Math.abs(value) << 10) | (NUMBER[d] << 5) | NUMBER[d]),
  // lsl and lsr are aliases of ubfm
  shl: (d, bits) => word(0xd3400000 | ((64 - bits) << 16) | ((63 - bits) << 10) | (NUMBER[d] << 5) | NUMBER[d]),
  shr: (d, bits) => word(0xd3400000 | (bits << 16) | (63 << 10) | (NUMBER[d] << 5) | NUMBER[d]),
  ld: (size, d, base, offset) => memory(size, 1, NUMBER[d], NUMBER[base], offset),
  st: (size, s, base, offset) => memory(size, 0, NUMBER[s], NUMBER[base], offset),
  // x15 = 10; x14 = t0 / x15; t2 = t0 - x14 * x15; t0 = x14
  divmod10: () => [
    ...load(SCRATCH, 10),
    ...rrr(0x9ac00800, SCRATCH2, NUMBER.t0, SCRATCH),
    ...word(0x9b008000 | (SCRATCH << 16) | (NUMBER.t0 << 10) | (SCRATCH2 << 5) | NUMBER.t2),
    ...rrr(0xaa000000, NUMBER.t0, ZERO, SCRATCH2),
  ],
  syscall: (offset) => [
    ...rrr(0xaa000000, 8, ZERO, NUMBER.t0),
    ...[0, 1, 2, 3, 4, 5].flatMap((i) => memory(8, 1, i, NUMBER.work, offset + 8 * i)),
    ...word(0xd4000001),
    ...rrr(0xaa000000, NUMBER.result, ZERO, 0),
  ],
  cmp: (a, b) =>
    typeof b === "number"
      ? [...load(SCRATCH, b), ...rrr(0xeb000000, ZERO, NUMBER[a], SCRATCH)]
      : rrr(0xeb000000, ZERO, NUMBER[a], NUMBER[b]),
  branch: (is) => word(0x54000000 | CONDITION[is]),
  branchClear: (r, bit) => word(0x36000000 | (bit << 19) | NUMBER[r]),
  jmp: () => word(0x14000000),
  patch: (code, start, end, target) => {
    const instruction = code[end - 4]! | (code[end - 3]! << 8) | (code[end - 2]! << 16) | (code[end - 1]! << 24);
    const distance = (target - start) / 4;
    const field = isTestBranch(instruction)
      ? (distance & 0x3fff) << 5
      : isConditional(instruction)
      ? (distance & 0x7ffff) << 5
      : distance & 0x3ffffff;
    word(instruction | field).forEach((byte, i) => code[end - 4 + i] = byte);
  },
};
