/**
 * Many containers at once, and nothing left of them. RUNK_MANY says how many; without it a few, to keep the suite short.
 */
import assert from "node:assert/strict";
import { create, prepare } from "../../src/container/create.ts";
import { deleteContainer } from "../../src/container/delete.ts";
import type { Runtime } from "../../src/container/runtime.ts";
import { poll } from "../../ffi/poll.ts";
import { Box } from "../support/box.ts";
import { exists, test } from "../support/test.ts";

const NEEDS = ["root", "cgroups"] as const;
const COUNT = Number(Deno.env.get("RUNK_MANY") ?? 24);
const BATCH = 12;

/** What the machine's own cgroups say that creating containers could change. */
function ownCgroups(): Record<string, string> {
  const files = [
    ...["cpuset.cpus", "cpuset.mems", "notify_on_release", "cgroup.clone_children"].map((name) => `cpuset/${name}`),
    ...["devices/devices.list", "memory/memory.limit_in_bytes", "unified/cgroup.subtree_control", "cpu/cpu.shares"],
    ...["cgroup.max.depth", "cgroup.max.descendants", "cgroup.controllers", "cpuset.cpus.effective"],
  ].map((name) => `/sys/fs/cgroup/${name}`).filter(exists);
  return Object.fromEntries(files.map((file) => [file, Deno.readTextFileSync(file)]));
}

test(
  `${COUNT} containers, ${BATCH} at a time, are created, started and deleted, and nothing is left`,
  NEEDS,
  async () => {
    const before = ownCgroups();
    // Of cgroups, mounts, processes and state nothing is left: the box looks.
    await using box = await Box.create({
      config: (c) => {
        c.process.args = ["sleep", "1000"];
        c.linux.resources.pids = { limit: 10 };
        c.linux.resources.memory = { limit: 33554432 };
      },
    });
    const started = performance.now();
    for (let made = 0; made < COUNT; made += BATCH) {
      const ids = Array.from({ length: Math.min(BATCH, COUNT - made) }, (_, i) => `${box.id}-${made + i}`);
      await Promise.all(ids.map((id) => box.ok(["create", id])));
      // Of each kind of end some: deleted as created, and as running.
      await Promise.all(ids.map(async (id, i) => {
        if (i % 2 === 0) await box.ok(["start", id]);
        await box.ok(["delete", "--force", id]);
      }));
    }
    console.log(`${COUNT} containers in ${((performance.now() - started) / 1000).toFixed(1)} s`);
    assert.deepEqual(ownCgroups(), before, "the machine's own cgroups are as they were");
  },
);

test("a process that makes and deletes containers itself keeps no descriptor of them", NEEDS, async () => {
  await using box = await Box.create({ config: (c) => (c.process.args = ["sleep", "1000"]) });
  const runtime: Runtime = {
    root: box.root,
    planCache: undefined,
    poll,
    program: "runk",
    environment: () => [],
    warn: (message) => assert.fail(message),
    debug: undefined,
  };
  const one = async (id: string) => {
    const prepared = await prepare(runtime, {
      id,
      bundle: box.directory,
      attended: false,
      gate: "fifo",
      cgroupManager: "cgroupfs",
    });
    await create(runtime, prepared, { inputs: {} });
    await deleteContainer(runtime, id, { force: true });
  };
  const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
  // The first one opens what stays open: libc, the pool's threads.
  await one(`${box.id}-first`);
  const before = descriptors();
  for (let i = 0; i < 10; i++) await one(`${box.id}-${i}`);
  assert.equal(descriptors(), before);
});
