/** An executable back into its parts: segments, machine memory, records. */
import type { Arch } from "../../src/abi/arch.ts";
import { ELF_MACHINE } from "../../src/abi/arch.ts";
import { type SyscallName, syscallName } from "../../src/abi/syscalls.ts";
import type { Condition, Op } from "../../src/plan/types.ts";
import {
  ARGS_MAX,
  CONDITION,
  HEADER_SIZE,
  MACHINE,
  NONE,
  OP,
  PROGRAM_HEADER_SIZE,
  RECORD,
  RECORD_SIZE,
  TOLERATE_MAX,
} from "../../src/init/layout.ts";

export interface Segment {
  readonly type: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  readonly offset: number;
  readonly address: number;
  readonly sizeInFile: number;
  readonly sizeInMemory: number;
}

/** A record as the executor reads it. */
export interface DecodedRecord {
  readonly op: Op;
  readonly call: SyscallName | undefined;
  /** Of a load or store: bytes. */
  readonly size: number;
  readonly is: Condition["is"] | "always" | undefined;
  /** `slot`: the number is a slot's. */
  readonly args: readonly { readonly slot: boolean; readonly value: bigint }[];
  readonly out: number | undefined;
  readonly to: number | undefined;
  readonly fail: number | undefined;
  readonly tolerate: readonly number[];
}

export interface Image {
  readonly arch: Arch;
  readonly entry: number;
  readonly segments: readonly Segment[];
  /** Offset of the first record in the file. */
  readonly recordsOffset: number;
  /** The bytes of the file behind an address, up to the end of its segment. */
  readonly at: (address: number | bigint) => Uint8Array;
  readonly record: (index: number) => DecodedRecord;
}

/** @throws {Error} for what is no executable of runk's */
export function decodeImage(file: Uint8Array): Image {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const word = (at: number) => Number(view.getBigUint64(at, true));
  const machine = view.getUint16(18, true);
  const arch = (Object.keys(ELF_MACHINE) as Arch[]).find((arch) => ELF_MACHINE[arch] === machine);
  if (view.getUint32(0) !== 0x7f454c46 || arch === undefined) throw new Error("not an executable of runk's");
  const segments = Array.from({ length: view.getUint16(56, true) }, (_, i): Segment => {
    const at = HEADER_SIZE + i * PROGRAM_HEADER_SIZE;
    const flags = view.getUint32(at + 4, true);
    return {
      type: view.getUint32(at, true),
      readable: (flags & 4) !== 0,
      writable: (flags & 2) !== 0,
      executable: (flags & 1) !== 0,
      offset: word(at + 8),
      address: word(at + 16),
      sizeInFile: word(at + 32),
      sizeInMemory: word(at + 40),
    };
  });
  const offsetOf = (address: number): { from: number; to: number } => {
    const segment = segments.find((s) => address >= s.address && address < s.address + s.sizeInFile);
    if (segment === undefined) throw new Error(`address 0x${address.toString(16)} is in no segment of the file`);
    return { from: segment.offset + address - segment.address, to: segment.offset + segment.sizeInFile };
  };
  const data = segments.find(({ writable, sizeInFile }) => writable && sizeInFile > 0)!;
  const recordsOffset = offsetOf(word(data.offset + MACHINE.records)).from;
  return {
    arch,
    entry: word(24),
    segments,
    recordsOffset,
    at: (address) => {
      const { from, to } = offsetOf(Number(address));
      return file.subarray(from, to);
    },
    record: (index) => decodeRecord(arch, view, recordsOffset + index * RECORD_SIZE),
  };
}

function decodeRecord(arch: Arch, view: DataView, at: number): DecodedRecord {
  const op = nameOf(OP, view.getUint8(at + RECORD.op));
  const slots = view.getUint8(at + RECORD.slots);
  const code = view.getUint16(at + RECORD.code, true);
  const optional = (offset: number) => {
    const value = view.getUint16(at + offset, true);
    return value === NONE ? undefined : value;
  };
  return {
    op,
    call: op === "syscall" ? syscallName(arch, code) : undefined,
    size: op === "load" || op === "store" ? code : 0,
    is: op === "jump" || op === "fail" ? nameOf(CONDITION, code) : undefined,
    args: Array.from({ length: ARGS_MAX }, (_, i) => ({
      slot: (slots & (1 << i)) !== 0,
      value: view.getBigUint64(at + RECORD.args + 8 * i, true),
    })),
    out: optional(RECORD.out),
    to: optional(RECORD.to),
    fail: optional(RECORD.fail),
    tolerate: Array.from({ length: TOLERATE_MAX }, (_, i) => view.getUint8(at + RECORD.tolerate + i))
      .filter((errno) => errno !== 0),
  };
}

function nameOf<Names extends Readonly<Record<string, number>>>(names: Names, value: number): keyof Names & string {
  const name = Object.keys(names).find((name) => names[name] === value);
  if (name === undefined) throw new Error(`the executor knows no ${value} there`);
  return name;
}
