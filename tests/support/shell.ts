/** Shell scripts as part of a test's set-up. */
import { run } from "./runk.ts";

/** @throws when a command of the script fails, with what it said; returns its standard output */
export async function sh(script: string, cwd = "/"): Promise<string> {
  const { status, stdout, stderr } = await run("sh", ["-ec", script], { cwd });
  if (status !== 0) throw new Error(`${script}\nended with ${status}: ${stderr}${stdout}`);
  return stdout;
}

/** Words as a shell takes them, none of them expanded. */
export const quote = (words: readonly string[]): string =>
  words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
