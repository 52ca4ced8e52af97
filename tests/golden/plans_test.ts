/** The plans of bundles/ as texts: a change of what runk does to the kernel shows in their differences. */
import assert from "node:assert/strict";
import { describePlan, summarizePlan } from "../../src/plan/describe.ts";
import { planExec } from "../../src/plan/exec.ts";
import { planAddMounts, planRemoveMounts } from "../../src/plan/mounts.ts";
import type { Plan } from "../../src/plan/types.ts";
import type { Arch } from "../../src/abi/arch.ts";
import { BUNDLES, bundleSpec, execRequestOf, factsOf, type Host, planFor } from "../support/plans.ts";
import { golden } from "../support/golden.ts";
import { test } from "../support/test.ts";

const ARCHES: readonly Arch[] = ["x86_64", "aarch64"];
/** Shown step by step, each on one kind of host; of the others, what they do is enough. */
const IN_FULL: Readonly<Record<string, Host>> = {
  hello: "v1",
  hooks: "v2",
  limits: "v1",
  mounts: "v2",
  tty: "v2",
  userns: "v1",
};

/** Numbers in names that are made up while a plan is built would change with every step before them. */
const withoutSerials = (text: string) => text.replace(/<([A-Za-z' ]+?) \d+((?:\.\d+)?)>/g, "<$1$2>");
const inFull = (plan: Plan) => withoutSerials(describePlan(plan, { numbers: false }));

for (const name of BUNDLES) {
  test(`the plan of bundles/${name} is the one in tests/golden, the same on both machines`, [], () => {
    const spec = bundleSpec(name);
    const host = IN_FULL[name];
    const texts = ARCHES.map((arch) => (host === undefined ? summarizePlan(planFor(spec, arch)) : inFull(planFor(spec, arch, host))));
    assert.equal(texts[1], texts[0], "calls and flags are told by name, so the machines do not differ");
    golden(`${name}.txt`, texts[0]!);
  });
}

/** Of the container lane these differ only in how it comes into its cgroups. */
const hostLane = (plan: Plan) => inFull(plan).split("container lane:")[0]!;

test("limits on v2 are one directory, its controllers, a filter for devices and files", [], () => {
  golden("limits.v2.txt", hostLane(planFor(bundleSpec("limits"), "x86_64", "v2")));
});

test("with systemd's driver the cgroups come after the clone, on either version", [], () => {
  const spec = bundleSpec("limits");
  golden("systemd.v1.txt", summarizePlan(planFor(spec, "x86_64", "v1", { systemd: "scope" })));
  golden("systemd.v2.txt", hostLane(planFor(spec, "x86_64", "v2", { systemd: "scope" })));
});

test("the plan of exec is the one in tests/golden, the same on both machines", [], () => {
  const process = bundleSpec("hello").process!;
  const texts = ARCHES.map((arch) => inFull(planExec(process, factsOf(arch), execRequestOf())));
  assert.equal(texts[1], texts[0]);
  golden("exec.txt", texts[0]!);
});

test("the plans of mounts in a running container are those in tests/golden, the same on both machines", [], () => {
  const mounts = [
    { destination: "/data", source: "/srv/data", options: ["rbind", "ro"] },
    { destination: "/scratch", source: "tmpfs", type: "tmpfs", options: ["size=64k"] },
  ];
  const request = { id: "box", bundle: "/bundle", annotated: {}, joinsUser: true };
  const user = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
  const linux = { namespaces: [{ type: "user" }], uidMappings: user, gidMappings: user };
  const texts = ARCHES.map((arch) => {
    const facts = factsOf(arch);
    const plans = [planAddMounts({ mounts, linux }, facts, request), planRemoveMounts(mounts, facts, request)];
    return plans.map(inFull).join("\n");
  });
  assert.equal(texts[1], texts[0]);
  golden("live_mounts.txt", texts[0]!);
});

test("a unit's subgroup and a delegated cgroup below it are entered before their controllers are enabled", [], () => {
  const annotated = { subgroup: "container", delegatedCgroup: "own" };
  golden("subgroups.v2.txt", hostLane(planFor(bundleSpec("userns"), "x86_64", "v2", { systemd: "scope", annotated })));
});
