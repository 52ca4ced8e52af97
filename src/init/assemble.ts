/** Plan -> relocatable image: gives every slot, buffer, constant and label its number, and writes the records. */
import { syscallNumber } from "../abi/syscalls.ts";
import { MESSAGE, type Operand, type Plan, REF, type Ref, type Step } from "../plan/types.ts";
import { hasParameters } from "../plan/parameters.ts";
import { buildElf, recordsAddress } from "./elf.ts";
import type { Relocatable } from "./relocatable.ts";
import {
  ARGS_MAX,
  CONDITION,
  DATA_ADDRESS,
  DATA_OFFSET,
  MACHINE,
  NONE,
  OP,
  RECORD,
  RECORD_SIZE,
  TOLERATE_MAX,
} from "./layout.ts";

const encoder = new TextEncoder();
const align = (value: number) => (value + 7) & ~7;
const ALL_ONES = -1;
const TWO_32 = 0x1_0000_0000;

/** Writes the low 64 bits of a number at a multiple of 8 bytes. */
function setWord(view: DataView, at: number, value: number | bigint): void {
  if (typeof value === "bigint") {
    view.setBigInt64(at, BigInt.asIntN(64, value), true);
  } else {
    // Cheaper than a bigint: two's complement in two halves.
    view.setInt32(at, value | 0, true);
    view.setInt32(at + 4, Math.floor(value / TWO_32), true);
  }
}

/** Memory that grows while it is written; constants are appended, each distinct one once. */
class Constants {
  #bytes = new Uint8Array(1 << 15);
  #view = new DataView(this.#bytes.buffer);
  readonly #texts = new Map<string, number>();
  readonly #known = new Map<object, number>();
  end: number;

  /** @param reserved bytes at the start for others to fill (the records) */
  constructor(reserved: number) {
    this.end = 0;
    this.place(reserved);
  }

  /** The memory so far. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.end);
  }

  get view(): DataView {
    return this.#view;
  }

  text(text: string): number {
    let at = this.#texts.get(text);
    if (at === undefined) {
      at = this.place(text.length * 3 + 1);
      this.end = at + encoder.encodeInto(text, this.#bytes.subarray(at)).written + 1;
      this.#texts.set(text, at);
    }
    return at;
  }

  data(content: Uint8Array): number {
    let at = this.#known.get(content);
    if (at === undefined) {
      at = this.place(content.length);
      this.#bytes.set(content, at);
      this.#known.set(content, at);
    }
    return at;
  }

  /** The place of an array of words; `fill` is called with it the first time. */
  words(values: readonly Operand[], fill: (at: number) => void): number {
    let at = this.#known.get(values);
    if (at === undefined) {
      at = this.place(8 * values.length);
      this.#known.set(values, at);
      fill(at);
    }
    return at;
  }

  place(size: number): number {
    const at = align(this.end);
    this.end = at + size;
    if (this.end > this.#bytes.length) {
      const bytes = new Uint8Array(2 * this.end);
      bytes.set(this.#bytes);
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
    }
    return at;
  }
}

/** Numbers for names. */
class Encoding {
  readonly #slots = new Map<string, number>();
  readonly #buffers = new Map<string, number>();
  readonly #pendingTexts = new Map<string, number>();
  readonly #isParameterized: boolean;
  readonly constants: Constants;
  /** Length of the writable segment in the file; the buffers behind it start as zeros. */
  readonly dataLength: number;
  readonly data: Uint8Array;
  readonly dataView: DataView;
  readonly zeroed: number;
  readonly recordsAddress: number;
  readonly texts: string[] = [];
  readonly json: number[] = [];
  readonly addresses: number[] = [];
  readonly sizes: number[] = [];

