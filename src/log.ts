/** Log lines in runc's two formats. Source: logrus's text and JSON formatters, which runc's clients parse. */
import { describeFileError, goQuoted, RunkError } from "./errors.ts";

export type Level = "debug" | "info" | "warning" | "error" | "fatal";

export interface Log {
  /** Where lines go besides being asked for by path: a file other than standard error. */
  readonly toFile: boolean;
  /** What cannot be written is lost: neither a full disk nor a closed pipe under the log fails what is logged. */
  write(level: Level, message: string): void;
}

export interface LogOptions {
  /** A file; standard error when empty. */
  readonly path: string;
  readonly format: string;
  readonly debug: boolean;
}

/**
 * Opens the log.
 * @throws {RunkError} for an unknown format, or a file that cannot be opened
 */
export function openLog({ path, format, debug }: LogOptions): Log {
  if (format !== "text" && format !== "json" && format !== "") {
    throw new RunkError(`invalid log-format: ${format}: text or json is expected`);
  }
  let file: Deno.FsFile | undefined;
  if (path !== "") {
    try {
      file = Deno.openSync(path, { create: true, append: true, mode: 0o644 });
    } catch (error) {
      throw new RunkError(describeFileError("open", path, error));
    }
  }
  let isLost = false;
  return {
    toFile: file !== undefined,
    write(level, message) {
      if (level === "debug" && !debug) return;
      const isTerminal = file === undefined && format !== "json" && Deno.stderr.isTerminal();
      const line = format === "json"
        ? jsonLine(level, message)
        : isTerminal
        ? terminalLine(level, message)
        : textLine(level, message);
      try {
        writeLine(file ?? Deno.stderr, line);
      } catch (error) {
        if (file === undefined || isLost) return;
        isLost = true;
        tell(describeFileError("cannot write to the log", path, error));
      }
    },
  };
}

const writeLine = (file: { writeSync(bytes: Uint8Array): number }, line: string): void =>
  void file.writeSync(new TextEncoder().encode(line + "\n"));

/** A line on standard error; whoever has closed that hears nothing. */
export function tell(line: string): void {
  try {
    writeLine(Deno.stderr, line);
  } catch {
    // nobody is left to tell
  }
}

const textLine = (level: Level, message: string) => `time="${timestamp()}" level=${level} msg=${quoted(message)}`;

const jsonLine = (level: Level, message: string) =>
  JSON.stringify({ level, msg: message, time: timestamp() }).replace(/[<>&\u2028\u2029]/g, (c) => unicode(c));
const unicode = (char: string) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0");

const COLOURS: Record<Level, number> = { debug: 37, info: 36, warning: 33, error: 31, fatal: 31 };
const started = performance.now();
function terminalLine(level: Level, message: string): string {
  const seconds = String(Math.floor((performance.now() - started) / 1000)).padStart(4, "0");
  return `\x1b[${COLOURS[level]}m${level.slice(0, 4).toUpperCase()}\x1b[0m[${seconds}] ${message.padEnd(44)} `;
}

/** A value of a text line: bare when it is simple, else quoted. */
const quoted = (text: string) => (text !== "" && /^[A-Za-z0-9\-._/@^+]*$/.test(text) ? text : goQuoted(text));

/** RFC 3339 with seconds, in the local zone. */
function timestamp(now = new Date()): string {
  const offset = -now.getTimezoneOffset();
  const local = new Date(now.getTime() + offset * 60_000).toISOString().slice(0, 19);
  if (offset === 0) return local + "Z";
  const [hours, minutes] = [Math.floor(Math.abs(offset) / 60), Math.abs(offset) % 60].map((n) =>
    String(n).padStart(2, "0")
  );
  return `${local}${offset < 0 ? "-" : "+"}${hours}:${minutes}`;
}
