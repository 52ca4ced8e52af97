/** What is wrong with a document, in words: loaded only when something is. */
import type * as z from "zod/mini";
import type { Issue } from "./errors.ts";
import { mountsSchema, processSchema, resourcesSchema, specSchema } from "./schema.ts";

const SCHEMAS = { spec: specSchema, process: processSchema, resources: resourcesSchema, mounts: mountsSchema };

/** Everything that a schema does not accept in a document. */
export function explain(kind: keyof typeof SCHEMAS, document: unknown): Issue[] {
  const result = SCHEMAS[kind].safeParse(document);
  return result.success ? [] : result.error.issues.map((issue) => toIssue(issue, document));
}

function toIssue(issue: z.core.$ZodIssue, document: unknown): Issue {
  const path = issue.path.map((key) => "/" + String(key).replaceAll("~", "~0").replaceAll("/", "~1")).join("");
  let value = document;
  for (const key of issue.path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key];
  const expected = issue.code === "invalid_type"
    ? issue.expected
    : issue.code === "custom"
    ? issue.message
    : issue.code;
  return { path, expected: expected === "record" ? "object" : expected, got: describe(value) };
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
