/** Lists of CPUs and memory nodes, as cpuset files and config.json write them: "0-3,5". Pure. */

/** More than any kernel is built for (CONFIG_NR_CPUS is at most 8192 on x86_64). */
export const IDS_MAX = 8192;
const WORD = 64;

/**
 * The numbers of a list, each once, in ascending order. Blanks around items and empty items are fine, as in runc.
 * @throws {Error} that says what is wrong with it
 */
export function parseIdList(text: string): number[] {
  const result = new Set<number>();
  for (const item of text.split(",").map((item) => item.trim()).filter((item) => item !== "")) {
    const [first, last = first, ...more] = item.split("-");
    const [from, to] = [parseId(first!, item), parseId(last!, item)];
    if (more.length > 0 || from > to) throw new Error(`invalid range: ${item}`);
    for (let id = from; id <= to; id++) result.add(id);
  }
  return [...result].sort((a, b) => a - b);
}

function parseId(text: string, item: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`${JSON.stringify(item)} is neither a number nor a range of numbers`);
  const id = Number(text);
  if (id >= IDS_MAX) throw new Error(`numbers above ${IDS_MAX - 1} are not supported: ${item}`);
  return id;
}

/** The numbers as a bit mask of 64-bit words, as sched_setaffinity(2) and set_mempolicy(2) take it. */
export function idMask(ids: readonly number[]): bigint[] {
  const words = new Array<bigint>(Math.floor(Math.max(0, ...ids) / WORD) + 1).fill(0n);
  for (const id of ids) words[Math.floor(id / WORD)]! |= 1n << BigInt(id % WORD);
  return words;
}

/** The numbers behind a mask of 64-bit words: what idMask made of them. */
export const idsOfMask = (words: readonly (bigint | number)[]): number[] =>
  words.flatMap((word, index) => {
    const ids: number[] = [];
    for (let bit = 0; bit < WORD; bit++) if ((BigInt(word) >> BigInt(bit)) & 1n) ids.push(index * WORD + bit);
    return ids;
  });
