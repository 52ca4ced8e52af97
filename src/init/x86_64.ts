/**
 * The executor's operations as x86_64 machine code. Always the plain encodings (64-bit operands, 32-bit displacements):
 * the executor is small and waits for the kernel, so size and speed of an instruction do not matter.
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
 */
import type { Comparison, Encoder, Register } from "./assembler.ts";

/** Hardware registers; step, work, result and error are ones that the syscall instruction leaves alone. */
const NUMBER: Record<Register, number> = {
  t0: 0, // rax
  t1: 1, // rcx
  t2: 2, // rdx
  t3: 6, // rsi
  step: 3, // rbx
  work: 5, // rbp
  result: 12, // r12
  error: 13, // r13
};
/** The kernel's argument registers in order: rdi rsi rdx r10 r8 r9. */
const ARGUMENTS = [7, 6, 2, 10, 8, 9];

const imm32 = (value: number) => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255];
/** REX.W prefix for a reg field and an r/m field. */
const rex = (reg: number, rm: number, w = 1) => 0x40 | (w << 3) | ((reg >> 3) << 2) | (rm >> 3);
/** Operation on two registers: opcode, reg = source, r/m = destination. */
const regs = (opcode: number, reg: number, rm: number) => [rex(reg, rm), opcode, 0xc0 | ((reg & 7) << 3) | (rm & 7)];
/** [base + disp32]; no base used here needs a SIB byte. */
const memory = (reg: number, base: number, offset: number) => [
  0x80 | ((reg & 7) << 3) | (base & 7),
  ...((base & 7) === 4 ? [0x24] : []),
  ...imm32(offset),
];
const CONDITION: Record<Comparison, number> = { "==": 0x84, "!=": 0x85, "<": 0x82 };

/** See {@link Encoder}. */
export const x86_64: Encoder = {
  li: (d, value) => [rex(0, NUMBER[d]), 0xc7, 0xc0 | (NUMBER[d] & 7), ...imm32(value)],
  mv: (d, s) => regs(0x89, NUMBER[s], NUMBER[d]),
  add: (d, s) => regs(0x01, NUMBER[s], NUMBER[d]),
  sub: (d, s) => regs(0x29, NUMBER[s], NUMBER[d]),
  and: (d, s) => regs(0x21, NUMBER[s], NUMBER[d]),
  addi: (d, value) => [rex(0, NUMBER[d]), 0x81, 0xc0 | (NUMBER[d] & 7), ...imm32(value)],
  shl: (d, bits) => [rex(0, NUMBER[d]), 0xc1, 0xe0 | (NUMBER[d] & 7), bits],
  shr: (d, bits) => [rex(0, NUMBER[d]), 0xc1, 0xe8 | (NUMBER[d] & 7), bits],
  ld: (size, d, base, offset) => {
    const [reg, rm] = [NUMBER[d], NUMBER[base]];
    const opcode = { 1: [0x0f, 0xb6], 2: [0x0f, 0xb7], 4: [0x8b], 8: [0x8b] }[size];
    return [rex(reg, rm, size === 4 ? 0 : 1), ...opcode, ...memory(reg, rm, offset)];
  },
  st: (size, s, base, offset) => {
    const [reg, rm] = [NUMBER[s], NUMBER[base]];
    const prefix = size === 2 ? [0x66] : [];
    return [...prefix, rex(reg, rm, size === 8 ? 1 : 0), size === 1 ? 0x88 : 0x89, ...memory(reg, rm, offset)];
  },
  // xor edx,edx; mov ecx,10; div rcx
  divmod10: () => [0x31, 0xd2, 0xb9, 10, 0, 0, 0, 0x48, 0xf7, 0xf1],
  syscall: (offset) => [
    ...ARGUMENTS.flatMap((reg, i) => [rex(reg, NUMBER.work), 0x8b, ...memory(reg, NUMBER.work, offset + 8 * i)]),
    ...[0x0f, 0x05],
    ...regs(0x89, NUMBER.t0, NUMBER.result),
  ],
  cmp: (a, b) =>
    typeof b === "number"
      ? [rex(0, NUMBER[a]), 0x81, 0xf8 | (NUMBER[a] & 7), ...imm32(b)]
      : regs(0x39, NUMBER[b], NUMBER[a]),
  branch: (is) => [0x0f, CONDITION[is], 0, 0, 0, 0],
  // bt r, bit; jnc
  branchClear: (r, bit) => [rex(0, NUMBER[r]), 0x0f, 0xba, 0xe0 | (NUMBER[r] & 7), bit, 0x0f, 0x83, 0, 0, 0, 0],
  jmp: () => [0xe9, 0, 0, 0, 0],
  patch: (code, _start, end, target) => {
    imm32(target - end).forEach((byte, i) => code[end - 4 + i] = byte);
  },
};
