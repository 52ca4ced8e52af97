/**
 * Steps of adding mounts to a running container are made to fail: none of its mounts may stay. One step in STRIDE is
 * tried; RUNK_TEST_EVERY_STEP=1 tries them all.
 */
import assert from "node:assert/strict";
import { poll } from "../../ffi/poll.ts";
import { pidfdOpen } from "../../ffi/process.ts";
import { probeHost } from "../../src/host/probe.ts";
import { assemble } from "../../src/init/assemble.ts";
import { carryOut } from "../../src/init/carry_out.ts";
import { StepError } from "../../src/init/drive.ts";
import { planAddMounts } from "../../src/plan/mounts.ts";
import type { Spec } from "../../src/spec/schema.ts";
import { Box } from "../support/box.ts";
import { withFault } from "../support/fault.ts";
import { descriptors } from "../support/machine.ts";
import { test } from "../support/test.ts";

const STRIDE = Deno.env.get("RUNK_TEST_EVERY_STEP") === "1" ? 1 : 7;
const user = { containerID: 0, hostID: 100_000, size: 65_536 };
const mounts = [
  { destination: "/data", source: "rootfs/etc", options: ["rbind", "ro", "rslave"] },
  { destination: "/new/file", source: "config.json", options: ["bind", "ro", "rnosuid"] },
  { destination: "/new/tmp", source: "tmpfs", type: "tmpfs", options: ["ro"] },
];

for (const joinsUser of [false, true]) {
  const name = joinsUser ? " with a user namespace" : "";
  test(`no mount of several stays in a container${name} when a step fails`, ["root", "cgroups"], async () => {
    await using box = await Box.create({
      script: "sleep 1000",
      config: (c) => {
        c.root.readonly = false;
        if (!joinsUser) return;
        c.linux.namespaces.push({ type: "user" });
        c.linux.uidMappings = c.linux.gidMappings = [user];
      },
    });
    if (joinsUser) await Deno.chown(box.rootfs, user.hostID, user.hostID);
    await box.ok(["run", "--detach", box.id]);
    const { pid } = await box.state();
    using init = pidfdOpen(pid);
    const spec: Spec = {
      mounts,
      linux: joinsUser ? { namespaces: [{ type: "user" }], uidMappings: [user], gidMappings: [user] } : {},
    };
    const plan = planAddMounts(spec, probeHost(), { id: box.id, bundle: box.directory, annotated: {}, joinsUser });
    const image = assemble(plan, false);
    const mountinfo = () => Deno.readTextFileSync(`/proc/${pid}/mountinfo`);
    const before = mountinfo();
    const attempt = (index: number) =>
      carryOut(image, {
        ...{ argv: ["runk", "init"], inputs: { init }, directory: box.directory, plan: () => plan, poll },
        patch: (image) => withFault(image, index, "fails"),
      });
    await attempt(0).catch(() => {});
    const open = descriptors().length;
    // Of the undo itself every step is needed.
    const end = plan.steps.findLastIndex(({ lane, call }) => lane === "container" && call === "exit_group");
    const last = plan.steps.findIndex(({ lane, call }, i) => lane === "container" && call === "exit_group" && i < end);
    let failed = 0;
    for (let index = 0; index < last; index += STRIDE) {
      const { call, op, task } = plan.steps[index]!;
      const where = `step ${index} (${call ?? op}: ${task.why})`;
      try {
        await attempt(index);
        // A step that this container does not come to: what it made goes by hand.
        await box.ok(["mounts", "remove", box.id, "-"], { stdin: JSON.stringify(mounts) });
      } catch (error) {
        if (!(error instanceof StepError)) throw error;
        failed++;
      }
      assert.equal(mountinfo(), before, `after ${where} failed`);
      assert.equal(descriptors().length, open, `after ${where} failed`);
    }
    assert.ok(failed > last / STRIDE / 2, `${failed} of ${last} steps failed`);
  });
}
