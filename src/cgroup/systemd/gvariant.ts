/**
 * GVariant's text format, in which annotations org.systemd.property.NAME give properties of units. Pure.
 * Source: https://docs.gtk.org/glib/gvariant-text-format.html
 */
import { RunkError } from "../../errors.ts";
import type { Value, Variant } from "./dbus.ts";

const TOKEN = /\s*(?:([[\](),@])|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([A-Za-z][\w]*)|([-+]?[0-9][\w.+-]*)|(\S))/y;
const NUMBERS: Readonly<Record<string, string>> = {
  ...{ byte: "y", int16: "n", uint16: "q", int32: "i", uint32: "u", int64: "x", uint64: "t", double: "d" },
};
const WORDS: Readonly<Record<string, string>> = {
  ...NUMBERS,
  boolean: "b",
  string: "s",
  objectpath: "o",
  signature: "g",
};

/** @throws {RunkError} for a text that is no value */
export function parseVariant(text: string): Variant {
  const tokens: { kind: "mark" | "string" | "word" | "number"; text: string }[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const match = TOKEN.exec(text);
    if (match === null || match[5] !== undefined) {
      throw new RunkError(`${JSON.stringify(text)} is no value of a property`);
    }
    const [, mark, string, word, number] = match;
    if (mark !== undefined) tokens.push({ kind: "mark", text: mark });
    else if (string !== undefined) tokens.push({ kind: "string", text: string });
    else if (word !== undefined) tokens.push({ kind: "word", text: word });
    else tokens.push({ kind: "number", text: number! });
  }
  let at = 0;
  const wrong = () => new RunkError(`${JSON.stringify(text)} is no value of a property`);
  const isMark = (mark: string) => tokens[at]?.kind === "mark" && tokens[at]!.text === mark;
  const list = (end: string, wanted: (i: number) => string | undefined): Variant[] => {
    const items: Variant[] = [];
    at++;
    while (!isMark(end)) {
      if (items.length > 0) {
        if (!isMark(",")) throw wrong();
        at++;
        if (isMark(end)) break;
      }
      items.push(value(wanted(items.length)));
    }
    at++;
    return items;
  };
  const value = (wanted?: string): Variant => {
    const token = tokens[at];
    if (token === undefined) throw wrong();
    if (token.kind === "string") {
      at++;
      if (wanted !== undefined && !["s", "o", "g"].includes(wanted)) throw wrong();
      return { type: wanted ?? "s", value: unquote(token.text) };
    }
    if (token.kind === "number") {
      at++;
      return number(token.text, wanted, wrong);
    }
    if (token.kind === "word") {
      at++;
      if (token.text === "true" || token.text === "false") return { type: "b", value: token.text === "true" };
      const type = WORDS[token.text];
      if (type === undefined) throw wrong();
      return value(type);
    }
    if (token.text === "@") {
      // A type in D-Bus's own letters: @as []
      const type = signature();
      return value(type);
    }
    if (token.text === "[") {
      const items = list("]", () => wanted?.slice(1));
      const type = wanted?.slice(1) ?? items[0]?.type;
      if (type === undefined || items.some((item) => item.type !== type)) throw wrong();
      return { type: `a${type}`, value: items.map((item) => item.value) };
    }
    if (token.text === "(") {
      const items = list(")", () => undefined);
      return { type: `(${items.map(({ type }) => type).join("")})`, value: items.map((item) => item.value) };
    }
    throw wrong();
  };
  const signature = (): string => {
    at++;
    let type = "";
    for (let depth = 0; tokens[at] !== undefined; at++) {
      const { kind, text } = tokens[at]!;
      if (kind !== "word" && text !== "(" && text !== ")") break;
      depth += text === "(" ? 1 : text === ")" ? -1 : 0;
      type += text;
      if (depth === 0 && type !== "a") {
        at++;
        break;
      }
    }
    return type;
  };
  const result = value();
  if (at !== tokens.length) throw wrong();
  return result;
}

function number(text: string, wanted: string | undefined, wrong: () => RunkError): Variant {
  const isFloat = /^[-+]?\d+(\.\d*)?([eE][-+]?\d+)?$/.test(text) && /[.eE]/.test(text) && !text.startsWith("0x");
  const type = wanted ?? (isFloat ? "d" : "i");
  if (!Object.values(NUMBERS).includes(type)) throw wrong();
  if (type === "d") return { type, value: Number(text) };
  try {
    const negative = text.startsWith("-");
    const magnitude = BigInt(text.replace(/^[-+]/, "").replace(/^0(?=[0-7]+$)/, "0o"));
    const exact = negative ? -magnitude : magnitude;
    return { type, value: type === "x" || type === "t" ? exact : Number(exact) };
  } catch {
    throw wrong();
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", a: "\x07", b: "\b", f: "\f", v: "\v" };
const unquote = (text: string): string =>
  text.slice(1, -1).replace(
    /\\(u[0-9a-fA-F]{4}|.)/gs,
    (_, code: string) =>
      /^u.{4}$/.test(code) ? String.fromCharCode(parseInt(code.slice(1), 16)) : ESCAPES[code] ?? code,
  );

const PREFIX = "org.systemd.property.";
const MICROSECONDS = 1_000_000;

/**
 * The properties that annotations ask for; NAMESec, in seconds, becomes systemd's NAMEUSec.
 * @throws {RunkError} naming the annotation
 */
export function annotatedProperties(annotations: Readonly<Record<string, string>>): [name: string, value: Variant][] {
  return Object.entries(annotations).filter(([key]) => key.startsWith(PREFIX)).map(([key, text]) => {
    const name = key.slice(PREFIX.length);
    const path = `[config.json /annotations/${key}]`;
    // systemd knows no property with another name.
    if (!/^[A-Z][A-Za-z]{2,}$/.test(name)) throw new RunkError(`annotation ${key} names no property of a unit ${path}`);
    let parsed: Variant;
    try {
      parsed = parseVariant(text);
    } catch (error) {
      throw new RunkError(`annotation ${key}: ${error instanceof Error ? error.message : error} ${path}`);
    }
    if (!name.endsWith("Sec") || name.endsWith("USec")) return [name, parsed];
    if (!Object.values(NUMBERS).includes(parsed.type)) {
      throw new RunkError(`annotation ${key}: ${JSON.stringify(text)} is no number of seconds ${path}`);
    }
    const seconds = parsed.value as number | bigint;
    const value: Value = typeof seconds === "bigint"
      ? seconds * BigInt(MICROSECONDS)
      : BigInt(Math.round(seconds * MICROSECONDS));
    return [name.replace(/Sec$/, "USec"), { type: "t", value }];
  });
}
