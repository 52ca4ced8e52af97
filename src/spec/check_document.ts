/** Documents against their schemas. */
import { type Issue, SpecError } from "./errors.ts";
import { matches, type Shape } from "./shape.ts";
import SHAPES from "./shapes.const.ts";

/**
 * @param name what messages call the document: its path
 * @throws {SpecError} that lists every wrong value
 */
export async function checkDocument(kind: keyof typeof SHAPES, document: unknown, name: string): Promise<void> {
  const shape = SHAPES[kind] as Shape;
  let issues: readonly Issue[] = misspelt(shape, document, "");
  if (!matches(shape, document)) {
    const { explain } = await import("./explain.ts");
    issues = [...issues, ...explain(kind, document)];
  }
  if (issues.length === 0) return;
  const list = issues.map(({ path, expected, got }) => `${path || "/"}: expected ${expected}, got ${got}`).join("; ");
  throw new SpecError(
    `${name} is wrong at ${issues.length === 1 ? "one place" : `${issues.length} places`}: ${list}`,
    issues,
  );
}

/**
 * Members whose names differ from the specification's in case only. Go programs read them as if they were right, so they
 * were meant; other unknown members mean nothing.
 */
function misspelt(shape: Shape, value: unknown, path: string): Issue[] {
  if (typeof shape === "string" || typeof value !== "object" || value === null) return [];
  if ("a" in shape) {
    return Array.isArray(value) ? value.flatMap((item, i) => misspelt(shape.a, item, `${path}/${i}`)) : [];
  }
  const entries = Object.entries(value);
  if ("m" in shape) return entries.flatMap(([key, member]) => misspelt(shape.m, member, `${path}/${key}`));
  if (!("o" in shape)) return [];
  return entries.flatMap(([key, member]): Issue[] => {
    const known = shape.o[key] ?? shape.o[`${key}?`];
    if (known !== undefined) return misspelt(known, member, `${path}/${key}`);
    const name = Object.keys(shape.o).map((name) => name.replace("?", ""))
      .find((name) => name.toLowerCase() === key.toLowerCase());
    return name === undefined ? [] : [{ path: `${path}/${key}`, expected: `the name ${name}`, got: key }];
  });
}
