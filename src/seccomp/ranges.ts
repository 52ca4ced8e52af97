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
export function search(ranges: readonly Range[], known: readonly number[], decisions: Decisions): Decision {
  const end = (i: number) => ranges[i + 1]?.from ?? ALL + 1;
  /** How many calls have numbers below the range's. */
  const below = ranges.map(({ from }) => lowerBound(known, from));
  const between = (first: number, last: number) => (below[last + 1] ?? known.length) - below[first]!;

  function find(first: number, last: number): Decision {
    const { decision } = ranges[first]!;
    if (first === last) return decision;
    const isException = last === first + 2 && ranges[last]!.decision === decision && end(first + 1) === end(first) + 1;
    if (isException) {
      const { from, decision: other } = ranges[first + 1]!;
      return decisions.compare(WORD.CALL, ALL, "==", from, other, decision);
    }
    let middle = first + 1;
    const half = between(first, last) / 2;
    for (let i = first + 2; i <= last; i++) {
      if (Math.abs(between(first, i - 1) - half) < Math.abs(between(first, middle - 1) - half)) middle = i;
    }
    return decisions.compare(WORD.CALL, ALL, ">=", ranges[middle]!.from, find(middle, last), find(first, middle - 1));
  }
  return find(0, ranges.length - 1);
}

function lowerBound(sorted: readonly number[], value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
