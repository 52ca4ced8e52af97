/**
 * The executable: a static ELF with the executor's code, the plan's writable memory and the plan's records and
 * constants as its three segments (read+execute, read+write, read). No segment is writable and executable.
 * Source: elf(5).
 */
import { type Arch, ELF_MACHINE } from "../abi/arch.ts";
import {
  ADDRESS,
  CODE_OFFSET,
  DATA_ADDRESS,
  DATA_OFFSET,
  HEADER_SIZE,
  PAGE_MAX,
  PROGRAM_HEADER_SIZE,
  PROGRAM_HEADERS,
} from "./layout.ts";
import CODE from "./code.const.ts";

const PT_LOAD = 1;
const PT_GNU_STACK = 0x6474e551;
const PF = { X: 1, W: 2, R: 4 };

const programs = new Map<Arch, Uint8Array>();

/** The executor's code for a machine. */
export function programCode(arch: Arch): Uint8Array {
  let code = programs.get(arch);
  if (code === undefined) {
    code = Uint8Array.from(atob(CODE[arch]), (char) => char.charCodeAt(0));
    if (CODE_OFFSET + code.length > DATA_OFFSET) throw new Error("the executor's code has outgrown its place");
    programs.set(arch, code);
  }
  return code;
}

/** Address of the read-only segment, given the length of the writable one in the file. */
export function recordsAddress(dataLength: number): number {
  return ADDRESS.records + (DATA_OFFSET + dataLength) % PAGE_MAX;
}

/**
 * The file.
 * @param data what the writable segment holds at first
 * @param zeroed how many zero bytes follow `data` in memory
 * @param records records and constants, to be found at recordsAddress(data.length)
 */
export function buildElf(arch: Arch, data: Uint8Array, zeroed: number, records: Uint8Array): Uint8Array<ArrayBuffer> {
  const code = programCode(arch);
  const recordsOffset = DATA_OFFSET + data.length;
  const file = new Uint8Array(recordsOffset + records.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1], 0); // ELF, 64-bit, little endian, version 1
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, ELF_MACHINE[arch], true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(ADDRESS.code + CODE_OFFSET), true); // entry
  view.setBigUint64(32, BigInt(HEADER_SIZE), true); // program headers
  view.setUint16(52, HEADER_SIZE, true);
  view.setUint16(54, PROGRAM_HEADER_SIZE, true);
  view.setUint16(56, PROGRAM_HEADERS, true);

  let at = HEADER_SIZE;
  const segment = (type: number, flags: number, offset: number, address: number, inFile: number, inMemory: number) => {
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    [offset, address, address, inFile, inMemory, PAGE_MAX].forEach((value, i) =>
      view.setBigUint64(at + 8 + 8 * i, BigInt(value), true)
    );
    at += PROGRAM_HEADER_SIZE;
  };
  const codeEnd = CODE_OFFSET + code.length;
  segment(PT_LOAD, PF.R | PF.X, 0, ADDRESS.code, codeEnd, codeEnd);
  segment(PT_LOAD, PF.R | PF.W, DATA_OFFSET, DATA_ADDRESS, data.length, data.length + zeroed);
  segment(PT_LOAD, PF.R, recordsOffset, recordsAddress(data.length), records.length, records.length);
  segment(PT_GNU_STACK, PF.R | PF.W, 0, 0, 0, 0);

  file.set(code, CODE_OFFSET);
  file.set(data, DATA_OFFSET);
  file.set(records, recordsOffset);
  return file;
}
