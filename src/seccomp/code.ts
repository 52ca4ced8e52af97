/**
 * Decisions -> classic BPF. A decision compares a 32-bit word of struct seccomp_data and goes on with one of two others;
 * equal ones are one object. Instructions are written from the last to the first, so that the distance of every jump is
 * known when it is written. Source: include/uapi/linux/{bpf_common,filter,seccomp}.h.
 */

/** An instruction: struct sock_filter. */
export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** The operations that filters consist of. */
export const OP = { LD: 0x20, AND: 0x54, JA: 0x05, JEQ: 0x15, JGT: 0x25, JGE: 0x35, JSET: 0x45, RET: 0x06 } as const;
/** Offsets of words in struct seccomp_data. */
export const WORD = { CALL: 0, ARCH: 4 } as const;
/** BPF_MAXINSNS: the longest filter that the kernel takes. */
export const INSTRUCTIONS_MAX = 4096;
const JUMP_MAX = 255;
const ALL = 0xffffffff;

export type Decision = Return | Compare;
export interface Return {
  readonly id: number;
  readonly returns: number;
}
export interface Compare {
  readonly id: number;
  readonly returns?: undefined;
  readonly word: number;
  /** What the word is masked with first: ALL for nothing. */
  readonly mask: number;
  readonly op: number;
  readonly value: number;
  readonly then: Decision;
  readonly else: Decision;
}

export type Test = "==" | ">" | ">=";
const TEST_OP: Readonly<Record<Test, number>> = { "==": OP.JEQ, ">": OP.JGT, ">=": OP.JGE };

/** Thrown when there are more decisions than the kernel takes instructions. */
export class TooLong extends Error {
  constructor(readonly decisions: number) {
    super();
  }
}

/** Makes decisions, each distinct one once. */
export class Decisions {
  readonly #known = new Map<string, Decision>();
  #comparisons = 0;

  #intern<T extends Decision>(key: string, make: (id: number) => T): T {
    let decision = this.#known.get(key) as T | undefined;
    if (decision === undefined) this.#known.set(key, decision = make(this.#known.size));
    return decision;
  }

  returns(value: number): Return {
    return this.#intern(`ret ${value}`, (id) => ({ id, returns: value }));
  }

  /** `(word & mask) test value ? then : otherwise` */
  compare(word: number, mask: number, test: Test, value: number, then: Decision, otherwise: Decision): Decision {
    if (then === otherwise) return then;
    if (mask === 0) return test === "==" && value === 0 ? then : otherwise;
    // One instruction instead of two: no bit of the mask is set, or its only one is.
    if (mask !== ALL && value === 0) return this.#compare(word, ALL, OP.JSET, mask, otherwise, then);
    if (mask !== ALL && value === mask && (mask & (mask - 1)) === 0) {
      return this.#compare(word, ALL, OP.JSET, mask, then, otherwise);
    }
    return this.#compare(word, mask, TEST_OP[test], value, then, otherwise);
  }

  #compare(word: number, mask: number, op: number, value: number, then: Decision, otherwise: Decision): Compare {
    return this.#intern(`${word} ${mask} ${op} ${value} ${then.id} ${otherwise.id}`, (id) => {
      if (++this.#comparisons > INSTRUCTIONS_MAX) throw new TooLong(this.#comparisons);
      return { id, word, mask, op, value, then, else: otherwise };
    });
  }
}

/** The word that the accumulator holds after a comparison. */
const after = ({ mask, word }: Compare) => (mask === ALL ? word : undefined);

/** Where a comparison begins: with its word loaded already, or not. Counted from the end of the program. */
interface Place {
  loaded: number;
  unloaded: number | undefined;
}

/** @throws {TooLong} */
export function generate(first: Decision): Instruction[] {
  /** The program from its end. */
  const out: Instruction[] = [];
  const places = new Map<number, Place>();
  /** The copy of each return that was written last. */
  const returns = new Map<number, number>();
  const push = (code: number, k: number, jt = 0, jf = 0) => out.push({ code, jt, jf, k }) - 1;
  const distance = (to: number) => out.length - to - 1;

  /** Writes what is not there yet; afterwards `entry` knows the place. `loaded`: the word that the accumulator holds. */
  function write(decision: Decision, loaded: number | undefined): void {
    // As a list, because a call may have thousands of alternatives.
    const chain: { decision: Compare; loaded: number | undefined }[] = [];
    while (decision.returns === undefined && !places.has(decision.id)) {
      chain.push({ decision, loaded });
      loaded = after(decision);
      decision = decision.else;
    }
    if (decision.returns === undefined) load(decision, loaded);
    for (const { decision, loaded } of chain.toReversed()) {
      write(decision.then, after(decision));
      if (places.has(decision.id)) load(decision, loaded);
      else writeComparison(decision, loaded);
    }
  }

  /** Sees to it that a comparison can be entered with that word in the accumulator. */
  function load({ id, word }: Compare, loaded: number | undefined): void {
    const place = places.get(id)!;
    if (word === loaded || place.unloaded !== undefined) return;
    if (distance(place.loaded) > 0) push(OP.JA, distance(place.loaded));
    place.unloaded = push(OP.LD, word);
  }

  function writeComparison({ id, word, mask, op, value, then, else: otherwise }: Compare, loaded: number | undefined) {
    const left = mask === ALL ? word : undefined;
    let yes = entry(then, left);
    let no = entry(otherwise, left);
    // Jumps reach 255 instructions far. One that is brought nearer moves the other away.
    while (distance(yes) > JUMP_MAX || distance(no) > JUMP_MAX) {
      if (distance(yes) > JUMP_MAX) yes = bringNearer(then, yes);
      else no = bringNearer(otherwise, no);
    }
    push(op, value, distance(yes), distance(no));
    if (mask !== ALL) push(OP.AND, mask);
    places.set(id, { loaded: out.length - 1, unloaded: word === loaded ? undefined : push(OP.LD, word) });
    if (out.length > INSTRUCTIONS_MAX) throw new TooLong(out.length);
  }

  function entry(decision: Decision, loaded: number | undefined): number {
    if (decision.returns === undefined) {
      const { loaded: inside, unloaded } = places.get(decision.id)!;
      return decision.word === loaded ? inside : unloaded!;
    }
    const known = returns.get(decision.returns);
    return known === undefined || distance(known) >= JUMP_MAX ? writeReturn(decision.returns) : known;
  }

  function writeReturn(value: number): number {
    const at = push(OP.RET, value);
    returns.set(value, at);
    return at;
  }

  const bringNearer = (decision: Decision, at: number): number =>
    decision.returns === undefined ? push(OP.JA, distance(at)) : writeReturn(decision.returns);

  write(first, undefined);
  if (first.returns !== undefined) writeReturn(first.returns);
  if (out.length > INSTRUCTIONS_MAX) throw new TooLong(out.length);
  return out.reverse();
}

/** Instructions as the kernel reads them. */
export function encode(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8 * program.length);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jt, jf, k }, i) => {
    view.setUint16(8 * i, code, true);
    view.setUint8(8 * i + 2, jt);
    view.setUint8(8 * i + 3, jf);
    view.setUint32(8 * i + 4, k, true);
  });
  return bytes;
}
