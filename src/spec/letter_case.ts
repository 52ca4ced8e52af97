/**
 * Members whose names differ from the specification's in letter case only. Go programs read them as if they were right, so
 * they were meant; other unknown members mean nothing.
 */
import type { Shape } from "./shape.ts";
import SHAPES from "./shapes.const.ts";

export interface Misspelt {
  /** The object that has the member. */
  readonly owner: Record<string, unknown>;
  readonly key: string;
  /** The specification's name. */
  readonly name: string;
  /** JSON pointer of the member. */
  readonly path: string;
}

/** All such members, but for those inside of one. */
export function misspelt(shape: Shape, value: unknown, path = ""): Misspelt[] {
  if (typeof shape === "string" || typeof value !== "object" || value === null) return [];
  if ("a" in shape) {
    return Array.isArray(value) ? value.flatMap((item, i) => misspelt(shape.a, item, `${path}/${i}`)) : [];
  }
  const owner = value as Record<string, unknown>;
  const entries = Object.entries(owner);
  if ("m" in shape) return entries.flatMap(([key, member]) => misspelt(shape.m, member, `${path}/${key}`));
  if (!("o" in shape)) return [];
  return entries.flatMap(([key, member]): Misspelt[] => {
    const known = shape.o[key] ?? shape.o[`${key}?`];
    if (known !== undefined) return misspelt(known, member, `${path}/${key}`);
    const name = Object.keys(shape.o).map((name) => name.replace("?", ""))
      .find((name) => name.toLowerCase() === key.toLowerCase());
    return name === undefined ? [] : [{ owner, key, name, path: `${path}/${key}` }];
  });
}

/**
 * Gives such members the specification's names, in the document itself. One that is there under several names is put
 * together as Go's decoder does: what comes later wins, objects add to each other.
 * @returns whether there was one
 */
export function correctNames(kind: keyof typeof SHAPES, document: unknown): boolean {
  let isChanged = false;
  for (;;) {
    const wrong = misspelt(SHAPES[kind] as Shape, document);
    if (wrong.length === 0) return isChanged;
    isChanged = true;
    for (const { owner, key, name } of wrong) {
      const keys = Object.keys(owner);
      const [first, later] = keys.indexOf(name) < keys.indexOf(key) ? [name, key] : [key, name];
      const value = Object.hasOwn(owner, name) ? together(owner[first], owner[later]) : owner[key];
      delete owner[key];
      owner[name] = value;
    }
  }
}

function together(first: unknown, later: unknown): unknown {
  if (!isObject(first) || !isObject(later)) return later;
  const result = { ...first };
  for (const [key, value] of Object.entries(later)) {
    result[key] = Object.hasOwn(first, key) ? together(first[key], value) : value;
  }
  return result;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
