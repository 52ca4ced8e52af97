/** The cgroups of a process that enters a container, and a limit that it meets there. */
import assert from "node:assert/strict";
import { newId } from "../support/box.ts";
import { FAILURE, output, sleeping } from "../support/exec.ts";
import { run } from "../support/runk.ts";
import { test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const V1 = ["root", "cgroup1"] as const;
const V2 = ["root", "cgroup2"] as const;

test("on v1 --cgroup puts the process into sub-cgroups of the container's, and nowhere else", V1, async () => {
  await using box = await sleeping((config) => (config.linux.cgroupsPath = `/runk-test-${Deno.pid}-sub-${newId()}`));
  const path = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`)).config.cgroups.path;
  const own = async (...flags: string[]) => {
    const lines = (await output(box, ...flags, box.id, "cat", "/proc/self/cgroup")).trim().split("\n");
    return new Map(lines.map((line) => line.split(":").slice(1) as [string, string]));
  };
  assert.equal((await own()).get("cpu"), path);
  assert.equal((await own("--cgroup", "/")).get("pids"), path);
  Deno.mkdirSync(`/sys/fs/cgroup/cpu${path}/below`);
  const some = await own("--cgroup", "cpu:below");
  assert.deepEqual([some.get("cpu"), some.get("pids")], [`${path}/below`, path]);
  for (const controller of ["memory", "pids"]) {
    const state = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`));
    Deno.mkdirSync(`${state.cgroup_paths[controller]}/two`);
  }
  const two = await own("--cgroup", "memory,pids:two", "--cgroup", "cpu:below");
  assert.deepEqual([two.get("pids"), two.get("cpu")], [`${path}/two`, `${path}/below`]);
  const wrong: [args: string[], words: RegExp][] = [
    [["--cgroup", ".."], /bad sub cgroup path: \.\./],
    [["--cgroup", "cpu:../../x"], /bad sub cgroup path/],
    [["--cgroup", "nonexistent"], / adding pid .*no such file or directory/],
    [["--cgroup", "cpu:nonexistent"], / adding pid .*cpu.*nonexistent.*no such file or directory/],
    [["--cgroup", "whaaat:/"], /unknown controller whaaat/],
    [["--cgroup", "cpu:below", "--cgroup", "x"], /invalid --cgroup argument: x \(missing <controller>: prefix\)/],
    [["--cgroup", ",cpu:below"], /invalid --cgroup argument: ,cpu:below \(empty <controller> prefix\)/],
    [["--cgroup", "cpu:/", "--cgroup", "cpu:/"], /controller cpu specified multiple times/],
  ];
  for (const [args, words] of wrong) {
    const { status, stderr } = await box.runk(["exec", ...args, box.id, "true"]);
    assert.equal(status, FAILURE);
    assert.match(stderr, words);
  }
});

test("on v2 --cgroup takes one path below the container's cgroup", V2, async () => {
  await using box = await sleeping();
  const state = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`));
  const own: string = state.cgroup_paths[""];
  Deno.mkdirSync(`${own}/below`);
  const cgroup = (...flags: string[]) => output(box, ...flags, box.id, "cat", "/proc/self/cgroup");
  // Seen from the container's own cgroup namespace.
  assert.equal(await cgroup(), "0::/\n");
  assert.equal(await cgroup("--cgroup", "/"), "0::/\n");
  assert.equal(await cgroup("--cgroup", "below"), "0::/below\n");
  const wrong: [args: string[], words: RegExp][] = [
    [["--cgroup", ".."], /bad sub cgroup path: \.\./],
    [["--cgroup", "nonexistent"], / cgroup.*no such file or directory/],
    [["--cgroup", "memory:below"], /unknown controller memory/],
  ];
  for (const [args, words] of wrong) {
    const { status, stderr } = await box.runk(["exec", ...args, box.id, "true"]);
    assert.equal(status, FAILURE);
    assert.match(stderr, words);
  }
});

test("when the container has moved below its unified cgroup, exec follows", ROOT, async () => {
  await using box = await sleeping();
  const state = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`));
  const unified: string | undefined = state.cgroup_paths[""];
  const controllers = unified && Deno.readTextFileSync(`${unified}/cgroup.controllers`).trim().split(" ");
  if (unified === undefined || !controllers?.[0]) {
    return console.log("not tested: moved containers, because no unified hierarchy has a controller");
  }
  Deno.mkdirSync(`${unified}/moved`);
  Deno.writeTextFileSync(`${unified}/moved/cgroup.procs`, String(state.init_process_pid));
  Deno.writeTextFileSync(`${unified}/cgroup.subtree_control`, `+${controllers[0]}`);
  const cgroup = await output(box, box.id, "grep", "^0::", "/proc/self/cgroup");
  assert.match(cgroup, /\/moved\n$/);
  const asked = await box.runk(["exec", "--cgroup", "/", box.id, "true"]);
  assert.equal(asked.status, FAILURE, "what was asked for is not exchanged for something else");
  assert.match(asked.stderr, / adding pid .* to cgroups.*device or resource busy/);
});

test("exec of a process that ends early says when memory ran out meanwhile", V1, async () => {
  await using box = await sleeping((config) => (config.linux.resources.memory = { limit: 16 * 1024 * 1024 }));
  const state = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`));
  const { freezer, memory } = state.cgroup_paths;
  await box.ok(["pause", box.id]);
  // The process freezes on its way in. Meanwhile someone else uses all memory up, and then it is killed.
  const waiting = box.runk(["exec", "--ignore-paused", box.id, "true"]);
  const pid = await until("the process is on its way in", async () => {
    const pids = (await Deno.readTextFile(`${freezer}/cgroup.procs`)).trim().split("\n").map(Number);
    return pids.find((pid) => pid !== state.init_process_pid);
  });
  const hungry = await run("sh", ["-c", `echo $$ > ${memory}/cgroup.procs && exec tail /dev/zero`]);
  assert.equal(hungry.status, 137, hungry.stderr);
  Deno.kill(pid!, "SIGKILL");
  await box.ok(["resume", box.id]);
  const { status, stderr } = await waiting;
  assert.equal(status, FAILURE);
  assert.match(
    stderr,
    /unable to start container process: the container's process has ended early \(possibly OOM-killed\)/,
  );
});
