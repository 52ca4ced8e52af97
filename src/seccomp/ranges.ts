/** System call numbers -> decisions: ranges that are treated alike, and the search for the one that a number is in. */
import type { Decision, Decisions } from "./code.ts";
import { WORD } from "./code.ts";

/** From this number on, up to the next range's. */
export interface Range {
  readonly from: number;
  readonly decision: Decision;
}

const ALL = 0xffffffff;

/** All 2^32 numbers, divided into ranges. */
export class Ranges {
  #ranges: Range[];

  constructor(decision: Decision) {
    this.#ranges = [{ from: 0, decision }];
  }

  /** Gives the numbers `from` to `to` another decision. */
  set(from: number, to: number, decision: Decision): void {
    if (from > to) return;
    const first = this.#indexOf(from);
    const last = this.#indexOf(to);
    const replaced: Range[] = [];
    if (this.#ranges[first]!.from < from) replaced.push(this.#ranges[first]!);
    replaced.push({ from, decision });
    if (to < ALL && (this.#ranges[last + 1]?.from ?? ALL + 1) > to + 1) {
      replaced.push({ from: to + 1, decision: this.#ranges[last]!.decision });
    }
    this.#ranges.splice(first, last - first + 1, ...replaced);
  }

  /** The range that a number is in. */
  #indexOf(number: number): number {
    let [low, high] = [0, this.#ranges.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#ranges[middle]!.from <= number) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Neighbours of the same decision are one range. */
  all(): Range[] {
    return this.#ranges.filter(({ decision }, i, all) => decision !== all[i - 1]?.decision);
  }
}

/**
 * The decision for the number in the accumulator: a binary search that halves not the ranges but the calls in them.
 * @param known numbers of the calls there are, in order
 */
export function search(ranges: readonly Range[], known: Uint32Array, decisions: Decisions): Decision {
  const end = (i: number) => ranges[i + 1]?.from ?? ALL + 1;
  /** How many calls have numbers below each range's, and below the end. */
  const below = Uint32Array.from([...ranges.map(({ from }) => lowerBound(known, from, 0, known.length)), known.length]);

  function find(first: number, last: number): Decision {
    const { decision } = ranges[first]!;
    if (first === last) return decision;
    const isException = last === first + 2 && ranges[last]!.decision === decision && end(first + 1) === end(first) + 1;
    if (isException) {
      const { from, decision: other } = ranges[first + 1]!;
      return decisions.compare(WORD.CALL, ALL, "==", from, other, decision);
    }
    const half = (below[first]! + below[last + 1]!) / 2;
    let middle = lowerBound(below, half, first + 1, last);
    if (middle > first + 1 && half - below[middle - 1]! < below[middle]! - half) middle--;
    return decisions.compare(WORD.CALL, ALL, ">=", ranges[middle]!.from, find(middle, last), find(first, middle - 1));
  }
  return find(0, ranges.length - 1);
}

/** The first index from `low` to `high` whose value is not below `value`; `high` when there is none. */
function lowerBound(sorted: Uint32Array, value: number, low: number, high: number): number {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
