/** Filters for people: instructions from bytes, and in words. */
import { type Instruction, OP } from "../../src/seccomp/code.ts";
import { describeReturn } from "../../src/seccomp/interpret.ts";

/** The instructions in bytes that the kernel would read: struct sock_filter[]. */
export function decode(bytes: Uint8Array): Instruction[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 8 }, (_, i) => ({
    code: view.getUint16(8 * i, true),
    jt: view.getUint8(8 * i + 2),
    jf: view.getUint8(8 * i + 3),
    k: view.getUint32(8 * i + 4, true),
  }));
}

const hex = (value: number) => "0x" + value.toString(16);
const TESTS: Readonly<Record<number, string>> = { [OP.JEQ]: "==", [OP.JGT]: ">", [OP.JGE]: ">=", [OP.JSET]: "&" };

function wordName(offset: number): string {
  if (offset === 0) return "call";
  if (offset === 4) return "arch";
  return offset < 16 ? `word ${offset}` : `${offset % 8 === 0 ? "low" : "high"} half of argument ${(offset - 16) >> 3}`;
}

/** A listing, an instruction a line: `   5 if > 0x14e: 8, else 6`. */
export function disassemble(program: readonly Instruction[]): string {
  const lines = program.map(({ code, jt, jf, k }, at) => {
    switch (code) {
      case OP.LD:
        return `load ${wordName(k)}`;
      case OP.AND:
        return `and ${hex(k)}`;
      case OP.JA:
        return `go to ${at + 1 + k}`;
      case OP.RET:
        return `return ${describeReturn(k)}`;
      default:
        return `if ${TESTS[code] ?? hex(code)} ${hex(k)}: ${at + 1 + jt}, else ${at + 1 + jf}`;
    }
  });
  return lines.map((line, at) => `${String(at).padStart(4)} ${line}\n`).join("");
}
