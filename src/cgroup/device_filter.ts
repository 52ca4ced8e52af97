/**
 * Access to devices as an eBPF program of type BPF_PROG_TYPE_CGROUP_DEVICE: the kernel runs it whenever a process of the
 * cgroup opens or makes a device node; 1 allows. Pure.
 * Source: Documentation/bpf/standardization/instruction-set.rst, struct bpf_cgroup_dev_ctx in include/uapi/linux/bpf.h.
 */
import type { DeviceAccess } from "./devices.ts";

const INSTRUCTION_SIZE = 8;
/** Kinds of devices and of access. Source: include/uapi/linux/bpf.h (BPF_DEVCG_*). */
export const DEVICE = { b: 1, c: 2 } as const;
export const ACCESS = { m: 1, r: 2, w: 4 } as const;
const ALL_ACCESS = ACCESS.m | ACCESS.r | ACCESS.w;
/** Opcodes: class, source and operation in one byte. */
export const BPF = {
  LDX_W: 0x61,
  MOV32_IMM: 0xb4,
  MOV32_REG: 0xbc,
  AND32_IMM: 0x54,
  RSH32_IMM: 0x74,
  JNE32_IMM: 0x56,
  JEQ32_IMM: 0x16,
  EXIT: 0x95,
} as const;
/** Fields of the context, which register 1 points to; access_type has the access in its upper half. */
const CONTEXT = { accessType: 0, major: 4, minor: 8 } as const;
const [RESULT, CONTEXT_POINTER, TYPE, ACCESS_ASKED, MAJOR, MINOR, SCRATCH] = [0, 1, 2, 3, 4, 5, 6] as const;
const ALL = -1n;

interface Instruction {
  readonly op: number;
  readonly dst?: number;
  readonly src?: number;
  readonly offset?: number;
  readonly imm?: number;
}

/** The program's instructions, 8 bytes each, in the byte order of the machines that runk runs on (little endian). */
export function deviceFilter({ allowsAll, exceptions }: DeviceAccess): Uint8Array {
  const program: Instruction[] = [
    { op: BPF.LDX_W, dst: TYPE, src: CONTEXT_POINTER, offset: CONTEXT.accessType },
    { op: BPF.MOV32_REG, dst: ACCESS_ASKED, src: TYPE },
    { op: BPF.AND32_IMM, dst: TYPE, imm: 0xffff },
    { op: BPF.RSH32_IMM, dst: ACCESS_ASKED, imm: 16 },
    { op: BPF.LDX_W, dst: MAJOR, src: CONTEXT_POINTER, offset: CONTEXT.major },
    { op: BPF.LDX_W, dst: MINOR, src: CONTEXT_POINTER, offset: CONTEXT.minor },
  ];
  for (const { type, major, minor, access: letters } of exceptions) {
    const access = accessBits(letters);
    const block: Instruction[] = type === "a" ? [] : [{ op: BPF.JNE32_IMM, dst: TYPE, imm: DEVICE[type] }];
    if (access !== ALL_ACCESS || allowsAll) {
      // Allowing: what is asked for beyond the exception. Denying: what is asked for within it.
      const mask = allowsAll ? access : ALL_ACCESS & ~access;
      block.push(
        { op: BPF.MOV32_REG, dst: SCRATCH, src: ACCESS_ASKED },
        { op: BPF.AND32_IMM, dst: SCRATCH, imm: mask },
        { op: allowsAll ? BPF.JEQ32_IMM : BPF.JNE32_IMM, dst: SCRATCH, imm: 0 },
      );
    }
    if (BigInt(major) !== ALL) block.push({ op: BPF.JNE32_IMM, dst: MAJOR, imm: Number(major) });
    if (BigInt(minor) !== ALL) block.push({ op: BPF.JNE32_IMM, dst: MINOR, imm: Number(minor) });
    block.push({ op: BPF.MOV32_IMM, dst: RESULT, imm: allowsAll ? 0 : 1 }, { op: BPF.EXIT });
    // A condition that does not hold goes on behind the block.
    block.forEach((instruction, i) =>
      program.push(
        instruction.op === BPF.JNE32_IMM || instruction.op === BPF.JEQ32_IMM
          ? { ...instruction, offset: block.length - i - 1 }
          : instruction,
      )
    );
  }
  program.push({ op: BPF.MOV32_IMM, dst: RESULT, imm: allowsAll ? 1 : 0 }, { op: BPF.EXIT });
  return encode(program);
}

const accessBits = (letters: string): number =>
  [...letters].reduce((bits, letter) => bits | ACCESS[letter as keyof typeof ACCESS], 0);

/** How many instructions a program has. */
export const instructionCount = ({ length }: Uint8Array): number => length / INSTRUCTION_SIZE;

function encode(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(INSTRUCTION_SIZE * program.length);
  const view = new DataView(bytes.buffer);
  program.forEach(({ op, dst = 0, src = 0, offset = 0, imm = 0 }, i) => {
    const at = INSTRUCTION_SIZE * i;
    view.setUint8(at, op);
    view.setUint8(at + 1, (src << 4) | dst);
    view.setInt16(at + 2, offset, true);
    view.setUint32(at + 4, imm >>> 0, true);
  });
  return bytes;
}
