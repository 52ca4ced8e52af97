/** Documents for property tests: some that a schema accepts, some that are nearly so. */
import fc from "./random.ts";
import type { Shape } from "../../src/spec/shape.ts";

/** Documents of a shape, with optional members there or not. */
export function documents(shape: Shape): fc.Arbitrary<unknown> {
  if (shape === "s") return fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom("", "/", "a b", "\0", "ü"));
  if (shape === "b") return fc.boolean();
  if ("i" in shape) {
    const [min, max] = shape.i.map(BigInt) as [bigint, bigint];
    return fc.oneof(fc.constantFrom(min, max, 0n), fc.bigInt({ min, max })).map(toNumber);
  }
  if ("a" in shape) return fc.array(documents(shape.a), { maxLength: 3 });
  if ("m" in shape) return fc.dictionary(fc.string({ maxLength: 6 }), documents(shape.m), { maxKeys: 3 });
  const names = Object.keys(shape.o);
  const members = Object.fromEntries(names.map((name) => [name.replace("?", ""), documents(shape.o[name]!)]));
  const requiredKeys = names.filter((name) => !name.endsWith("?"));
  return fc.record(members, { requiredKeys });
}

/** As parseJson gives integers. */
const toNumber = (value: bigint) => (BigInt.asIntN(54, value) === value ? Number(value) : value);

const STRANGE = [null, undefined, true, -1, 0.5, 2 ** 32, 2n ** 63n, 2n ** 64n, -(2n ** 63n) - 1n, "", "text", [], {}, [
  [],
], { a: {} }];

/** The document with one value somewhere replaced by a strange one, or one member left out or added. */
export function mutations(document: unknown): fc.Arbitrary<unknown> {
  const paths = pathsOf(document);
  return fc.tuple(fc.constantFrom(...paths), fc.constantFrom("replace", "remove", "add"), fc.constantFrom(...STRANGE))
    .map(([path, what, strange]) => changed(document, path, what as "replace" | "remove" | "add", strange));
}

type Path = readonly (string | number)[];

function pathsOf(value: unknown, path: Path = []): Path[] {
  if (Array.isArray(value)) return [path, ...value.flatMap((item, i) => pathsOf(item, [...path, i]))];
  if (typeof value !== "object" || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, member]) => pathsOf(member, [...path, key]))];
}

function changed(
  value: unknown,
  [first, ...rest]: Path,
  what: "replace" | "remove" | "add",
  strange: unknown,
): unknown {
  if (first === undefined) {
    if (what !== "add" || typeof value !== "object" || value === null) return strange;
    return Array.isArray(value) ? [...value, strange] : { ...value, added: strange };
  }
  if (Array.isArray(value)) {
    const copy = [...value];
    if (rest.length === 0 && what === "remove") copy.splice(first as number, 1);
    else copy[first as number] = changed(copy[first as number], rest, what, strange);
    return copy;
  }
  const copy: Record<string, unknown> = { ...(value as Record<string, unknown>) };
  if (rest.length === 0 && what === "remove") delete copy[first];
  else copy[first] = changed(copy[first], rest, what, strange);
  return copy;
}
