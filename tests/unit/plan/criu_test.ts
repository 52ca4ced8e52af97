/** The plans that start criu: on every kind of host they keep the rules of plans. */
import assert from "node:assert/strict";
import { describePlan } from "../../../src/plan/describe.ts";
import { criuInput, planCriu, planRestore } from "../../../src/plan/criu.ts";
import { bundleSpec, factsOf, requestOf } from "../../support/plans.ts";
import { test } from "../../support/test.ts";

const CRIU = {
  program: "/usr/sbin/criu",
  environment: ["PATH=/usr/sbin"],
  images: "/images",
  work: "/work",
  descriptors: 1,
};

/** The calls of a plan that match, in order. */
const calls = (text: string, pattern: RegExp) =>
  text.split("\n").map((line) => line.replace(/^ *\d+ /, "").trim()).filter((line) => pattern.test(line));

test("criu gets its socket as 3, its directories behind it, then what it is given, and nothing else", [], () => {
  for (const arch of ["x86_64", "aarch64"] as const) {
    const plan = planCriu(factsOf(arch, "v1"), CRIU);
    assert.deepEqual([...plan.inputs.keys()].slice(1), [criuInput(0)]);
    const text = describePlan(plan);
    assert.deepEqual(calls(text, /^dup3/), [
      "dup3(<criu's socket>, 3)",
      "dup3(images, 4)",
      "dup3(work, 5)",
      "dup3(<descriptor 0 for criu>, 6)",
    ]);
    assert.equal(calls(text, /^close_range\(7, .*cloexec/).length, 1);
    assert.equal(calls(text, /^execve\("\/usr\/sbin\/criu"/).length, 1);
  }
});

for (const version of ["v1", "v2"] as const) {
  test(`a restore's criu is in the container's cgroups (${version}), and mounts in a namespace of its own`, [], () => {
    for (const bundle of ["hello", "mounts", "limits", "userns", "hooks", "tty"]) {
      const spec = bundleSpec(bundle);
      const facts = factsOf("x86_64", version);
      const text = describePlan(
        planRestore(spec, facts, requestOf(spec, facts), { ...CRIU, root: "/state/criu-root" }),
      );
      assert.match(text, /clone3\(.*newns/, bundle);
      assert.match(text, version === "v2" ? /into_cgroup/ : /write\(file, "0", 1\)/, bundle);
      assert.equal(calls(text, /^move_mount\(rootfs, "", cwd, "\/state\/criu-root"/).length, 2, bundle);
      assert.equal(calls(text, /^umount2\("\/state\/criu-root", detach\)/).length, 1, bundle);
    }
  });
}
