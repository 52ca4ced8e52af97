/** ps: the processes of a container, by the host's ps and as JSON. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { cgroupPaths, move } from "../support/cgroups.ts";
import { exists, test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroups", "command:ps"] as const;

const running = () => Box.create({ script: "sleep 1001 & sleep 1002 & wait" });
const pids = async (box: Box): Promise<number[]> =>
  JSON.parse((await box.ok(["ps", "-f", "json", box.id])).stdout) ?? [];

test("ps shows the processes of a container, and no others", NEEDS, async () => {
  await using box = await running();
  await box.ok(["run", "-d", box.id]);
  await until("both sleep", async () => (await pids(box)).length === 3);
  const [header, ...lines] = (await box.ok(["ps", box.id])).stdout.trimEnd().split("\n");
  assert.match(header!, /^UID +PID +PPID/);
  assert.equal(lines.length, 3);
  assert.ok(lines.some((line) => line.endsWith("sleep 1001")));
  const { pid } = await box.state();
  assert.ok((await pids(box)).includes(pid));
});

test("options of ps are passed on, and the PID column is found where it is", NEEDS, async () => {
  await using box = await running();
  await box.ok(["run", "-d", box.id]);
  await until("both sleep", async () => (await pids(box)).length === 3);
  const { stdout } = await box.ok(["ps", box.id, "-e", "-o", "args,pid,rss"]);
  const [header, ...lines] = stdout.trimEnd().split("\n");
  assert.match(header!, /^COMMAND +PID +RSS$/);
  const shown = lines.map((line) => Number(line.trim().split(/\s+/).at(-2)));
  assert.deepEqual(shown.toSorted(), (await pids(box)).toSorted(), "a command of several words is in front of the pid");
  const without = await box.runk(["ps", box.id, "-e", "-o", "args"]);
  assert.equal(without.status, 1);
  assert.match(without.stderr, /couldn't find PID field in ps output/);
  const wrong = await box.runk(["ps", box.id, "--nonsense"]);
  assert.equal(wrong.status, 1);
  assert.match(wrong.stderr, /exit status 1: /);
  assert.match((await box.runk(["ps", "-f", "yaml", box.id])).stderr, /invalid format option/);
});

test("ps counts processes in cgroups below the container's, too", NEEDS, async () => {
  await using box = await running();
  await box.ok(["run", "-d", box.id]);
  await until("both sleep", async () => (await pids(box)).length === 3);
  const paths = cgroupPaths(box);
  const directory = `${paths["devices"] ?? paths[""]}/below`;
  Deno.mkdirSync(directory);
  move((await box.state()).pid, directory);
  assert.equal((await pids(box)).length, 3);
  await box.ok(["delete", "--force", box.id]);
  assert.ok(!exists(directory), "cgroups below are removed with the container");
});

test("a stopped container has no processes", NEEDS, async () => {
  await using box = await Box.create({ script: "true" });
  await box.ok(["run", "--keep", box.id]);
  assert.equal((await box.ok(["ps", "--format", "json", box.id])).stdout, "null\n");
  assert.equal((await box.ok(["ps", box.id])).stdout.split("\n").length, 2);
});
