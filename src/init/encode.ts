/** Plan -> executable: gives every slot, buffer, constant and label its number, and writes the records. */
import { syscallNumber } from "../abi/syscalls.ts";
import { MESSAGE, type Operand, type Plan, REF, type Ref, type Step } from "../plan/types.ts";
import { buildElf, DATA_ADDRESS, recordsAddress } from "./elf.ts";
import { ARGS_MAX, CONDITION, MACHINE, NONE, OP, RECORD, RECORD_SIZE, TOLERATE_MAX } from "./layout.ts";

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
    this.#place(reserved);
  }

  /** The memory so far. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.end);
  }

  text(text: string): number {
    let at = this.#texts.get(text);
    if (at === undefined) {
      at = this.#place(text.length * 3 + 1);
      this.end = at + encoder.encodeInto(text, this.#bytes.subarray(at)).written + 1;
      this.#texts.set(text, at);
    }
    return at;
  }

  data(content: Uint8Array): number {
    let at = this.#known.get(content);
    if (at === undefined) {
      at = this.#place(content.length);
      this.#bytes.set(content, at);
      this.#known.set(content, at);
    }
    return at;
  }

  words(values: readonly Operand[], resolve: (value: Operand) => number | bigint): number {
    let at = this.#known.get(values);
    if (at === undefined) {
      // Resolved first: the words may point to constants that have no place yet.
      const resolved = values.map(resolve);
      at = this.#place(8 * resolved.length);
      for (let i = 0; i < resolved.length; i++) setWord(this.#view, at + 8 * i, resolved[i]!);
      this.#known.set(values, at);
    }
    return at;
  }

  get view(): DataView {
    return this.#view;
  }

  #place(size: number): number {
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
  readonly constants: Constants;
  /** Length of the writable segment in the file; the buffers behind it start as zeros. */
  readonly dataLength: number;
  readonly zeroed: number;
  readonly #base: number;

  constructor(readonly plan: Plan) {
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
    this.#base = recordsAddress(this.dataLength);
    this.constants = new Constants(plan.steps.length * RECORD_SIZE);
  }

  get recordsAddress(): number {
    return this.#base;
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

  /** The value of an operand that is no slot. */
  readonly resolve = (operand: Operand): number | bigint => {
    if (typeof operand !== "object") return operand;
    switch (operand.kind) {
      case REF.TEXT:
        return this.#base + this.constants.text(operand.name) + operand.at;
      case REF.BUFFER:
        return DATA_ADDRESS + this.buffer(operand.name) + operand.at;
      case REF.WORDS:
        return this.#base + this.constants.words(operand.data as readonly Operand[], this.resolve) + operand.at;
      case REF.BYTES:
        return this.#base + this.constants.data(operand.data as Uint8Array) + operand.at;
      case REF.LABEL:
        return this.label(operand.name);
      default:
        throw new Error(`plan: slot "${operand.name}" cannot be a constant's word`);
    }
  };

  /** Writes one record. */
  record(index: number, step: Step): void {
    const at = index * RECORD_SIZE;
    const args = argumentsOf(step);
    let slots = 0;
    for (let i = 0; i < args.length; i++) {
      const operand = args[i]!;
      const isSlot = typeof operand === "object" && operand.kind === REF.SLOT;
      if (isSlot) slots |= 1 << i;
      const value = isSlot ? this.slot((operand as Ref).name) : this.resolve(operand);
      // The view anew each time: resolving may have moved the memory.
      setWord(this.constants.view, at + RECORD.args + 8 * i, value);
    }
    const { view } = this.constants;
    view.setUint8(at + RECORD.op, OP[step.op]);
    view.setUint8(at + RECORD.slots, slots);
    view.setUint16(at + RECORD.code, codeOf(this.plan, step), true);
    view.setUint16(at + RECORD.out, step.out === undefined ? NONE : this.slot(step.out), true);
    view.setUint16(at + RECORD.to, this.label(step.to), true);
    view.setUint16(at + RECORD.fail, this.label(step.fail), true);
    const { tolerate } = step;
    if (tolerate === undefined) return;
    if (tolerate.length > TOLERATE_MAX) {
      throw new Error(`plan: ${step.call} tolerates more than ${TOLERATE_MAX} errors`);
    }
    for (let i = 0; i < tolerate.length; i++) view.setUint8(at + RECORD.tolerate + i, tolerate[i]!);
  }
}

/**
 * The executable that carries out a plan.
 * @param inputs the values of the plan's input slots: descriptor numbers that the spawned process inherits
 */
export function encodePlan(plan: Plan, inputs: Readonly<Record<string, number>>): Uint8Array<ArrayBuffer> {
  const encoding = new Encoding(plan);
  const { constants, dataLength } = encoding;
  plan.steps.forEach((step, index) => encoding.record(index, step));

  const data = new Uint8Array(dataLength);
  const view = new DataView(data.buffer);
  view.setUint32(MACHINE.message, MESSAGE.FAILURE, true);
  setWord(view, MACHINE.records, encoding.recordsAddress);
  for (const name of ["report", ...plan.inputs.keys()]) {
    const value = inputs[name];
    if (value === undefined) throw new Error(`plan: input "${name}" was not given`);
    setWord(view, MACHINE.slots + 8 * encoding.slot(name), value);
  }
  for (const { name, bytes, words } of plan.buffers) {
    if (bytes !== undefined) data.set(bytes, encoding.buffer(name));
    words?.forEach((word, i) => setWord(view, encoding.buffer(name) + 8 * i, encoding.resolve(word)));
  }
  return buildElf(plan.arch, data, encoding.zeroed, constants.bytes);
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