  constructor(readonly plan: Plan, isParameterized: boolean) {
    this.#isParameterized = isParameterized;
    for (const name of plan.slots) this.#slots.set(name, this.#slots.size);
    let end = MACHINE.slots + 8 * plan.slots.length;
    // Buffers with contents first, so that the zeroed rest needs no room in the file.
    for (const { name, size, words, bytes } of plan.buffers) {
      if (words === undefined && bytes === undefined) continue;
      this.#buffers.set(name, end);
      end = align(end + size);
    }
    this.dataLength = end;
    for (const { name, size } of plan.buffers) {
      if (this.#buffers.has(name)) continue;
      this.#buffers.set(name, end);
      end = align(end + size);
    }
    this.zeroed = end - this.dataLength;
    this.recordsAddress = recordsAddress(this.dataLength);
    this.constants = new Constants(plan.steps.length * RECORD_SIZE);
    this.data = new Uint8Array(this.dataLength);
    this.dataView = new DataView(this.data.buffer);
  }

  slot(name: string): number {
    const index = this.#slots.get(name);
    if (index === undefined) throw new Error(`plan: there is no slot "${name}"`);
    return index;
  }

  /** Offset of a buffer in the writable segment. */
  buffer(name: string): number {
    const offset = this.#buffers.get(name);
    if (offset === undefined) throw new Error(`plan: there is no buffer "${name}"`);
    return offset;
  }

  label(name: string | undefined): number {
    if (name === undefined) return NONE;
    const index = this.plan.labels.get(name);
    if (index === undefined) throw new Error(`plan: label "${name}" is not bound`);
    return index;
  }

  /** Index of a text with parameters in the list of those. */
  #pending(text: string, isJson: boolean): number {
    const key = (isJson ? "json:" : "text:") + text;
    let index = this.#pendingTexts.get(key);
    if (index === undefined) {
      index = this.texts.push(text) - 1;
      if (isJson) this.json.push(index);
      this.#pendingTexts.set(key, index);
    }
    return index;
  }

