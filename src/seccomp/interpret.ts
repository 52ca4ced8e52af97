/** What a filter returns for a call. */
import { errnoName } from "../abi/errno.ts";
import { type Instruction, OP } from "./code.ts";
import { type ActionName, actionOf, ACTIONS } from "./names.ts";

/** A filter's return value: `ALLOW`, `ERRNO(EPERM)`. */
export function describeReturn(value: number): string {
  const action = actionOf(value);
  const name = (Object.keys(ACTIONS) as ActionName[]).find((name) => ACTIONS[name] === action)?.slice(
    "SCMP_ACT_".length,
  );
  const data = value & 0xffff;
  if (name === undefined) return `0x${value.toString(16)}`;
  return name === "ERRNO" ? `${name}(${errnoName(data)})` : name === "TRACE" ? `${name}(${data})` : name;
}

const hex = (value: number) => "0x" + value.toString(16);

/** struct seccomp_data, without the instruction pointer. */
export interface Call {
  readonly number: number;
  /** AUDIT_ARCH_* */
  readonly arch: number;
  /** Unsigned 64-bit values; those left out are 0. */
  readonly args?: readonly bigint[];
}

/** What a filter returns for a call, and after how many instructions. @throws {Error} for what is no filter */
export function interpret(program: readonly Instruction[], { number, arch, args = [] }: Call): Verdict {
  const word = (offset: number): number => {
    if (offset === 0) return number;
    if (offset === 4) return arch;
    const value = args[(offset - 16) >> 3] ?? 0n;
    return Number(offset % 8 === 0 ? value & 0xffffffffn : value >> 32n);
  };
  let accumulator = 0;
  for (let at = 0, steps = 1; at < program.length; at++, steps++) {
    const { code, jt, jf, k } = program[at]!;
    switch (code) {
      case OP.LD:
        accumulator = word(k);
        break;
      case OP.AND:
        accumulator = (accumulator & k) >>> 0;
        break;
      case OP.JA:
        at += k;
        break;
      case OP.JEQ:
        at += accumulator === k ? jt : jf;
        break;
      case OP.JGT:
        at += accumulator > k ? jt : jf;
        break;
      case OP.JGE:
        at += accumulator >= k ? jt : jf;
        break;
      case OP.JSET:
        at += (accumulator & k) !== 0 ? jt : jf;
        break;
      case OP.RET:
        return { value: k, steps };
      default:
        throw new Error(`instruction ${at} has code ${hex(code)}, which filters do not have`);
    }
  }
  throw new Error("the filter ends without an answer");
}

export interface Verdict {
  readonly value: number;
  readonly steps: number;
}
