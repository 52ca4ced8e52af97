/** A plan made for a shape and linked with names is the plan made for the config itself. */
import assert from "node:assert/strict";
import fc from "../../support/random.ts";
import { assemble } from "../../../src/init/assemble.ts";
import { link } from "../../../src/init/link.ts";
import { planCreate } from "../../../src/plan/create.ts";
import { planExec } from "../../../src/plan/exec.ts";
import { parameterize, shapeKey } from "../../../src/plan/parameterize.ts";
import { parameterizeExec } from "../../../src/plan/parameterize_exec.ts";
import { hasParameters, holdsReserved } from "../../../src/plan/parameters.ts";
import type { CreateRequest } from "../../../src/plan/recipe.ts";
import type { Plan } from "../../../src/plan/types.ts";
import type { Process, Spec } from "../../../src/spec/schema.ts";
import { matches } from "../../../src/spec/shape.ts";
import SHAPES from "../../../src/spec/shapes.const.ts";
import {
  BUNDLES,
  bundleSpec,
  CLIENT_CONFIGS,
  clientConfig,
  execRequestOf,
  factsOf,
  type Host,
  requestOf,
} from "../../support/plans.ts";
import { assertSame } from "../../support/same_image.ts";
import { test } from "../../support/test.ts";

const CONFIGS: readonly (readonly [string, Spec])[] = [
  ...BUNDLES.map((name) => [name, bundleSpec(name)] as const),
  ...CLIENT_CONFIGS.map((name) => [name, clientConfig(name)] as const),
];

const inputsOf = (plan: Plan) => Object.fromEntries(["report", ...plan.inputs.keys()].map((name, i) => [name, 40 + i]));

function compare(spec: Spec, host: Host, changes: Partial<CreateRequest>, what: string): void {
  const facts = factsOf("x86_64", host);
  const request = requestOf(spec, facts, changes);
  const plan = planCreate(spec, facts, request);
  const { spec: shape, request: shapedRequest, values } = parameterize(spec, request);
  const shaped = assemble(planCreate(shape, facts, shapedRequest), true);
  assert.equal(shaped.texts.every(hasParameters), true);
  assertSame(plan, link(assemble(plan, false), [], inputsOf(plan)), link(shaped, values, inputsOf(plan)), what);
}

for (const [name, spec] of CONFIGS) {
  test(`the plan of ${name} linked from its shape is the plan made directly`, [], () => {
    compare(spec, "v1", {}, name);
    const changes = { pidFile: "/run/pid file", noPivot: false, gate: "none", stdio: "pipes", preserveFds: 2 } as const;
    compare(spec, "v2", changes, name);
  });
}

/** Names as people and programs make them up, and some that would break a careless text. */
const names = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 12 }).filter((text) => !text.includes("\0") && !holdsReserved(text)),
  fc.constantFrom("", " ", '"', "\\", "a\nb", "<&>", "$&", "$1", "ü", "🙂", "\u2028", "a".repeat(300), "{item}"),
);
const segment = names.map((name) => name.replaceAll("/", "")).filter((name) => !["", ".", ".."].includes(name));
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => "/" + parts.join("/"));

test("whatever the names in a config are, its plan is the one that its shape gives", [], () => {
  const changes = fc.record({
    args: fc.array(names, { maxLength: 3 }),
    values: fc.array(names, { maxLength: 3 }),
    hostname: names,
    root: path,
    source: path,
    cgroupsPath: path,
    annotation: names,
    bundle: path,
    id: fc.stringMatching(/^[A-Za-z0-9_+.-]{1,20}$/).filter((id) => !["", ".", ".."].includes(id)),
  });
  fc.assert(
    fc.property(
      fc.constantFrom(...CONFIGS),
      changes,
      fc.constantFrom<Host>("v1", "v2"),
      ([name, spec], change, host) => {
        const { args, values, hostname, root, source, cgroupsPath, annotation, bundle, id } = change;
        const changed: Spec = {
          ...spec,
          root: { ...spec.root!, path: root },
          hostname,
          annotations: { key: annotation, "other/key": annotation },
          process: {
            ...spec.process!,
            args: ["sh", ...args],
            env: ["PATH=/bin", ...values.map((value, i) => `V${i}=${value}`)],
          },
          mounts: [
            ...spec.mounts ?? [],
            { destination: "/here", source, options: ["rbind"] },
            // Places in the rootfs, named from outside.
            { destination: `${root}/in`, source: `${root}/from`, options: ["bind"] },
            { destination: "/all", source: `${root}/.`, options: ["rbind"] },
          ],
          linux: { ...spec.linux, cgroupsPath },
        };
        compare(changed, host, { id, bundle, stateDirectory: `/run/runk/${id}` }, name);
      },
    ),
    { numRuns: 60 },
  );
});

