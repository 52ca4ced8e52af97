/** The live table of `events`. */
import assert from "node:assert/strict";
import type { CgroupStats } from "../../../src/cgroup/stats.ts";
import { size, tablePrinter } from "../../../src/commands/events_table.ts";
import { SortedMap } from "../../../src/spec/json.ts";
import { test } from "../../support/test.ts";

const stats = (cpuTime: bigint, memory: bigint): CgroupStats => ({
  cpu: { usage: { total: cpuTime, kernel: 0n, user: 0n } },
  cpuset: {} as CgroupStats["cpuset"],
  memory: { usage: { limit: 67108864n, usage: memory, failcnt: 0n } },
  pids: { current: 3n, limit: 10n },
  blkio: {
    ioServiceBytesRecursive: [
      { major: 8, op: "Read", value: 1048576n },
      { major: 9, op: "Read", value: 1048576n },
      { major: 8, op: "Write", value: 512n },
      { major: 8, op: "Total", value: 9n },
    ],
  },
  hugetlb: new SortedMap({}),
});

function printed(isTerminal: boolean): string[] {
  const texts: string[] = [];
  let time = 0;
  const show = tablePrinter("box", (text) => texts.push(text), { isTerminal, now: () => time });
  show({ type: "stats", stats: stats(0n, 1048576n) });
  time = 1000;
  show({ type: "stats", stats: stats(1_500_000_000n, 33554432n) });
  show({ type: "oom" });
  return texts;
}

test("rows say what was used since the row before, what is used now, and of how much", [], () => {
  const [first, second, third] = printed(false) as [string, string, string];
  assert.equal(first.split("\n").length, 3, "the header once");
  assert.match(
    first,
    /^ID +CPU % +MEMORY \/ LIMIT +PIDS \/ LIMIT +READ \/ WRITTEN +OUT OF MEMORY\nbox +- +1\.0 MiB \/ 64\.0 MiB +3 \/ 10 +2\.0 MiB \/ 512 B +0\n$/,
  );
  assert.match(second, /^box +150\.0 +32\.0 MiB \/ 64\.0 MiB .* 0\n$/);
  assert.match(third, / 1\n$/);
  assert.ok(!second.includes("\x1b"));
});

test("on a terminal the row is written over", [], () => {
  const [first, second] = printed(true) as [string, string];
  assert.ok(first.startsWith("ID"));
  assert.ok(second.startsWith("\x1b[2A\x1b[JID"), "up two lines, and both again");
});

test("sizes have about three digits", [], () => {
  assert.deepEqual([0n, 1023n, 1024n, 1536n, 104857600n, 2n ** 60n].map(size), [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 KiB",
    "100 MiB",
    "1024 PiB",
  ]);
});
