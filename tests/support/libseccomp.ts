/** Filters of libseccomp, made by Debian's Python bindings, to compare ours with. */
import type { Instruction } from "../../src/seccomp/code.ts";
import { decode } from "./filters.ts";
import type { Seccomp } from "../../src/spec/schema.ts";

export const NEEDS = ["file:/usr/bin/python3", "file:/usr/share/doc/python3-seccomp"] as const;

export interface Job {
  readonly native: "x86_64" | "aarch64";
  readonly profile: Seccomp;
  /** As a binary tree, which is how runc has it done for more than 32 rules. */
  readonly optimize: boolean;
}

/** The filter of each profile, or why libseccomp makes none. */
export async function libseccompFilters(jobs: readonly Job[]): Promise<(readonly Instruction[] | string)[]> {
  const answers: (readonly Instruction[] | string)[] = [];
  while (answers.length < jobs.length) {
    answers.push(...await answersTo(jobs.slice(answers.length)));
    // The script ends at a profile that libseccomp never has done with.
    if (answers.length < jobs.length) answers.push("no end");
  }
  return answers;
}

/** The answers to the first jobs, up to one that has none. */
async function answersTo(jobs: readonly Job[]): Promise<(readonly Instruction[] | string)[]> {
  const script = new URL("libseccomp.py", import.meta.url).pathname;
  const child = new Deno.Command("/usr/bin/python3", { args: [script], stdin: "piped", stdout: "piped" }).spawn();
  const input = jobs.map((job) => toJson(job) + "\n").join("");
  // A script that has ended reads no more.
  const written = new Response(input).body!.pipeTo(child.stdin).catch(() => {});
  const { stdout, success, signal } = await child.output();
  await written;
  if (!success && signal !== "SIGVTALRM") throw new Error(`libseccomp.py failed (${signal ?? "see above"})`);
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "").map((line) => {
    const { filter, error } = JSON.parse(line) as { filter?: string; error?: string };
    return filter === undefined ? error! : decode(Uint8Array.fromHex(filter));
  });
}

/** JSON with 64-bit integers. */
const toJson = (value: unknown): string =>
  JSON.stringify(
    value,
    (_, item) => (typeof item === "bigint" ? (JSON as unknown as RawJson).rawJSON(String(item)) : item),
  );
interface RawJson {
  rawJSON(text: string): unknown;
}
