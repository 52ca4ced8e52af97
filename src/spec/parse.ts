/** Documents against their schemas: Spec, Process, Resources, or one error that lists everything that is wrong. */
import { parseDocument } from "./document.ts";
import { SpecError } from "./errors.ts";
import type { Process, Resources, Spec } from "./schema.ts";
import { matches, type Shape } from "./shape.ts";
import SHAPES from "./shapes.const.ts";

type Kind = keyof typeof SHAPES;

/** @param name what the document is called in messages: its path */
export const parseSpec = (text: string, name: string): Promise<Spec> => parse<Spec>("spec", text, name);
export const parseProcess = (text: string, name: string): Promise<Process> => parse<Process>("process", text, name);
export const parseResources = (text: string, name: string): Promise<Resources> =>
  parse<Resources>("resources", text, name);

async function parse<T>(kind: Kind, text: string, name: string): Promise<T> {
  const document = parseDocument(text, name);
  await checkDocument(kind, document, name);
  return document as T;
}

/** @throws {SpecError} that lists every wrong value */
export async function checkDocument(kind: Kind, document: unknown, name: string): Promise<void> {
  if (matches(SHAPES[kind] as Shape, document)) return;
  const { explain } = await import("./explain.ts");
  const issues = explain(kind, document);
  const list = issues.map(({ path, expected, got }) => `${path || "/"}: expected ${expected}, got ${got}`).join("; ");
  throw new SpecError(
    `${name} is wrong at ${issues.length === 1 ? "one place" : `${issues.length} places`}: ${list}`,
    issues,
  );
}
