/** Runs runk (or runc, for comparison) as its users do: as a program. */
import { exists } from "./test.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The program under test: $RUNK, else the bundle. */
export const RUNK = Deno.env.get("RUNK") ?? `${ROOT}dist/runk.js`;
if (!exists(RUNK)) throw new Error(`${RUNK} is not there: run \`deno task bundle\` first`);

export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  /** Text for standard input; nothing (/dev/null) without it. */
  readonly stdin?: string;
}

const decoder = new TextDecoder();
/** Standard output and error go to files: a detached container keeps what it inherits, and a pipe would never end. */
const TO_FILES = 'out=$1 err=$2; shift 2; exec "$@" >"$out" 2>"$err"';

/** Runs a program to its end. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Result> {
  const directory = await Deno.makeTempDir({ prefix: "runk-output-" });
  const [out, err] = [`${directory}/out`, `${directory}/err`];
  try {
    const child = new Deno.Command("sh", {
      args: ["-c", TO_FILES, "sh", out, err, program, ...args],
      stdin: options.stdin === undefined ? "null" : "piped",
      stdout: "null",
      stderr: "null",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
    }).spawn();
    if (options.stdin !== undefined) {
      const writer = child.stdin.getWriter();
      // A program that does not read its input closes it.
      await writer.write(new TextEncoder().encode(options.stdin)).catch(() => {});
      await writer.close().catch(() => {});
    }
    const { code } = await child.status;
    const [stdout, stderr] = await Promise.all([out, err].map((path) => Deno.readFile(path)));
    return { status: code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Runs the program under test. */
export const runk = (args: readonly string[], options: RunOptions = {}): Promise<Result> => run(RUNK, args, options);

/** Runs the program under test and expects it to succeed. */
export async function ok(args: readonly string[], options: RunOptions = {}): Promise<Result> {
  const result = await runk(args, options);
  if (result.status !== 0) {
    throw new Error(`runk ${args.join(" ")} ended with ${result.status}: ${result.stderr}${result.stdout}`);
  }
  return result;
}
