/** JSON as Go's programs read and write it: exact 64-bit integers, null as absence, sorted map keys, escaped HTML. */

/** More digits than a double holds exactly somewhere in the text? Only then is the slower, exact reading worth it. */
const LONG_INTEGER = /\d{16}/;
const INTEGER = /^-?\d+$/;

/**
 * JSON.parse, with integers beyond 2^53 as bigints and members that are null left out (Go gives both nil).
 * @throws {SyntaxError} on anything that is not JSON
 */
export function parseJson(text: string): unknown {
  const exact = LONG_INTEGER.test(text);
  const value = exact ? JSON.parse(text, exactIntegers) : JSON.parse(text);
  return text.includes("null") ? withoutNulls(value) : value;
}

function exactIntegers(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && INTEGER.test(source) ? BigInt(source) : value;
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (value === null || typeof value !== "object") return value;
  const result: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    // defineProperty, because "__proto__" is a legal annotation.
    if (member !== null) {
      Object.defineProperty(result, key, {
        value: withoutNulls(member),
        enumerable: true,
        writable: true,
        configurable: true,
      });
    }
  }
  return result;
}

/** Map keys in the order in which Go writes them (by bytes; JavaScript would move integer-like keys to the front). */
export class SortedMap {
  constructor(readonly entries: Readonly<Record<string, unknown>>) {}
}

const ESCAPES: Record<string, string> = {
  "<": "\\u003c",
  ">": "\\u003e",
  "&": "\\u0026",
  "\u2028": "\\u2028",
  "\u2029": "\\u2029",
};
const quote = (text: string) => JSON.stringify(text).replace(/[<>&\u2028\u2029]/g, (c) => ESCAPES[c]!);

/**
 * JSON text as Go's encoding/json writes it: members in insertion order (a SortedMap's sorted by bytes), undefined ones
 * left out, bigints in full. `indent` is the text of one level; without it everything is on one line.
 */
export function formatJson(value: unknown, indent = ""): string {
  const plain = plainJson(value, indent);
  if (plain !== undefined) return plain;
  const write = (value: unknown, margin: string): string => {
    const inner = margin + indent;
    const list = (open: string, items: string[], close: string) =>
      items.length === 0
        ? open + close
        : indent === ""
        ? open + items.join(",") + close
        : `${open}\n${inner}${items.join(`,\n${inner}`)}\n${margin}${close}`;
    if (typeof value === "string") return quote(value);
    if (typeof value === "bigint") return String(value);
    if (value === null || typeof value !== "object") return JSON.stringify(value ?? null);
    if (Array.isArray(value)) return list("[", value.map((item) => write(item, inner)), "]");
    const sorted = value instanceof SortedMap;
    const entries = Object.entries(sorted ? value.entries : value).filter(([, member]) => member !== undefined);
    if (sorted) entries.sort(([a], [b]) => compareBytes(a, b));
    const colon = indent === "" ? ":" : ": ";
    return list("{", entries.map(([key, member]) => quote(key) + colon + write(member, inner)), "}");
  };
  return write(value, "");
}

/** What JSON.stringify can write, it writes faster; undefined for documents with sorted maps, bigints or empty lists in lines. */
function plainJson(value: unknown, indent: string): string | undefined {
  let isPlain = true;
  const text = JSON.stringify(value, (_, member) => {
    if (typeof member === "bigint" || member instanceof SortedMap) isPlain = false;
    return typeof member === "bigint" ? 0 : member;
  }, indent);
  return isPlain ? text.replace(/[<>&\u2028\u2029]/g, (c) => ESCAPES[c]!) : undefined;
}

const encoder = new TextEncoder();
/** Orders texts by their UTF-8 bytes, as Go and readdir-sorting programs do. */
export function compareBytes(a: string, b: string): number {
  const [x, y] = [encoder.encode(a), encoder.encode(b)];
  for (let i = 0; i < x.length && i < y.length; i++) {
    if (x[i] !== y[i]) return x[i]! - y[i]!;
  }
  return x.length - y.length;
}
