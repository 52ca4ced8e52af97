/** What users of other runtimes have and runc lacks. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { exists, test } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;

test("--config names another config than the bundle's, for plan, run, create and a later exec", ROOT, async () => {
  await using box = await Box.create();
  const config = JSON.parse(await Deno.readTextFile(`${box.directory}/config.json`));
  const other = {
    ...config,
    hostname: "other",
    process: { ...config.process, args: ["hostname"], env: ["PATH=/bin", "A=b"] },
  };
  await Deno.remove(`${box.directory}/config.json`);
  await Deno.writeTextFile(`${box.directory}/other.json`, JSON.stringify(other));
  assert.equal((await box.ok(["run", "--config", "other.json", box.id])).stdout, "other\n");
  assert.match((await box.ok(["plan", "-f", "other.json", box.id])).stdout, /other/);
  other.process.args = ["sleep", "1000"];
  await Deno.writeTextFile(`${box.directory}/other.json`, JSON.stringify(other));
  await box.ok(["run", "--detach", "-f", "other.json", box.id]);
  assert.match((await box.ok(["exec", box.id, "env"], { cwd: "/" })).stdout, /^A=b$/m);
  const missing = await box.runk(["run", "--config", "missing.json", `${box.id}-2`]);
  assert.equal(missing.status, 1);
  assert.match(missing.stderr, /cannot read .*missing.json: no such file or directory/);
});

test("delete --regex deletes the containers that it matches as a whole, and names those that stay", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  const ids = ["job-1", "job-22", "job-x", "my-job-3"].map((name) => `${box.id}-${name}`);
  for (const id of ids.slice(0, 1)) await box.ok(["create", id]);
  for (const id of ids.slice(1)) await box.ok(["run", "--detach", id]);
  const running = await box.runk(["delete", "--regex", `${box.id}-job-[0-9]+`]);
  assert.equal(running.status, 1);
  assert.match(running.stderr, new RegExp(`not deleted: ${ids[1]}: cannot delete container .* that is not stopped`));
  assert.ok(!exists(`${box.root}/${ids[0]}`), "the created one is gone");
  await box.ok(["delete", "--force", "-r", `${box.id}-job-[0-9]+`]);
  assert.deepEqual((await box.ok(["list", "--quiet"])).stdout.trim().split("\n"), ids.slice(2));
  await box.ok(["delete", "--regex", "none.*"]);
  const wrong = await box.runk(["delete", "--regex", "(", box.id]);
  assert.equal(wrong.status, 1);
  const unclosed = await box.runk(["delete", "--regex", "("]);
  assert.match(unclosed.stderr, /is not a regular expression/);
});
