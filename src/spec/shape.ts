/**
 * A schema's shape as plain data, and a checker of documents against it. Loading zod and building the schema takes 5 ms
 * of a start; the shape, computed from the schema when the program is bundled, takes a tenth of one. It only says yes or
 * no: the words for a no come from zod.
 */
import type * as z from "zod/mini";

/**
 * - "s": string, "b": boolean
 * - { i: [least, most] }: integer, bounds in decimal
 * - { a: items }: array, { m: values }: object with any keys
 * - { o: members }: object; a member's name ends in "?" when it is optional
 */
export type Shape =
  | "s"
  | "b"
  | { readonly i: readonly [string, string] }
  | { readonly a: Shape }
  | { readonly m: Shape }
  | { readonly o: Readonly<Record<string, Shape>> };

/** Bounds of the integer types in schema.ts, which zod sees as custom checks. */
export const INTEGER_BOUNDS = new WeakMap<object, readonly [bigint, bigint]>();

/** The shape of a schema. @throws {Error} for a kind of schema that schema.ts does not use */
export function shapeOf(schema: z.ZodMiniType): Shape {
  const bounds = INTEGER_BOUNDS.get(schema);
  if (bounds !== undefined) return { i: [String(bounds[0]), String(bounds[1])] };
  const def = schema._zod.def as {
    type: string;
    element?: z.ZodMiniType;
    valueType?: z.ZodMiniType;
    shape?: Record<string, z.ZodMiniType>;
  };
  switch (def.type) {
    case "string":
      return "s";
    case "boolean":
      return "b";
    case "array":
      return { a: shapeOf(def.element!) };
    case "record":
      return { m: shapeOf(def.valueType!) };
    case "object":
      return { o: Object.fromEntries(Object.entries(def.shape!).map(([key, member]) => memberOf(key, member))) };
    default:
      throw new Error(`no shape for a schema of type ${def.type}`);
  }
}

function memberOf(key: string, schema: z.ZodMiniType): [string, Shape] {
  const def = schema._zod.def as { type: string; innerType?: z.ZodMiniType };
  return def.type === "optional" ? [key + "?", shapeOf(def.innerType!)] : [key, shapeOf(schema)];
}

/** Whether a document has a shape; exactly when the schema accepts it. */
export function matches(shape: Shape, value: unknown): boolean {
  if (shape === "s") return typeof value === "string";
  if (shape === "b") return typeof value === "boolean";
  if ("i" in shape) return isInteger(value, shape.i);
  if ("a" in shape) return Array.isArray(value) && value.every((item) => matches(shape.a, item));
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const members = value as Record<string, unknown>;
  if ("m" in shape) return Object.values(members).every((member) => matches(shape.m, member));
  for (const [name, member] of Object.entries(shape.o)) {
    const isOptional = name.endsWith("?");
    const found = members[isOptional ? name.slice(0, -1) : name];
    if (found === undefined ? !isOptional : !matches(member, found)) return false;
  }
  return true;
}

function isInteger(value: unknown, [least, most]: readonly [string, string]): boolean {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= Number(least) && value <= Number(most);
  return typeof value === "bigint" && value >= BigInt(least) && value <= BigInt(most);
}
