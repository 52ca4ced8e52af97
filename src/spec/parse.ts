/** JSON text -> Spec or Process, or one error that lists everything that is wrong with it. */
import type * as z from "zod/mini";
import { RunkError } from "../errors.ts";
import { parseJson } from "./json.ts";
import { type Process, processSchema, type Resources, resourcesSchema, type Spec, specSchema } from "./schema.ts";

/** One wrong value: where (JSON pointer), what was expected, what is there. */
export interface Issue {
  readonly path: string;
  readonly expected: string;
  readonly got: string;
}

/** A document that is not JSON, or not what the specification asks for. */
export class SpecError extends RunkError {
  override name = "SpecError";
  readonly issues: readonly Issue[];

  constructor(message: string, issues: readonly Issue[] = [], cause?: unknown) {
    super(message, { cause });
    this.issues = issues;
  }
}

/** @param name what the document is called in messages: its path */
export const parseSpec = (text: string, name: string): Spec => parse(specSchema, text, name);
export const parseProcess = (text: string, name: string): Process => parse(processSchema, text, name);
export const parseResources = (text: string, name: string): Resources => parse(resourcesSchema, text, name);

function parse<T extends z.ZodMiniType>(schema: T, text: string, name: string): z.output<T> {
  let document: unknown;
  try {
    document = parseJson(text);
  } catch (error) {
    throw new SpecError(`${name} is not JSON: ${error instanceof Error ? error.message : error}`, [], error);
  }
  const result = schema.safeParse(document);
  if (result.success) return result.data;
  const issues = result.error.issues.flatMap((issue) => toIssues(issue, document));
  const list = issues.map(({ path, expected, got }) => `${path || "/"}: expected ${expected}, got ${got}`).join("; ");
  throw new SpecError(
    `${name} is wrong at ${issues.length === 1 ? "one place" : `${issues.length} places`}: ${list}`,
    issues,
  );
}

function toIssues(issue: z.core.$ZodIssue, document: unknown): Issue[] {
  const path = issue.path.map((key) => "/" + String(key).replaceAll("~", "~0").replaceAll("/", "~1")).join("");
  let value = document;
  for (const key of issue.path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key];
  const expected = issue.code === "invalid_type"
    ? issue.expected
    : issue.code === "custom"
    ? issue.message
    : issue.code;
  return [{ path, expected: expected === "record" ? "object" : expected, got: describe(value) }];
}

/** A value in a few words: its type, and the value itself where it is short. */
function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return "an object";
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return `${typeof value === "bigint" ? "number" : typeof value} ${text.length > 40 ? text.slice(0, 40) + "…" : text}`;
}
