/** Plans that were kept: which are believed. Whoever could write one would have their own system calls made. */
import assert from "node:assert/strict";
import { type CachedPlan, loadPlan, nameOf } from "../../../src/state/plan_cache.ts";
import { savePlan } from "../../../src/state/plan_keeping.ts";
import { test } from "../../support/test.ts";

const KEY = '["build",{"spec":{}}]';
const PLAN: CachedPlan = {
  relocatable: {
    image: new Uint8Array([1, 2, 3]),
    texts: ["a"],
    json: [],
    addresses: [],
    sizes: [],
    inputs: { report: 8 },
    end: 3,
    messages: [],
  },
  warnings: ["mind this"],
};

async function withCache(body: (directory: string) => void | Promise<void>): Promise<void> {
  const above = await Deno.makeTempDir();
  try {
    savePlan(`${above}/plans`, KEY, PLAN);
    await body(`${above}/plans`);
  } finally {
    await Deno.remove(above, { recursive: true });
  }
}

test("a plan that was kept is found under its key, by no one else", [], async () => {
  await withCache((directory) => {
    assert.deepEqual(loadPlan(directory, KEY), PLAN);
    assert.equal(loadPlan(directory, KEY + " "), undefined);
    assert.equal(Deno.statSync(directory).mode! & 0o777, 0o700);
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), [nameOf(KEY)], "no draft is left");
    assert.equal(Deno.statSync(`${directory}/${nameOf(KEY)}`).mode! & 0o777, 0o600);
  });
});

test("an entry counts for the key that is written in it, whatever it is called", [], async () => {
  await withCache(async (directory) => {
    const other = '["build",{"spec":{"root":{}}}]';
    await Deno.rename(`${directory}/${nameOf(KEY)}`, `${directory}/${nameOf(other)}`);
    assert.equal(loadPlan(directory, other), undefined);
  });
});

test(
  "a directory that others may write to, or that a link leads to, holds no plan to be believed, and gets none",
  [],
  async () => {
    await withCache(async (directory) => {
      for (const mode of [0o777, 0o770, 0o702]) {
        await Deno.chmod(directory, mode);
        assert.equal(loadPlan(directory, KEY), undefined, mode.toString(8));
      }
      savePlan(directory, "another", PLAN);
      await Deno.chmod(directory, 0o700);
      assert.equal([...Deno.readDirSync(directory)].length, 1);
      await Deno.symlink(directory, `${directory}-link`);
      assert.equal(loadPlan(`${directory}-link`, KEY), undefined);
      savePlan(`${directory}-link`, "another", PLAN);
      assert.equal([...Deno.readDirSync(directory)].length, 1);
    });
  },
);

test("a directory of another user's holds no plan to be believed", ["root"], async () => {
  await withCache(async (directory) => {
    await Deno.chown(directory, 1000, 1000);
    assert.equal(loadPlan(directory, KEY), undefined);
    savePlan(directory, "another", PLAN);
    assert.equal([...Deno.readDirSync(directory)].length, 1);
  });
});

test("the plans that are kept take no more than 64 MB", [], async () => {
  await withCache((directory) => {
    const image = new Uint8Array(1024 * 1024);
    savePlan(directory, "large", { ...PLAN, relocatable: { ...PLAN.relocatable, image } });
    assert.equal(loadPlan(directory, "large"), undefined);
    for (let i = 0; i < 70; i++) savePlan(directory, `${KEY}${i}`, PLAN);
    assert.equal([...Deno.readDirSync(directory)].length, 64);
    assert.deepEqual(loadPlan(directory, `${KEY}69`), PLAN, "the newest is there");
  });
});
