/**
 * Whatever comes in, what comes out is a plan that keeps the rules or one error that people can read; never an exception
 * of the language. `deno task fuzz --runs N` tries N inputs of each kind, the tests as they are RUNS of them.
 */
import assert from "node:assert/strict";
import fc from "../../support/random.ts";
import { PR } from "../../../src/abi/flags.ts";
import { COMMANDS } from "../../../src/commands/table.ts";
import { type Flag, parseFlags } from "../../../src/commands/flags.ts";
import { RunkError } from "../../../src/errors.ts";
import { parseCgroupFile, parseLayout } from "../../../src/host/cgroup_layout.ts";
import { assemble } from "../../../src/init/assemble.ts";
import { link } from "../../../src/init/link.ts";
import { planCreate } from "../../../src/plan/create.ts";
import { describePlan, planToJson } from "../../../src/plan/describe.ts";
import { planExec } from "../../../src/plan/exec.ts";
import { parameterize, shapeKey } from "../../../src/plan/parameterize.ts";
import { parameterizeExec } from "../../../src/plan/parameterize_exec.ts";
import type { Plan, Step } from "../../../src/plan/types.ts";
import { checkDocument } from "../../../src/spec/check_document.ts";
import { cleanPath } from "../../../src/spec/clean_path.ts";
import { checkSpec } from "../../../src/spec/checks.ts";
import { parseDocument } from "../../../src/spec/document.ts";
import type { Process, Spec } from "../../../src/spec/schema.ts";
import type { Shape } from "../../../src/spec/shape.ts";
import SHAPES from "../../../src/spec/shapes.const.ts";
import { annotations, hasPrivateNamespace, label } from "../../../src/state/record.ts";
import { statusOf } from "../../../src/state/status.ts";
import { load } from "../../../src/state/load.ts";
import { documents, mutations } from "../../support/arbitrary.ts";
import { plausibleSpecs } from "../../support/plausible.ts";
import {
  BUNDLES,
  bundleSpec,
  CLIENT_CONFIGS,
  clientConfig,
  clientConfigText,
  execRequestOf,
  factsOf,
  type Host,
  requestOf,
} from "../../support/plans.ts";
import { assertSame } from "../../support/same_image.ts";
import { test } from "../../support/test.ts";

const RUNS = Number(Deno.env.get("RUNK_FUZZ_RUNS") ?? 150);
const runs = { numRuns: RUNS };

/** Runs something that may fail with an error for people, and with nothing else. True when it did not fail. */
function decently(action: () => unknown): boolean {
  try {
    action();
    return true;
  } catch (error) {
    assert.ok(
      error instanceof RunkError,
      `an exception of the language: ${error instanceof Error ? error.stack : error}`,
    );
    assert.ok(error.message.length > 0 && !/undefined|\[object/.test(error.message), error.message);
    return false;
  }
}
const decentlyAsync = async (action: () => Promise<unknown>): Promise<boolean> => {
  let failure: unknown;
  await action().catch((error) => failure = error);
  return decently(() => {
    if (failure !== undefined) throw failure;
  });
};

const configs = [...BUNDLES.map(bundleSpec), ...CLIENT_CONFIGS.map(clientConfig)];

/** Texts that were JSON, before something happened to them. */
const damagedTexts = fc.tuple(fc.constantFrom(...CLIENT_CONFIGS), fc.nat(), fc.nat(40), fc.string({ maxLength: 4 }))
  .map(([name, at, length, insert]) => {
    const text = clientConfigText(name);
    return text.slice(0, at % text.length) + insert + text.slice((at % text.length) + length);
  });

test("any text is a document, or told not to be", [], async () => {
  const texts = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    damagedTexts,
    damagedTexts.map((text) => text.slice(0, -20)),
  );
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      await decentlyAsync(async () => await checkDocument("spec", parseDocument(text, "config.json"), "config.json"));
    }),
    runs,
  );
});

test("documents of any depth are read, or refused", [], async () => {
  for (const depth of [10, 1000, 100_000]) {
    for (const [open, close] of [["[", "]"], ['{"a":', "}"]] as const) {
      const text = `{"process": ${open.repeat(depth)}1${close.repeat(depth)}, "n": null}`;
      await decentlyAsync(async () => {
        const document = parseDocument(text, "config.json") as Spec;
        const facts = factsOf();
        shapeKey("build", parameterize(document, requestOf({}, facts)), facts);
        await checkDocument("spec", document, "config.json");
      });
    }
  }
});

