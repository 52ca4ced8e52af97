/** The clock jumps, back and forth, under containers and under a runk that waits. Only where the machine is the test's own. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { RUNK } from "../support/runk.ts";
import { test, until } from "../support/test.ts";
import { ok } from "./guest.ts";

const DAY = 86_400;
const AMONG_VMS = "file:/sbin/plain-init";

/** Sets the clock, and sets it right again when it is disposed of. */
class Clock implements AsyncDisposable {
  readonly #start = Date.now() / 1000 - performance.now() / 1000;

  /** Sets it so many seconds off. */
  async jump(seconds: number): Promise<void> {
    await ok("date", "-s", `@${Math.round(this.#start + performance.now() / 1000 + seconds)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.jump(0);
  }
}

test("a clock that jumps changes nothing for containers, nor for a runk that waits", ["root", AMONG_VMS], async () => {
  await using clock = new Clock();
  await using box = await Box.create({ script: "sleep 1000" });
  await box.ok(["run", "--detach", box.id]);
  const events = new Deno.Command(RUNK, {
    args: ["--root", box.root, "events", "--interval", "200ms", box.id],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let lines = 0;
  const reading = events.stdout.pipeThrough(new TextDecoderStream()).pipeTo(
    new WritableStream({ write: (text) => void (lines += text.split("\n").length - 1) }),
  );
  const goOn = async (when: string) => {
    const before = lines;
    await until(`statistics come ${when}`, () => lines > before + 2);
  };
  await goOn("before the clock jumps");
  await clock.jump(-400 * DAY);
  await goOn("after a jump back");
  assert.equal((await box.state()).status, "running");
  const other = `${box.id}-other`;
  await box.ok(["create", other]);
  await clock.jump(400 * DAY);
  await goOn("after a jump ahead");
  assert.equal((await box.ok(["exec", box.id, "echo", "inside"])).stdout, "inside\n");
  await box.ok(["start", other]);
  await box.ok(["delete", "--force", other]);
  await box.ok(["kill", box.id, "KILL"]);
  assert.equal((await events.status).code, 0);
  await reading;
  await box.ok(["delete", box.id]);
});
