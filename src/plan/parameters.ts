/**
 * Parameters: characters that stand for texts which are not known yet. A plan made from a config whose names (ids, paths,
 * environment, arguments) are parameters holds for every config that differs in those names only; they are filled in when
 * the plan is linked. Pure.
 */

/** Private use characters, one for each parameter; nothing else in a config may use them (see holdsReserved). */
const FIRST = 0xf0000;
const LAST = 0xffffd;
const RESERVED = /[\u{f0000}-\u{ffffd}]/u;
const EACH = /[\u{f0000}-\u{ffffd}]/gu;

/** A document (its JSON) with such characters of its own cannot be parameterized, one with a NUL has to be checked. */
export const holdsReserved = (json: string): boolean => RESERVED.test(json) || json.includes("\\u0000");

/** The text has parameters in it. */
export const hasParameters = (text: string): boolean => RESERVED.test(text);

/** Collects values; gives each its character. */
export class Parameters {
  readonly values: string[] = [];

  add(value: string): string {
    const code = FIRST + this.values.length;
    // More names than characters: the rest stay as they are.
    if (code > LAST) return value;
    this.values.push(value);
    return String.fromCodePoint(code);
  }
}

/** The text with values in place of parameters. */
export const fill = (text: string, values: readonly string[], escape: (value: string) => string): string =>
  text.replace(EACH, (char) => escape(values[char.codePointAt(0)! - FIRST] ?? ""));