const anyDocument = fc.oneof(
  documents(SHAPES.spec as Shape),
  documents(SHAPES.spec as Shape).chain(mutations),
  fc.constantFrom(...configs).chain(mutations),
  plausibleSpecs.chain(mutations),
  fc.dictionary(
    fc.constantFrom("process", "root", "linux", "mounts", "hooks", "annotations", "hostname"),
    fc.jsonValue(),
  ),
);

test("any document has a shape and a key, before anyone has checked it", [], () => {
  fc.assert(
    fc.property(anyDocument, (document) => {
      if (typeof document !== "object" || document === null || Array.isArray(document)) return;
      const facts = factsOf();
      const request = requestOf({}, facts);
      decently(() => shapeKey("build", parameterize(document as Spec, request), facts));
      decently(() => parameterizeExec(document as unknown as Process, execRequestOf()));
    }),
    runs,
  );
});

/** A config's way from document to image; the plan, where it is accepted. */
async function accepted(spec: Spec, host: Host): Promise<Plan | undefined> {
  const facts = factsOf("x86_64", host);
  let plan: Plan | undefined;
  await decentlyAsync(async () => {
    await checkDocument("spec", spec, "config.json");
    checkSpec(spec, { noPivot: false }, () => {});
    const request = requestOf(spec, facts);
    // Building it checks it: see src/plan/check.ts.
    const made = planCreate(spec, facts, request);
    const { spec: shape, request: shaped, values } = parameterize(spec, request);
    const inputs = Object.fromEntries(["report", ...made.inputs.keys()].map((name, i) => [name, 10 + i]));
    const direct = link(assemble(made, false), [], inputs);
    assertSame(made, direct, link(assemble(planCreate(shape, facts, shaped), true), values, inputs), "");
    plan = made;
  });
  return plan;
}

/** What a config asks for is in its plan. */
function assertKept(spec: Spec, plan: Plan): void {
  const calls = plan.steps.filter(({ op, lane }) => op === "syscall" && lane === "container");
  const prctls = calls.filter(({ call }) => call === "prctl").map(({ args }) => args[0]);
  const { process, linux, root, hostname } = spec;
  assert.equal(prctls.includes(PR.SET_NO_NEW_PRIVS), process!.noNewPrivileges === true);
  assert.equal(calls.some(({ call }) => call === "sethostname"), Boolean(hostname));
  const uid = process!.user?.uid ?? 0;
  assert.ok(
    calls.some(({ call, args, task }) => call === "setresuid" && task.path === "/process/user/uid" && args[0] === uid),
  );
  assert.equal(
    calls.some(({ call, task }) => call === "capset" && task.path === "/process/capabilities"),
    process!.capabilities !== undefined,
  );
  const at = (path: string) =>
    plan.steps.some(({ task }) => task.path === path || task.each?.some((item) => item.path === path));
  if (root!.readonly) assert.ok(at("/root/readonly"));
  linux!.maskedPaths?.forEach((path, i) => {
    if (linux!.maskedPaths!.indexOf(path) === i) assert.ok(at(`/linux/maskedPaths/${i}`), `mask ${i}`);
  });
  linux!.readonlyPaths?.forEach((path, i) => {
    if (cleanPath(path) === "/") {
      const isRoot = ({ call, task }: Step) => call === "mount_setattr" && task.why === "make the root read-only";
      assert.ok(calls.some(isRoot), `the root, read-only path ${i}`);
    } else if (linux!.readonlyPaths!.indexOf(path) === i) {
      assert.ok(at(`/linux/readonlyPaths/${i}`), `read-only path ${i}`);
    }
  });
  spec.mounts?.forEach((_, i) => assert.ok(at(`/mounts/${i}`), `mount ${i}`));
  process!.rlimits?.forEach((_, i) => assert.ok(at(`/process/rlimits/${i}`), `rlimit ${i}`));
  for (const name of Object.keys(linux!.sysctl ?? {})) {
    assert.ok(JSON.stringify(plan.steps.map(({ task }) => task)).includes("/linux/sysctl"), name);
  }
  linux!.namespaces!.forEach(({ path }, i) => {
    if (path) assert.ok(at(`/linux/namespaces/${i}`), `namespace ${i}`);
  });
}

test("any config that is accepted has a plan that keeps every rule, and what the config asks for", [], async () => {
  let plans = 0;
  await fc.assert(
    fc.asyncProperty(plausibleSpecs, fc.constantFrom<Host>("v1", "v2"), async (spec, host) => {
      const plan = await accepted(spec, host);
      if (plan === undefined) return;
      plans++;
      assertKept(spec, plan);
    }),
    runs,
  );
  console.log(`${plans} of ${RUNS} configs were accepted`);
  assert.ok(plans > RUNS / 4);
});

