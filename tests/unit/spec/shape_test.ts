/** The shape that accepts documents on the way to a container, and the schema that it is computed from. */
import assert from "node:assert/strict";
import fc from "../../support/random.ts";
import { checkDocument } from "../../../src/spec/check_document.ts";
import type { SpecError } from "../../../src/spec/errors.ts";
import { explain } from "../../../src/spec/explain.ts";
import { correctNames } from "../../../src/spec/letter_case.ts";
import { mountsSchema, processSchema, resourcesSchema, type Spec, specSchema } from "../../../src/spec/schema.ts";
import { matches, type Shape, shapeOf } from "../../../src/spec/shape.ts";
import SHAPES from "../../../src/spec/shapes.const.ts";
import { documents, mutations } from "../../support/arbitrary.ts";
import { BUNDLES, bundleSpec, CLIENT_CONFIGS, clientConfig } from "../../support/plans.ts";
import { test } from "../../support/test.ts";

const SCHEMAS = {
  spec: specSchema,
  process: processSchema,
  resources: resourcesSchema,
  mounts: mountsSchema,
} as const;

test("the shapes that the program carries are those of the schemas", [], () => {
  for (const [kind, schema] of Object.entries(SCHEMAS)) {
    assert.deepEqual(SHAPES[kind as keyof typeof SCHEMAS], shapeOf(schema));
  }
});

for (const kind of ["spec", "process", "resources"] as const) {
  test(`the shape accepts a ${kind} exactly when the schema does`, [], () => {
    const shape = shapeOf(SCHEMAS[kind]);
    let accepted = 0;
    const agrees = (document: unknown) => {
      const fits = SCHEMAS[kind].safeParse(document).success;
      accepted += Number(fits);
      assert.equal(
        matches(shape, document),
        fits,
        JSON.stringify(document, (_, v) => typeof v === "bigint" ? `${v}n` : v),
      );
    };
    fc.assert(fc.property(documents(shape), agrees), { numRuns: 300 });
    fc.assert(fc.property(documents(shape).chain(mutations), agrees), { numRuns: 1000 });
    fc.assert(fc.property(fc.jsonValue(), agrees));
    assert.ok(accepted > 300 && accepted < 1400, `${accepted} documents were accepted`);
  });
}

test("real configs with one value changed are accepted by both or by none", [], () => {
  const configs = [...BUNDLES.map(bundleSpec), ...CLIENT_CONFIGS.map(clientConfig)];
  const shape = SHAPES.spec as Shape;
  fc.assert(
    fc.property(fc.constantFrom(...configs).chain(mutations), (document) => {
      assert.equal(matches(shape, document), specSchema.safeParse(document).success);
    }),
    { numRuns: 300 },
  );
});

const issuesOf = async (document: unknown) => {
  try {
    await checkDocument("spec", document, "config.json");
  } catch (error) {
    return error as SpecError;
  }
  throw new Error("the document was accepted");
};

test("every wrong value is told at once, each with its path, what was expected and what is there", [], async () => {
  const error = await issuesOf({
    process: {
      terminal: "yes",
      args: ["a", 1],
      rlimits: [{ type: "RLIMIT_CORE", soft: -1, hard: 2n ** 64n }],
      user: [],
    },
    mounts: { destination: "/" },
    hostname: 5,
    root: {},
    linux: { resources: { memory: { limit: 1.5 } }, namespaces: [{}] },
  });
  assert.deepEqual(error.issues, [
    { path: "/process/terminal", expected: "boolean", got: 'string "yes"' },
    { path: "/process/user", expected: "object", got: "an array" },
    { path: "/process/args/1", expected: "string", got: "number 1" },
    { path: "/process/rlimits/0/soft", expected: "integer from 0 to 18446744073709551615", got: "number -1" },
    {
      path: "/process/rlimits/0/hard",
      expected: "integer from 0 to 18446744073709551615",
      got: "number 18446744073709551616",
    },
    { path: "/root/path", expected: "string", got: "nothing" },
    { path: "/hostname", expected: "string", got: "number 5" },
    { path: "/mounts", expected: "array", got: "an object" },
    {
      path: "/linux/resources/memory/limit",
      expected: "integer from -9223372036854775808 to 9223372036854775807",
      got: "number 1.5",
    },
    { path: "/linux/namespaces/0/type", expected: "string", got: "nothing" },
  ]);
  assert.match(
    error.message,
    /^config.json is wrong at 10 places: \/process\/terminal: expected boolean, got string "yes"; /,
  );
});

test("a path in a message is a JSON pointer", [], () => {
  const [issue] = explain("spec", { annotations: { "a/b~c": 1 } });
  assert.equal(issue!.path, "/annotations/a~1b~0c");
});

test("unknown members are ignored, those that only a Go program would know by their letters are not", [], async () => {
  await checkDocument("spec", { ociVersion: "1.0.2", vendorThing: { process: 1 }, linux: { "x-y": [] } } as Spec, "c");
  const { issues } = await issuesOf({ Process: {}, linux: { Seccomp: {}, namespaces: [{ type: "pid", PATH: "/x" }] } });
  assert.deepEqual(issues, [
    { path: "/Process", expected: "the name process", got: "Process" },
    { path: "/linux/Seccomp", expected: "the name seccomp", got: "Seccomp" },
    { path: "/linux/namespaces/0/PATH", expected: "the name path", got: "PATH" },
  ]);
});

test(
  "names that differ in letters are put right, at any depth; several of one are put together as Go does",
  [],
  async () => {
    const document = {
      ociVersion: "1.3.0",
      ROOT: { Path: "/" },
      Process: { Args: ["a"], ENV: ["B=C"] },
      linux: {
        resources: {
          cpu: { shares: 2, cpus: "0" },
          CPU: { Cpus: "1", mems: "0" },
          PIDS: { limit: 1 },
          pids: { limit: 2 },
        },
        Namespaces: [{ TYPE: "pid" }],
      },
      annotations: { Process: "mine" },
    };
    await assert.rejects(checkDocument("spec", document, "c"), { name: "MisspeltError" });
    assert.equal(correctNames("spec", document), true);
    assert.deepEqual(document as unknown, {
      ociVersion: "1.3.0",
      root: { path: "/" },
      process: { args: ["a"], env: ["B=C"] },
      linux: {
        resources: { cpu: { shares: 2, cpus: "1", mems: "0" }, pids: { limit: 2 } },
        namespaces: [{ type: "pid" }],
      },
      annotations: { Process: "mine" },
    });
    assert.equal(correctNames("spec", document), false);
    await checkDocument("spec", document, "c");
  },
);
