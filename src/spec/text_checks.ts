/** A text for the kernel ends at its first NUL, so none may hold one. */
import { wrong } from "./errors.ts";

/**
 * Refuses a NUL in any text of a document, names of members included.
 * @param path where the document stands in config.json
 * @throws {RunkError} naming the place
 */
export function checkTexts(document: unknown, path: string): void {
  // A loop: what a config nests deeper than the stack goes is for members that no one knows.
  const left: (readonly [value: unknown, path: string])[] = [[document, path]];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const [value, at] = next;
    if (typeof value === "string" && value.includes("\0")) {
      wrong(`${JSON.stringify(value)} contains a nul byte (\\x00)`, at);
    }
    if (typeof value !== "object" || value === null) continue;
    for (const [key, member] of Object.entries(value)) {
      left.push([member, `${at}/${key.replaceAll("/", "~1")}`]);
      if (key.includes("\0")) wrong(`the name ${JSON.stringify(key)} contains a nul byte (\\x00)`, at);
    }
  }
}
