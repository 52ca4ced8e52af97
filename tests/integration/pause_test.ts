/** pause and resume, and what other commands do with a paused container. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroups"] as const;
/** Writes a line now and then, so that one can see whether it runs. */
const TICKS = "while :; do echo tick >> /tmp/ticks; sleep 0.02; done";

const ticking = () => Box.create({ script: TICKS, config: (c) => (c.root.readonly = false) });
const ticks = (box: Box) => Deno.readTextFile(`${box.rootfs}/tmp/ticks`).then((text) => text.length, () => 0);

async function ticksOn(box: Box): Promise<void> {
  const before = await ticks(box);
  await until("the container runs", async () => (await ticks(box)) > before);
}

test("pause stops every process of a container where it is, resume lets them go on", NEEDS, async () => {
  await using box = await ticking();
  await box.ok(["run", "-d", box.id]);
  await ticksOn(box);
  assert.deepEqual(await box.ok(["pause", box.id]), { status: 0, stdout: "", stderr: "" });
  assert.equal((await box.state()).status, "paused");
  const frozen = await ticks(box);
  // Long enough for several ticks.
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(await ticks(box), frozen);
  await box.ok(["resume", box.id]);
  assert.equal((await box.state()).status, "running");
  await ticksOn(box);
});

test("a created container can be paused, and is created again when it is resumed", NEEDS, async () => {
  await using box = await ticking();
  await box.ok(["create", box.id]);
  await box.ok(["pause", box.id]);
  const start = await box.runk(["start", box.id]);
  assert.match(start.stderr, /cannot start a container in the paused state/);
  await box.ok(["resume", box.id]);
  assert.equal((await box.state()).status, "created");
  await box.ok(["start", box.id]);
  await ticksOn(box);
});

test("pause of a paused or stopped and resume of a running container fail in runc's words", NEEDS, async () => {
  await using box = await ticking();
  await box.ok(["run", "-d", box.id]);
  const resume = await box.runk(["resume", box.id]);
  assert.equal(resume.status, 1);
  assert.match(resume.stderr, /container not paused/);
  await box.ok(["pause", box.id]);
  const again = await box.runk(["pause", box.id]);
  assert.equal(again.status, 1);
  assert.match(again.stderr, /container not running/);
  await box.ok(["kill", box.id, "KILL"]);
  await until("the container is stopped", async () => (await box.state()).status === "stopped");
  assert.match((await box.runk(["pause", box.id])).stderr, /container not running/);
  assert.match((await box.runk(["pause", "nobody"])).stderr, /container does not exist/);
});

test(
  "a paused container refuses exec and delete; kill with KILL ends it, and so does delete --force",
  NEEDS,
  async () => {
    await using box = await ticking();
    for (const end of [["kill", box.id, "KILL"], ["delete", "--force", box.id]]) {
      await box.ok(["run", "-d", box.id]);
      await box.ok(["pause", box.id]);
      assert.match((await box.runk(["exec", box.id, "true"])).stderr, /cannot exec in a paused container/);
      const refused = await box.runk(["delete", box.id]);
      assert.match(refused.stderr, /cannot delete container \S+ that is not stopped: paused/);
      const { pid } = await box.state();
      await box.ok(end);
      await until("its process is gone", () => {
        try {
          return /\) Z /.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
        } catch {
          return true;
        }
      });
      await box.ok(["delete", "--force", box.id]);
    }
  },
);

test("pause of someone who may not have all rights over cgroups warns, in runc's words", NEEDS, async () => {
  await using box = await ticking();
  await box.ok(["run", "-d", box.id]);
  const { stderr } = await box.ok(["--rootless=true", "pause", box.id]);
  assert.match(stderr, /level=warning msg="runk pause may fail if you don't have the full access to cgroups"/);
});

test("another signal than KILL waits in a paused container", NEEDS, async () => {
  await using box = await Box.create({
    script: "trap 'echo got it > /tmp/signal; exit 0' USR1; echo > /tmp/ready; while :; do sleep 0.02; done",
    config: (c) => (c.root.readonly = false),
  });
  const file = (name: string) => Deno.readTextFile(`${box.rootfs}/tmp/${name}`).catch(() => undefined);
  await box.ok(["run", "-d", box.id]);
  await until("the trap is set", async () => (await file("ready")) !== undefined);
  await box.ok(["pause", box.id]);
  await box.ok(["kill", box.id, "USR1"]);
  assert.equal((await box.state()).status, "paused");
  assert.equal(await file("signal"), undefined);
  await box.ok(["resume", box.id]);
  await until("the signal arrived", async () => (await file("signal")) === "got it\n");
});

test("a container whose processes never stop forking is paused all the same", NEEDS, async () => {
  await using box = await Box.create({
    script: "for i in 1 2 3 4; do (while :; do true; (true); done) & done; exec sleep 1000",
    config: (c) => (c.linux.resources.cpu = { quota: 50000, period: 100000 }),
  });
  await box.ok(["run", "-d", box.id]);
  for (let i = 0; i < 3; i++) {
    await box.ok(["pause", box.id]);
    assert.equal((await box.state()).status, "paused");
    await box.ok(["resume", box.id]);
  }
});
