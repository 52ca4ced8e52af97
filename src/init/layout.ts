/**
 * The one description of what the executor's machine code and the encoded plan agree on. Read by program.ts, which
 * becomes machine code, and by assemble.ts, elf.ts and link.ts, which write the plan.
 */

/** A step in memory: 64 bytes. */
export const RECORD_SIZE = 64;
export const RECORD_SHIFT = 6;
export const RECORD = {
  /** u8: which operation, see OP. */
  op: 0,
  /** u8: bit i set: argument i is the index of a slot, not a value. */
  slots: 1,
  /** u16: system call number, comparison (CONDITION) or access size in bytes. */
  code: 2,
  /** u16: slot that takes the result, or NONE. */
  out: 4,
  /** u16: step to go to (jump, tolerated error), or NONE for the next one. */
  to: 6,
  /** u8[6]: tolerated error numbers, 0 for none. */
  tolerate: 8,
  /** u16: step to go to after a failure, or NONE to end at once. */
  fail: 14,
  /** u64[6] */
  args: 16,
} as const;
export const TOLERATE_MAX = 6;
export const ARGS_MAX = 6;
export const NONE = 0xffff;

export const OP = { syscall: 0, set: 1, load: 2, store: 3, format: 4, jump: 5, fail: 6 } as const;
export const CONDITION = { "==": 0, "!=": 1, "<": 2, always: 3 } as const;

/** The machine's own writable memory, at the start of the writable segment; the slots follow it, then the buffers. */
export const MACHINE = {
  /** u64[6]: the arguments of the step under way, resolved. */
  args: 0,
  /** u32[4]: the failure message: MESSAGE.FAILURE, step, errno, index. */
  message: 48,
  /** u64: address of the first record. */
  records: 64,
  /** 24 bytes: digits under construction. */
  digits: 72,
  slots: 96,
} as const;
export const FAILURE_MESSAGE_SIZE = 16;

/** Exit status when a step fails that has nowhere to go. */
export const EXIT_LOST = 254;

/** Addresses at which the three segments begin, each plus its offset in the file (so that no padding is needed). */
export const ADDRESS = { code: 0x400000, data: 0x10000000, records: 0x20000000 } as const;
/** The largest page size of the two machines: addresses and file offsets are equal modulo this. */
export const PAGE_MAX = 0x10000;

/** The ELF file: header, program headers, code; then the writable segment at a fixed place. */
export const HEADER_SIZE = 64;
export const PROGRAM_HEADER_SIZE = 56;
export const PROGRAM_HEADERS = 4;
export const CODE_OFFSET = HEADER_SIZE + PROGRAM_HEADERS * PROGRAM_HEADER_SIZE;
/** File offset of the writable segment: headers and code end before it. */
export const DATA_OFFSET = 0x800;
export const DATA_ADDRESS = ADDRESS.data + DATA_OFFSET;
