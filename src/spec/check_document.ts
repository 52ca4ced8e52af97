/** Documents against their schemas. */
import { SpecError } from "./errors.ts";
import { matches, type Shape } from "./shape.ts";
import SHAPES from "./shapes.const.ts";

/**
 * @param name what messages call the document: its path
 * @throws {SpecError} that lists every wrong value
 */
export async function checkDocument(kind: keyof typeof SHAPES, document: unknown, name: string): Promise<void> {
  if (matches(SHAPES[kind] as Shape, document)) return;
  const { explain } = await import("./explain.ts");
  const issues = explain(kind, document);
  const list = issues.map(({ path, expected, got }) => `${path || "/"}: expected ${expected}, got ${got}`).join("; ");
  throw new SpecError(
    `${name} is wrong at ${issues.length === 1 ? "one place" : `${issues.length} places`}: ${list}`,
    issues,
  );
}
