/**
 * The conditions on one call's arguments as a tree of comparisons of 32-bit words, which is all that classic BPF can
 * compare. Rules that share comparisons share nodes. The order of nodes, and so which of two rules with different
 * actions wins where both match, is libseccomp's: higher arguments first, then equality before order, then the larger
 * value (for "less", the smaller one).
 */
import type { Operator } from "./names.ts";

/** One condition of a rule; `value` and `mask` are unsigned 64-bit numbers. */
export interface Condition {
  readonly index: number;
  readonly op: Operator;
  readonly value: bigint;
  readonly mask: bigint;
}

/** What follows a comparison: an action (a filter's return value), more comparisons, or (undefined) the next node. */
export type Branch = number | Node[] | undefined;

export interface Node {
  /** Offset of the word in struct seccomp_data. */
  readonly word: number;
  readonly mask: number;
  readonly test: "==" | ">" | ">=";
  /** Of MASKED_EQ: never the same node as one of EQ, even with a mask that masks nothing. */
  readonly isMasked: boolean;
  readonly value: number;
  /** Rank among nodes of the same word: higher ones come first. */
  readonly rank: number;
  /** The whole argument's value; only for upper halves. */
  readonly whole: bigint | undefined;
  then: Branch;
  else: Branch;
}

const ARGUMENTS = 16;
const ALL = 0xffffffff;
const low = (value: bigint) => Number(value & 0xffffffffn);
const high = (value: bigint) => Number(value >> 32n);
const RANK: Readonly<Record<Operator, number>> = { "==": 3, "&==": 3, "!=": 3, "<=": 2, "<": 2, ">": 1, ">=": 1 };

/** Two rules that want different actions under the same conditions. */
export class Contradiction extends Error {}

/**
 * The conditions of one rule (all of them must hold; each argument at most once) as a tree with one leaf or several.
 * Undefined when they always hold.
 * @param is64 the architecture's arguments have 64 bits; else only the lower halves are looked at
 */
export function treeOf(conditions: readonly Condition[], is64: boolean, action: number): Node[] | undefined {
  const testing = conditions.filter(({ op, mask }) => op !== "&==" || (is64 ? mask : mask & 0xffffffffn) !== 0n)
    .toSorted((a, b) => a.index - b.index);
  // Each place that goes on has its own copy of what follows: adding to one must not change the other.
  const from = (i: number): Branch => {
    const condition = testing[i];
    if (condition === undefined) return action;
    return [is64 ? compare64(condition, () => from(i + 1)) : compare32(condition, () => from(i + 1))];
  };
  const tree = from(0);
  return typeof tree === "object" ? tree : undefined;
}

function node(
  { op, index, value, mask }: Condition,
  half: "low" | "high",
  test: Node["test"],
  branches: { then?: Branch; else?: Branch },
): Node {
  const part = half === "low" ? low : high;
  const bits = op === "&==" ? part(mask) : ALL;
  return {
    word: ARGUMENTS + 8 * index + (half === "low" ? 0 : 4),
    mask: bits,
    test,
    isMasked: op === "&==",
    value: (part(value) & bits) >>> 0,
    rank: RANK[op],
    whole: half === "high" ? value : undefined,
    then: branches.then,
    else: branches.else,
  };
}

function compare32(condition: Condition, next: () => Branch): Node {
  switch (condition.op) {
    case "==":
    case "&==":
      return node(condition, "low", "==", { then: next() });
    case "!=":
      return node(condition, "low", "==", { else: next() });
    case ">":
    case ">=":
      return node(condition, "low", condition.op, { then: next() });
    case "<=":
      return node(condition, "low", ">", { else: next() });
    case "<":
      return node(condition, "low", ">=", { else: next() });
  }
}

function compare64(condition: Condition, next: () => Branch): Node {
  const { op } = condition;
  const lower = compare32(condition, next);
  if (op === "==" || op === "&==") return node(condition, "high", "==", { then: [lower] });
  if (op === "!=") return node(condition, "high", "==", { then: [lower], else: next() });
  const isGreater = op === ">" || op === ">=";
  const equal = node(condition, "high", "==", isGreater ? { then: [lower] } : { then: [lower], else: next() });
  return node(condition, "high", ">", isGreater ? { then: next(), else: [equal] } : { else: [equal] });
}

/**
 * Adds the tree of a rule (one node) to the nodes of a level.
 * @throws {Contradiction}
 */
export function addTree(level: Node[], [added]: Node[]): void {
  let at = 0;
  for (; at < level.length; at++) {
    const known = level[at]!;
    if (isSame(known, added!)) return merge(known, added!);
    if (comesBefore(added!, known)) break;
  }
  level.splice(at, 0, added!);
}

const isSame = (a: Node, b: Node) =>
  a.word === b.word && a.test === b.test && a.value === b.value && a.mask === b.mask && a.isMasked === b.isMasked;

function comesBefore(a: Node, b: Node): boolean {
  const [wordOfA, wordOfB] = [order(a), order(b)];
  if (wordOfA !== wordOfB) return wordOfA > wordOfB;
  if (a.rank !== b.rank) return a.rank > b.rank;
  return a.rank === RANK["<"] ? a.value < b.value : a.value > b.value;
}
/** Arguments in their order, the lower half of each before the upper one: the offset. */
const order = ({ word }: Node) => word;

function merge(known: Node, added: Node): void {
  known.then = mergeBranch(known.then, added.then, (a, b) => a > b);
  known.else = mergeBranch(known.else, added.else, (a, b) => a < b);

  function mergeBranch(old: Branch, young: Branch, wins: (young: bigint, old: bigint) => boolean): Branch {
    if (young === undefined) return old;
    if (old === undefined) return young;
    if (typeof young === "number") {
      if (typeof old === "object") {
        // A condition less: what was more particular is in it, if it wants the same.
        if (!actionsOf(old).every((action) => action === young)) throw new Contradiction();
        return young;
      }
      if (old === young) return old;
      if (isLeaf(known) || isLeaf(added) || known.whole === undefined || added.whole === undefined) {
        throw new Contradiction();
      }
      // The upper half alone decides; of two bounds the narrower one.
      return wins(added.whole, known.whole) ? young : old;
    }
    // The rule that asks for less was there first.
    if (typeof old === "number") return old;
    for (const node of young) addTree(old, [node]);
    return old;
  }
}

const isLeaf = (node: Node) => typeof node.then !== "object" && typeof node.else !== "object";

function actionsOf(level: readonly Node[]): number[] {
  return level.flatMap(({ then, else: otherwise }) =>
    [then, otherwise].flatMap((branch) =>
      branch === undefined ? [] : typeof branch === "number" ? [branch] : actionsOf(branch)
    )
  );
}
