/** JSON as Go's programs read and write it. */
import assert from "node:assert/strict";
import fc from "../../support/random.ts";
import { compareBytes, formatJson, parseJson, SortedMap } from "../../../src/spec/json.ts";
import { parseDocument } from "../../../src/spec/document.ts";
import { test } from "../../support/test.ts";

const UNLIMITED = 2n ** 64n - 1n;

test("integers up to 2^64-1 and down to -2^63 are read and written exactly", [], () => {
  for (const number of [0n, 1n, -1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, UNLIMITED, -(2n ** 63n)]) {
    const text = `{"a":[${number}],"b":${number}}`;
    const value = parseJson(text) as { a: (number | bigint)[]; b: number | bigint };
    assert.equal(BigInt(value.b), number);
    assert.equal(BigInt(value.a[0]!), number);
    assert.equal(typeof value.b, number >= -(2n ** 53n - 1n) && number < 2n ** 53n ? "number" : "bigint");
    assert.equal(formatJson(value), text);
    assert.equal(formatJson(value, "  ").replace(/\s/g, ""), text);
  }
});

test("any integer survives, alone or in a document", [], () => {
  fc.assert(fc.property(fc.bigInt({ min: -(2n ** 63n), max: UNLIMITED }), fc.jsonValue(), (number, other) => {
    const text = `{"number": ${number}, "other": ${JSON.stringify(other)}}`;
    const { number: read } = parseJson(text) as { number: number | bigint };
    assert.equal(BigInt(read), number);
  }));
});

test("a number that only looks like a long integer stays what JSON.parse makes of it", [], () => {
  assert.deepEqual(parseJson('{"a": 1.23456789012345678, "b": "12345678901234567890", "c": 1e20, "d": 1.5}'), {
    a: 1.23456789012345678,
    b: "12345678901234567890",
    c: 1e20,
    d: 1.5,
  });
});

test("null means absent, at any depth, and of two members of one name the last counts", [], () => {
  assert.deepEqual(parseJson('{"a": null, "b": {"c": null, "d": 1}, "e": [{"f": null}]}'), { b: { d: 1 }, e: [{}] });
  assert.deepEqual(parseJson('{"a": 1, "a": 2}'), { a: 2 });
  assert.deepEqual(parseJson('{"a": "null"}'), { a: "null" });
});

test("a member called __proto__ is a member like any other", [], () => {
  for (const text of ['{"__proto__":{"a":"1"}}', '{"__proto__":{"a":"1"},"b":null}']) {
    const value = parseJson(text) as Record<string, unknown>;
    assert.deepEqual(Object.keys(value), ["__proto__"]);
    assert.equal(Object.getPrototypeOf(value), Object.prototype);
    assert.equal(({} as { a?: string }).a, undefined);
  }
});

test("what Go escapes is escaped, and reads back as it was", [], () => {
  assert.equal(formatJson({ "<a>": "b & c\u2028\u2029" }), '{"\\u003ca\\u003e":"b \\u0026 c\\u2028\\u2029"}');
  assert.equal(formatJson({ n: 1n, "<a>": "&" }), '{"n":1,"\\u003ca\\u003e":"\\u0026"}');
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    const written = formatJson({ text, big: UNLIMITED });
    assert.doesNotMatch(written, /[<>&\u2028\u2029]/);
    assert.equal((parseJson(written) as { text: string }).text, text);
  }));
});

test("maps are written in the order of their names' bytes, integer-like names included", [], () => {
  const map = new SortedMap({ "10": "a", "9": "b", b: "c", a: "d", "é": "e", "z": "f", "🙂": "g", "\uffee": "h" });
  assert.equal(formatJson(map), '{"10":"a","9":"b","a":"d","b":"c","z":"f","é":"e","\uffee":"h","🙂":"g"}');
  assert.ok(compareBytes("\uffee", "🙂") < 0, "by UTF-8, not by UTF-16");
});

test("indented text has Go's form: a line for each member, empty lists and objects closed at once", [], () => {
  const value = { a: [], b: {}, c: [1, { d: 2n }], e: undefined };
  assert.equal(
    formatJson(value, "  "),
    '{\n  "a": [],\n  "b": {},\n  "c": [\n    1,\n    {\n      "d": 2\n    }\n  ]\n}',
  );
});

test("both ways of writing agree on documents that both can write", [], () => {
  fc.assert(fc.property(fc.jsonValue(), fc.constantFrom("", "  ", "\t"), (value, indent) => {
    const slow = formatJson({ value, big: 1n }, indent);
    const fast = formatJson({ value, big: 1 }, indent);
    assert.equal(slow, fast);
    assert.deepEqual(JSON.parse(fast), JSON.parse(JSON.stringify({ value, big: 1 })));
  }));
});

test("what is no JSON object is refused with the document's name and what is wrong", [], () => {
  const refused = (text: string, message: RegExp) =>
    assert.throws(() => parseDocument(text, "x.json"), { name: "SpecError", message });
  refused("", /^x.json is not JSON: /);
  refused('{"a": 1', /^x.json is not JSON: /);
  refused("{'a': 1}", /^x.json is not JSON: /);
  refused('{"a": 012}', /^x.json is not JSON: /);
  refused("null", /^config cannot be null/);
  refused("[]", /^x.json is not a JSON object$/);
  refused('"text"', /^x.json is not a JSON object$/);
});
