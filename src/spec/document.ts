/** JSON text -> document, before anyone has looked at what is in it. */
import { SpecError } from "./errors.ts";
import { parseJson } from "./json.ts";

/**
 * @param name what messages call the document: its path
 * @throws {SpecError} when the text is not JSON, or no object
 */
export function parseDocument(text: string, name: string): Record<string, unknown> {
  let document: unknown;
  try {
    document = parseJson(text);
  } catch (error) {
    throw new SpecError(`${name} is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (document === null) throw new SpecError(`config cannot be null (${name})`);
  if (typeof document !== "object" || Array.isArray(document)) throw new SpecError(`${name} is not a JSON object`);
  return document as Record<string, unknown>;
}
