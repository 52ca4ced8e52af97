/** Configs that real clients wrote: every one is parsed, accepted and planned. */
import assert from "node:assert/strict";
import { describePlan, planToJson } from "../../../src/plan/describe.ts";
import { planExec } from "../../../src/plan/exec.ts";
import { checkDocument } from "../../../src/spec/check_document.ts";
import { explain } from "../../../src/spec/explain.ts";
import { formatJson, parseJson } from "../../../src/spec/json.ts";
import { parseDocument } from "../../../src/spec/document.ts";
import type { Process } from "../../../src/spec/schema.ts";
import {
  CLIENT_CONFIGS,
  CLIENT_PROCESSES,
  clientConfig,
  clientConfigText,
  execRequestOf,
  factsOf,
  planFor,
} from "../../support/plans.ts";
import { test } from "../../support/test.ts";

for (const name of CLIENT_CONFIGS) {
  test(`${name} is accepted, and planned on both kinds of hosts for both machines`, [], async () => {
    const spec = clientConfig(name);
    await checkDocument("spec", spec, name);
    assert.deepEqual(explain("spec", spec), []);
    for (const arch of ["x86_64", "aarch64"] as const) {
      for (const host of ["v1", "v2"] as const) {
        const plan = planFor(spec, arch, host);
        assert.ok(plan.steps.length > 100);
        assert.ok(describePlan(plan).includes("execve("));
        assert.equal((planToJson(plan).steps as unknown[]).length, plan.steps.length);
      }
    }
  });

  test(`no number of ${name} changes when it is read and written again`, [], () => {
    const text = clientConfigText(name);
    const numbers = (json: string) => json.match(/(?<=[:[,]\s*)-?\d+(?=\s*[,}\]])/g);
    const written = formatJson(parseJson(text), "  ");
    assert.deepEqual(numbers(written), numbers(text));
  });
}

for (const name of CLIENT_PROCESSES) {
  test(`${name} is accepted, and planned`, [], async () => {
    const process = parseDocument(clientConfigText(name), name) as Process;
    await checkDocument("process", process, name);
    assert.ok(describePlan(planExec(process, factsOf(), execRequestOf())).includes("execve("));
  });
}
