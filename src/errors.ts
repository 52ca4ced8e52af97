/** What runk throws. Errors carry their cause; only src/commands/main.ts prints one. */
import { errnoName, errnoText } from "./abi/errno.ts";

/** A failure that a user can read: the message says what failed, where, and the cure where one is known. */
export class RunkError extends Error {
  override name = "RunkError";
  /** Exit code of the command that fails with this error; undefined leaves it to the command (1, or 255 for exec). */
  readonly exitCode: number | undefined;

  constructor(message: string, options: { cause?: unknown; exitCode?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode;
  }
}

/** A wrong command line. `help` names the command whose help runc prints along with it. */
export class UsageError extends RunkError {
  override name = "UsageError";
}

/** A system call that failed. `errno` is the number, `code` its name ("ENOENT"), `call` the system call's name. */
export class SysError extends RunkError {
  override name = "SysError";
  readonly call: string;
  readonly errno: number;
  readonly code: string;

  /** `subject` is what the call was about (a path, mostly); it is put before the text. */
  constructor(call: string, errno: number, subject?: string) {
    super(`${call}${subject === undefined ? "" : " " + subject}: ${errnoText(errno)}`);
    this.call = call;
    this.errno = errno;
    this.code = errnoName(errno);
  }
}

/** The whole chain of an error in one line, outermost first; a cause that the outer message already ends with is not repeated. */
export function errorChain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : errorChain(error.cause);
  return cause === "" || error.message.endsWith(cause) ? error.message : `${error.message}: ${cause}`;
}

/** Deno's file errors in the words of Go programs: `open /x: no such file or directory`. */
export function describeFileError(action: string, path: string, error: unknown): string {
  const number = error instanceof SysError ? error.errno : osErrorNumber(error);
  return `${action} ${path}: ${number === undefined ? errorChain(error) : errnoText(number)}`;
}

/** The errno in a message of Deno's ("... (os error 2)"); undefined when there is none. */
export function osErrorNumber(error: unknown): number | undefined {
  if (error instanceof SysError) return error.errno;
  const match = error instanceof Error ? /\(os error (\d+)\)/.exec(error.message) : null;
  return match ? Number(match[1]) : undefined;
}

/**
 * What Go does not print as it is: quotes, backslashes, control characters, invisible ones. No literal: the engine would
 * look the classes up at every start, which takes 0.5 ms.
 */
const UNPRINTABLE = String.raw`["\\\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}`;
const GO_ESCAPES: Readonly<Record<string, string>> = {
  ...{ '"': '\\"', "\\": "\\\\", "\x07": "\\a", "\b": "\\b" },
  ...{ "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v" },
};

/** A text in quotes as Go's %q writes it. */
export const goQuoted = (text: string): string => `"${text.replace(new RegExp(UNPRINTABLE, "gu"), goEscaped)}"`;

function goEscaped(char: string): string {
  const code = char.codePointAt(0)!;
  const hex = (digits: number) => code.toString(16).padStart(digits, "0");
  return GO_ESCAPES[char] ?? (code < 0x80 ? `\\x${hex(2)}` : code > 0xffff ? `\\U${hex(8)}` : `\\u${hex(4)}`);
}