  /** Writes an operand that is no slot into a region of the image; what has parameters is left for the linker. */
  #put(operand: Operand, region: "records" | "data", at: number): void {
    const view = () => (region === "records" ? this.constants.view : this.dataView);
    if (typeof operand !== "object") return setWord(view(), at, operand);
    const { kind, name } = operand;
    const isText = kind === REF.TEXT || kind === REF.JSON;
    if ((isText || kind === REF.SIZE) && this.#isParameterized && hasParameters(name)) {
      const offset = at + (region === "records" ? DATA_OFFSET + this.dataLength : DATA_OFFSET);
      if (isText) this.addresses.push(offset, this.#pending(name, kind === REF.JSON), operand.at);
      else this.sizes.push(offset, this.#pending(name, operand.at === REF.JSON));
      return;
    }
    // First: it may append a constant, and with that move the records to a larger memory.
    const word = this.#resolve(operand);
    setWord(view(), at, word);
  }

  #resolve(operand: Ref): number {
    switch (operand.kind) {
      case REF.TEXT:
      case REF.JSON:
        return this.recordsAddress + this.constants.text(operand.name) + operand.at;
      case REF.SIZE:
        return encoder.encode(operand.name).length;
      case REF.BUFFER:
        return DATA_ADDRESS + this.buffer(operand.name) + operand.at;
      case REF.WORDS: {
        const values = operand.data as readonly Operand[];
        const fill = (at: number) => values.forEach((value, i) => this.#put(value, "records", at + 8 * i));
        return this.recordsAddress + this.constants.words(values, fill) + operand.at;
      }
      case REF.BYTES:
        return this.recordsAddress + this.constants.data(operand.data as Uint8Array) + operand.at;
      case REF.LABEL:
        return this.label(operand.name);
      default:
        throw new Error(`plan: slot "${operand.name}" cannot be a constant's word`);
    }
  }

  /** Writes the writable segment. */
  writeData(): void {
    this.dataView.setUint32(MACHINE.message, MESSAGE.FAILURE, true);
    setWord(this.dataView, MACHINE.records, this.recordsAddress);
    for (const { name, bytes, words } of this.plan.buffers) {
      if (bytes !== undefined) this.data.set(bytes, this.buffer(name));
      words?.forEach((word, i) => this.#put(word, "data", this.buffer(name) + 8 * i));
    }
  }

  /** Writes one record. */
  record(index: number, step: Step): void {
    const at = index * RECORD_SIZE;
    const args = argumentsOf(step);
    let slots = 0;
    for (let i = 0; i < args.length; i++) {
      const operand = args[i]!;
      const place = at + RECORD.args + 8 * i;
      if (typeof operand === "object" && operand.kind === REF.SLOT) {
        slots |= 1 << i;
        setWord(this.constants.view, place, this.slot(operand.name));
      } else {
        this.#put(operand, "records", place);
      }
    }
    const { view } = this.constants;
    view.setUint8(at + RECORD.op, OP[step.op]);
    view.setUint8(at + RECORD.slots, slots);
    view.setUint16(at + RECORD.code, codeOf(this.plan, step), true);
    view.setUint16(at + RECORD.out, step.out === undefined ? NONE : this.slot(step.out), true);
    view.setUint16(at + RECORD.to, this.label(step.to), true);
    // Where the end itself is refused there is nowhere to go: the end of a lane that failed would come again.
    view.setUint16(at + RECORD.fail, this.label(step.call === "exit_group" ? undefined : step.fail), true);
    const { tolerate } = step;
    if (tolerate === undefined) return;
    if (tolerate.length > TOLERATE_MAX) {
      throw new Error(`plan: ${step.call} tolerates more than ${TOLERATE_MAX} errors`);
    }
    for (let i = 0; i < tolerate.length; i++) view.setUint8(at + RECORD.tolerate + i, tolerate[i]!);
  }
}

/**
 * The image of a plan.
 * @param isParameterized characters reserved for parameters are parameters; else they are what they are
 */
export function assemble(plan: Plan, isParameterized: boolean): Relocatable {
  const encoding = new Encoding(plan, isParameterized);
  plan.steps.forEach((step, index) => encoding.record(index, step));
  encoding.writeData();
  const { constants, data, zeroed, texts, json, addresses, sizes } = encoding;
  const inputs: Record<string, number> = {};
  for (const name of ["report", ...plan.inputs.keys()]) {
    inputs[name] = DATA_OFFSET + MACHINE.slots + 8 * encoding.slot(name);
  }
  const asks = new Set(
    plan.steps.filter(({ call, sync }) => call === "recvfrom" && sync !== undefined).map(({ sync }) => sync),
  );
  return {
    image: buildElf(plan.arch, data, zeroed, constants.bytes),
    texts,
    json,
    addresses,
    sizes,
    inputs,
    end: encoding.recordsAddress + constants.end,
    messages: plan.messages.map((name) => ({ name, asks: asks.has(name) })),
  };
}

const NO_CONDITION: readonly Operand[] = [0, 0, 0];

/** A record's arguments; of a comparison: left, right, mask, then a failure's errno or a jump's place. */
function argumentsOf(step: Step): readonly Operand[] {
  if (step.op !== "jump" && step.op !== "fail") {
    if (step.args.length > ARGS_MAX) throw new Error(`plan: ${step.call} has more than ${ARGS_MAX} arguments`);
    return step.args;
  }
  const { when } = step;
  const last = step.op === "fail" ? step.errno : step.args[0] ?? 0;
  return when === undefined ? [...NO_CONDITION, last] : [when.left, when.right, when.mask ?? ALL_ONES, last];
}

function codeOf(plan: Plan, step: Step): number {
  switch (step.op) {
    case "syscall":
      return syscallNumber(plan.arch, step.call!);
    case "load":
    case "store":
      return step.size;
    case "jump":
    case "fail":
      return step.when === undefined ? CONDITION.always : CONDITION[step.when.is];
    default:
      return 0;
  }
}
