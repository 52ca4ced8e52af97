/** Documents against their schemas. */
import { type Issue, MisspeltError, SpecError } from "./errors.ts";
import { misspelt } from "./letter_case.ts";
import { matches, type Shape } from "./shape.ts";
import SHAPES from "./shapes.const.ts";

/**
 * @param name what messages call the document: its path
 * @throws {SpecError} that lists every wrong value; a MisspeltError where letter_case.ts may help
 */
export async function checkDocument(kind: keyof typeof SHAPES, document: unknown, name: string): Promise<void> {
  const shape = SHAPES[kind] as Shape;
  const names = misspelt(shape, document);
  let issues = names.map(({ path, name, key }): Issue => ({ path, expected: `the name ${name}`, got: key }));
  if (!matches(shape, document)) {
    const { explain } = await import("./explain.ts");
    issues = [...issues, ...explain(kind, document)];
  }
  if (issues.length === 0) return;
  const list = issues.map(({ path, expected, got }) => `${path || "/"}: expected ${expected}, got ${got}`).join("; ");
  throw new (names.length > 0 ? MisspeltError : SpecError)(
    `${name} is wrong at ${issues.length === 1 ? "one place" : `${issues.length} places`}: ${list}`,
    issues,
  );
}
