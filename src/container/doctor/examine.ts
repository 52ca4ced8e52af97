/** Looks a machine over: what it offers to containers, what is missing for what, and the cure. Nothing is changed. */
import { probeHost } from "../../host/probe.ts";
import { assemble } from "../../init/assemble.ts";
import { carryOut } from "../../init/carry_out.ts";
import type { HostFacts } from "../../host/facts.ts";
import { planProbe, PROBED, probeNames } from "../../plan/probe.ts";
import type { Runtime } from "../runtime.ts";
import { cgroups } from "./cgroups.ts";
import { type Finding, finding } from "./finding.ts";
import { kernel } from "./kernel.ts";
import { type Answers, mounts, namespaces } from "./kinds.ts";
import { helpers, rootless } from "./rootless.ts";
import { security } from "./security.ts";

/** All findings, in the order in which they are shown. A machine that lacks something is no error. */
export async function examine(runtime: Runtime): Promise<Finding[]> {
  const facts = probeHost();
  const environment = runtime.environment();
  const { answers, failure } = await probe(runtime, facts);
  return [
    ...kernel(facts),
    finding("kernel", "kernel.executor", failure === undefined, {
      found: failure ?? "runs",
      use: "every step of a plan",
      required: true,
      cure: "see kernel.memfd",
    }),
    ...namespaces(answers),
    ...mounts(answers),
    ...cgroups(facts),
    ...security(),
    ...rootless(facts, environment),
    ...helpers(environment),
  ];
}

/** The kernel's answers to a process that tries things; none, and why, when that process cannot be had. */
async function probe(
  { poll, root, program }: Runtime,
  facts: HostFacts,
): Promise<{ answers: Answers; failure: string | undefined }> {
  const plan = planProbe(facts);
  const answers = new Map<string, number>();
  try {
    await carryOut(assemble(plan, false), {
      argv: [program, "doctor"],
      directory: root,
      plan: () => plan,
      poll,
      handlers: { [PROBED]: (values) => probeNames(facts).forEach((name, i) => answers.set(name, values[i]!)) },
    });
    return { answers, failure: undefined };
  } catch (error) {
    return { answers, failure: error instanceof Error ? error.message : String(error) };
  }
}
