/**
 * Command lines by runc's grammar: one or two dashes before any name, `--flag value` and `--flag=value`, no clusters of
 * short flags, flags behind operands unless a command stops at the first. A table of flags says what there is; help and
 * errors come from the same table.
 */
import { UsageError } from "../errors.ts";

export interface Flag {
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  /** "list" may be given several times; "bool" takes no value (or =true, =false). */
  readonly kind: "bool" | "string" | "int" | "list" | "duration";
  readonly help: string;
  /** The value when the flag is not given, as help shows it. */
  readonly default?: string;
  /** What its value is, for completions: a path, or one of a few words. */
  readonly value?: "file" | "directory" | readonly string[];
  /** Accepted, not shown. */
  readonly hidden?: boolean;
}

/** What a command line gave, by flag name. */
export class Options {
  readonly #values = new Map<string, string[]>();
  readonly #flags: readonly Flag[];

  constructor(flags: readonly Flag[]) {
    this.#flags = flags;
  }

  add(flag: Flag, value: string): void {
    const values = this.#values.get(flag.name);
    if (values !== undefined && flag.kind === "list") values.push(value);
    else this.#values.set(flag.name, [value]);
  }

  isSet(name: string): boolean {
    return this.#values.has(name);
  }

  string(name: string): string {
    return this.#values.get(name)?.[0] ?? this.#flags.find((flag) => flag.name === name)?.default ?? "";
  }

  bool(name: string): boolean {
    return this.#values.get(name)?.[0] === "true";
  }

  /** @returns 0 when it was not given and has no default */
  int(name: string): number {
    return Number(this.string(name) || 0);
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** Milliseconds. */
  duration(name: string): number {
    return parseDuration(this.string(name)) ?? 0;
  }
}

export interface Parsed {
  readonly options: Options;
  readonly operands: readonly string[];
}

const TRUE = ["1", "t", "T", "true", "TRUE", "True"];
const FALSE = ["0", "f", "F", "false", "FALSE", "False"];
const HELP: Flag = { name: "help", short: "h", kind: "bool", help: "show help" };

/**
 * @param stopAt how many operands end the flags: what follows is passed through; 0 stops at the first word that is no flag
 * @throws {UsageError} for a flag that there is not, or a value that it cannot have
 */
export function parseFlags(args: readonly string[], flags: readonly Flag[], stopAt = Infinity): Parsed {
  const all = [...flags, HELP];
  const options = new Options(all);
  const operands: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") return { options, operands: [...operands, ...args.slice(i + 1)] };
    if (!arg.startsWith("-") || arg === "-") {
      operands.push(arg);
      if (operands.length >= stopAt) return { options, operands: [...operands, ...args.slice(i + 1)] };
      if (stopAt === 0) return { options, operands: args.slice(i) };
      continue;
    }
    const text = arg.startsWith("--") ? arg.slice(2) : arg.slice(1);
    const equals = text.indexOf("=");
    const name = equals < 0 ? text : text.slice(0, equals);
    const flag = all.find((flag) => flag.name === name || flag.short === name);
    if (flag === undefined || name === "") throw new UsageError(`flag provided but not defined: -${name}`);
    let value = equals < 0 ? undefined : text.slice(equals + 1);
    if (value === undefined) {
      if (flag.kind === "bool") value = "true";
      else if (i + 1 < args.length) value = args[++i]!;
      else throw new UsageError(`flag needs an argument: -${name}`);
    }
    options.add(flag, checked(flag, name, value));
  }
  return { options, operands };
}

/** The value in the form that Options reads. */
function checked(flag: Flag, name: string, value: string): string {
  const invalid = (reason: string): never => {
    throw new UsageError(`invalid value ${JSON.stringify(value)} for flag -${name}: ${reason}`);
  };
  switch (flag.kind) {
    case "bool":
      if (TRUE.includes(value)) return "true";
      return FALSE.includes(value) ? "false" : invalid("expected true or false");
    case "int": {
      const number = parseInteger(value);
      return number === undefined ? invalid("expected an integer") : String(number);
    }
    case "duration":
      return parseDuration(value) === undefined ? invalid("expected a duration such as 5s or 1m30s") : value;
    default:
      return value;
  }
}

/** Decimal, or with 0x, 0o, 0b in front; undefined for anything else. */
export function parseInteger(text: string): number | undefined {
  const match = /^([+-]?)(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|[1-9]\d*|0)$/.exec(text);
  if (match === null) return undefined;
  const digits = match[2]!.replace(/^0([0-7]+)$/, "0o$1");
  const number = Number(digits) * (match[1] === "-" ? -1 : 1);
  return Number.isSafeInteger(number) ? number : undefined;
}

const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "µs": 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Go's durations ("1m30s", "100ms", "0") in milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  const match = /^([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+$/.exec(text);
  if (match === null) return undefined;
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)) {
    sum += Number(number) * UNITS[unit!]!;
  }
  return match[1] === "-" ? -sum : sum;
}