test("any document leads to a plan or to an error for people, and a plan can be told", [], async () => {
  await fc.assert(
    fc.asyncProperty(anyDocument, fc.constantFrom<Host>("v1", "v2"), async (document, host) => {
      if (typeof document !== "object" || document === null || Array.isArray(document)) return;
      const plan = await accepted(document as Spec, host);
      if (plan === undefined) return;
      assert.ok(!describePlan(plan).includes("[object"));
      planToJson(plan);
    }),
    runs,
  );
});

test("any process has a plan for exec, or an error for people", [], async () => {
  const processes = fc.oneof(plausibleSpecs.map(({ process }) => process), documents(SHAPES.process as Shape));
  await fc.assert(
    fc.asyncProperty(processes, async (process) => {
      const { compileExec } = await import("../../../src/container/compile.ts");
      const request = execRequestOf();
      await decentlyAsync(async () => {
        const parameterized = parameterizeExec(process as Process, request);
        await compileExec(process as Process, "process.json", factsOf(), request, parameterized);
        planExec(process as Process, factsOf(), request);
      });
    }),
    runs,
  );
});

test("any command line is taken apart, or told what is wrong with it", [], async () => {
  const flags: Flag[] = [];
  for (const { load } of COMMANDS) flags.push(...(await load()).command.flags);
  const names = flags.flatMap((
    { name, short },
  ) => [`--${name}`, `-${name}`, `--${name}=x`, ...(short ? [`-${short}`] : [])]);
  const word = fc.oneof(fc.string(), fc.constantFrom(...names, "--", "-", "", "1", "true", "5s", "-1"));
  fc.assert(
    fc.property(fc.array(word, { maxLength: 8 }), fc.constantFrom(undefined, 0, 1, 2), (args, stopAt) => {
      decently(() => {
        const { operands, options } = parseFlags(args, flags, stopAt);
        assert.ok(operands.every((operand) => args.includes(operand)));
        for (const { name, kind } of flags) {
          if (kind === "int") assert.ok(Number.isSafeInteger(options.int(name)));
          if (kind === "bool") assert.equal(typeof options.bool(name), "boolean");
          if (kind === "list") assert.ok(Array.isArray(options.list(name)));
          if (kind === "duration") assert.ok(Number.isFinite(options.duration(name)));
        }
      });
    }),
    runs,
  );
});

const record = {
  id: "box",
  init_process_pid: 1,
  init_process_start: 1,
  created: "2026-01-01T00:00:00Z",
  config: {
    rootfs: "/r",
    namespaces: [{ type: "NEWPID" }, { type: "NEWNS", path: "" }],
    labels: ["a=b", "bundle=/b"],
    cgroups: { path: "/x" },
    Hooks: { poststop: [{ path: "/bin/true", args: null, timeout: 1 }] },
  },
  cgroup_paths: { memory: "/m", "": "/u" },
  runk: { version: 1 },
};

test("any state file is a record that commands can work with, or is refused", [], async () => {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${root}/box`);
    const whole = JSON.stringify(record);
    const texts = fc.oneof(
      fc.string(),
      fc.json(),
      fc.constant(record).chain(mutations).map((document) =>
        JSON.stringify(document, (_, v) => typeof v === "bigint" ? String(v) : v) ?? ""
      ),
      fc.tuple(fc.nat(whole.length), fc.nat(5)).map(([at, length]) => whole.slice(0, at) + whole.slice(at + length)),
    );
    fc.assert(
      fc.property(texts, (text) => {
        Deno.writeTextFileSync(`${root}/box/state.json`, text);
        decently(() => {
          const read = load(root, "box");
          assert.equal(read.id, "box");
          label(read, "bundle");
          annotations(read);
          hasPrivateNamespace(read, "NEWPID");
          statusOf(root, read);
        });
      }),
      runs,
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

test("any mountinfo and any cgroup file give a layout", [], () => {
  const line = fc.array(
    fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom("-", "cgroup", "cgroup2", "rw,cpu", "/", "0::/")),
    { maxLength: 12 },
  )
    .map((words) => words.join(" "));
  const text = fc.array(fc.oneof(line, fc.string()), { maxLength: 6 }).map((lines) => lines.join("\n"));
  fc.assert(
    fc.property(text, text, (mountinfo, cgroup) => {
      parseCgroupFile(cgroup);
      const { version, mounts } = parseLayout(mountinfo, cgroup);
      assert.equal(version === "none", mounts.length === 0);
    }),
    runs,
  );
});