test("what the schema refuses has another shape than what it takes", [], () => {
  const facts = factsOf();
  const wrongs = [5, "x", [{}], { a: 1 }, null];
  /** Seccomp profiles have hundreds of equal members. */
  const FIRST = 3;
  for (const [name, spec] of CONFIGS) {
    const full = { ...spec, domainname: "d", annotations: { a: "b" }, linux: { ...spec.linux, cgroupsPath: "c" } };
    const request = requestOf(full, facts, {});
    const keyOf = (document: Spec) => {
      const { spec, request: shapedRequest } = parameterize(document, request);
      return shapeKey("", { spec, request: shapedRequest }, facts);
    };
    const own = keyOf(full);
    const visit = (value: unknown, replace: (by: unknown) => Spec, path: string): void => {
      for (const wrong of wrongs) {
        const document = replace(wrong);
        if (!matches(SHAPES.spec, document)) {
          assert.notEqual(keyOf(document), own, `${name}: ${path}: ${JSON.stringify(wrong)}`);
        }
      }
      if (typeof value !== "object" || value === null) return;
      for (const [key, member] of Object.entries(value).slice(0, Array.isArray(value) ? FIRST : undefined)) {
        const within = (by: unknown) =>
          replace(Array.isArray(value) ? value.with(Number(key), by) : { ...value, [key]: by });
        visit(member, within, `${path}/${key}`);
      }
    };
    for (const [key, member] of Object.entries(full)) {
      visit(member, (by) => ({ ...full, [key]: by }) as Spec, `/${key}`);
    }
  }
});

test("a rootfs that the config names from its bundle is known in sources and destinations, too", [], () => {
  const spec: Spec = {
    ...bundleSpec("hello"),
    root: { path: "./rootfs/" },
    mounts: [
      { destination: "/b/rootfs/in", source: "rootfs/a", options: ["bind"] },
      { destination: "/x", source: "/b/./rootfs//a/../c", options: ["bind"] },
      { destination: "/y", source: "rootfs-not", options: ["bind"] },
    ],
  };
  compare(spec, "v1", { bundle: "/b" }, "inside");
  const facts = factsOf();
  const { steps } = planCreate(spec, facts, requestOf(spec, facts, { bundle: "/b" }));
  const lookups = (call: string, argument: number) =>
    steps.filter((step) => step.call === call && step.task.path?.startsWith("/mounts"))
      .map(({ args }) => (args[argument] as { name: string }).name).filter((name) => name.startsWith("/"));
  assert.deepEqual(lookups("open_tree", 1), ["/b/rootfs-not"]);
  assert.deepEqual([...new Set(lookups("openat2", 1))], ["/a", "/in", "/c", "/x", "/y"]);
});

test("exec's plan linked from its shape is the plan made directly", [], () => {
  fc.assert(
    fc.property(fc.array(names, { maxLength: 3 }), fc.array(names, { maxLength: 3 }), path, (args, values, pidFile) => {
      const facts = factsOf();
      const process = {
        ...bundleSpec("hello").process!,
        args: ["sh", ...args],
        env: ["PATH=/bin", ...values.map((value, i) => `V${i}=${value}`)],
      } as Process;
      const request = execRequestOf("v1", { pidFile });
      const plan = planExec(process, facts, request);
      const parameterized = parameterizeExec(process, request);
      const shaped = assemble(planExec(parameterized.process, facts, parameterized.request), true);
      const direct = link(assemble(plan, false), [], inputsOf(plan));
      assertSame(plan, direct, link(shaped, parameterized.values, inputsOf(plan)), "exec");
    }),
    { numRuns: 30 },
  );
});

const keyOf = (spec: Spec, changes: Partial<CreateRequest> = {}) => {
  const facts = factsOf();
  const { spec: shape, request } = parameterize(spec, requestOf(spec, facts, changes));
  return shapeKey("build", { spec: shape, request }, facts);
};

test("containers that differ in names only have one shape; what is not a name makes another", [], () => {
  const spec = bundleSpec("limits");
  const key = keyOf(spec);
  const process = spec.process!;
  assert.equal(keyOf(spec, { id: "other", stateDirectory: "/run/runk/other" }), key);
  assert.equal(keyOf({ ...spec, process: { ...process, args: ["sh", "other", "words"] } }), key);
  assert.equal(keyOf({ ...spec, root: { path: "another" } }), key);
  const others: Spec[] = [
    { ...spec, process: { ...process, args: ["ls", "-c", "x"] } },
    { ...spec, process: { ...process, env: ["PATH=/elsewhere"] } },
    { ...spec, process: { ...process, noNewPrivileges: false } },
    { ...spec, process: { ...process, user: { uid: 1, gid: 0 } } },
    { ...spec, root: { path: "rootfs", readonly: true } },
    { ...spec, mounts: spec.mounts!.slice(1) },
    { ...spec, linux: { ...spec.linux, maskedPaths: ["/proc/x"] } },
    { ...spec, linux: { ...spec.linux, namespaces: spec.linux!.namespaces!.slice(1) } },
  ];
  const keys = others.map((other) => keyOf(other));
  assert.equal(new Set([key, ...keys]).size, others.length + 1);
});

test("no value of a config is lost in its shape: every text is in it, or among the names", [], () => {
  for (const [name, spec] of CONFIGS) {
    const facts = factsOf();
    const { spec: shape, request, values } = parameterize(spec, requestOf(spec, facts));
    const kept = JSON.stringify(
      [shape, request, values],
      (_, value) => (typeof value === "bigint" ? String(value) : value),
    );
    for (const arg of spec.process!.args!) {
      assert.ok(kept.includes(JSON.stringify(arg).slice(1, -1)), `${name}: ${arg}`);
    }
    for (const { destination } of spec.mounts!) assert.ok(kept.includes(destination), name);
  }
});
