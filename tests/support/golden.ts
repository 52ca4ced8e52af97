/** Texts that are kept beside the tests, to be read in a diff when they change. */
import assert from "node:assert/strict";

const DIRECTORY = new URL("../golden/", import.meta.url).pathname;
const isUpdating = Deno.env.get("GOLDEN") === "update";

/** Compares a text with tests/golden/NAME, or writes it there (`deno task golden`). */
export function golden(name: string, text: string): void {
  const path = DIRECTORY + name;
  if (isUpdating) return Deno.writeTextFileSync(path, text);
  let kept: string;
  try {
    kept = Deno.readTextFileSync(path);
  } catch {
    kept = "";
  }
  if (kept === text) return;
  const [before, after] = [kept.split("\n"), text.split("\n")];
  const at = before.findIndex((line, i) => line !== after[i]);
  const lines = [`-${before[at] ?? ""}`, `+${after[at] ?? ""}`].join("\n");
  assert.fail(
    `tests/golden/${name} differs from line ${
      at + 1
    } on:\n${lines}\nRegenerate with \`deno task golden\`, and read the diff.`,
  );
}
