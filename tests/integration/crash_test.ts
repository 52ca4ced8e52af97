/** kill -9 of runk at any moment: `delete --force` finds what it had made, and nothing is left. Box checks the nothing. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;

/** Starts runk by itself, so that its pid is the one to kill. */
const start = (box: Box, args: readonly string[]) =>
  new Deno.Command(RUNK, {
    args: ["--root", box.root, ...args],
    cwd: box.directory,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();

/** Kills runk so many milliseconds after its start; true when it was still there. */
async function killAfter(box: Box, args: readonly string[], delay: number): Promise<boolean> {
  const child = start(box, args);
  // Busy in small steps: timers alone are too coarse for a start that takes 30 ms.
  const end = performance.now() + delay;
  while (performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 0));
  try {
    child.kill("SIGKILL");
  } catch {
    // it has ended
  }
  return (await child.status).signal === "SIGKILL";
}

/** How long a whole create takes here and now, in milliseconds. */
async function duration(box: Box, args: readonly string[]): Promise<number> {
  await start(box, args).status;
  await box.ok(["delete", "--force", box.id]);
  const begin = performance.now();
  await start(box, args).status;
  const end = performance.now();
  await box.ok(["delete", "--force", box.id]);
  return end - begin;
}

/** What delete --force must have removed; the executor that a killed runk leaves may take a moment to see it. */
async function assertGone(box: Box, when: string): Promise<void> {
  await box.ok(["delete", "--force", box.id]);
  assert.ok(!exists(`${box.root}/${box.id}`), `state is left after a kill ${when}`);
  const cgroups = ["", "cpu/", "memory/", "devices/", "freezer/", "pids/", "systemd/", "unified/"].map((hierarchy) =>
    `/sys/fs/cgroup/${hierarchy}${box.id}`
  );
  await until(`cgroups are gone after a kill ${when}`, () => !cgroups.some(exists));
  await until(`processes are gone after a kill ${when}`, () => processesOf(box).length === 0);
}

/** Processes that work in the box, or are runk's init of it. */
function processesOf({ directory, id }: Box): string[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => name).filter((name) => {
    try {
      if (!/^\d+$/.test(name)) return false;
      const stat = Deno.readTextFileSync(`/proc/${name}/stat`);
      if (stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z")) return false;
      return ["root", "cwd"].some((link) => Deno.readLinkSync(`/proc/${name}/${link}`).startsWith(directory)) ||
        Deno.readTextFileSync(`/proc/${name}/cgroup`).includes(id);
    } catch {
      return false;
    }
  });
}

const MOMENTS = 12;

for (const [command, ...options] of [["create"], ["run", "-d"], ["run"]]) {
  test(
    `${[command, ...options].join(" ")} killed at any of ${MOMENTS} moments leaves what delete --force removes`,
    ROOT,
    async () => {
      await using box = await Box.create({
        script: "sleep 100",
        config: (c) => c.linux.resources.memory = { limit: 64 << 20 },
      });
      const args = [command!, ...options, box.id];
      // A run in the foreground does not end by itself.
      const whole = await duration(box, command === "run" ? ["run", "-d", box.id] : args);
      let killed = 0;
      for (let i = 0; i < MOMENTS; i++) {
        const delay = whole * (0.25 + i / MOMENTS);
        if (await killAfter(box, args, delay)) killed++;
        await assertGone(box, `${delay.toFixed(1)} ms after the start, of ${whole.toFixed(1)}`);
      }
      assert.ok(killed > 0, "some were killed before their end");
    },
  );
}

test("a delete that is killed is finished by the next", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  await box.ok(["run", "-d", box.id]);
  const begin = performance.now();
  await box.ok(["delete", "--force", box.id]);
  const whole = performance.now() - begin;
  for (let i = 0; i < 8; i++) {
    await box.ok(["run", "-d", box.id]);
    await killAfter(box, ["delete", "--force", box.id], whole * (0.3 + i / 10));
    await assertGone(box, "of delete");
  }
});

test("an id is free again after a create that was killed and deleted", ROOT, async () => {
  await using box = await Box.create({ script: "echo works" });
  const whole = await duration(box, ["create", box.id]);
  await killAfter(box, ["create", box.id], whole * 0.8);
  await box.ok(["delete", "--force", box.id]);
  assert.equal((await box.ok(["run", box.id])).stdout, "works\n");
});

test("a container whose starter was killed while its hook ran is not there, and its hook has ended", ROOT, async () => {
  await using box = await Box.create();
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["true"];
    const script = `: > ${box.directory}/in; exec sleep 100`;
    c.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", script], env: ["PATH=/bin:/usr/bin"] }] };
  });
  for (const kind of ["createRuntime", "createContainer"]) {
    if (kind === "createContainer") {
      await box.write((c) => {
        const { hooks, process } = JSON.parse(Deno.readTextFileSync(`${box.directory}/config.json`));
        c.process = process;
        c.hooks = { createContainer: hooks.createRuntime };
      });
    }
    await Deno.remove(`${box.directory}/in`).catch(() => {});
    const child = start(box, ["create", box.id]);
    await until("the hook runs", () => exists(`${box.directory}/in`));
    child.kill("SIGKILL");
    await child.status;
    await until("hook and init have ended", () => processesOf(box).length === 0);
    await assertGone(box, `in ${kind}`);
  }
});
