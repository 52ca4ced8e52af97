/** crun's way to give a mount its own id mappings. */
import assert from "node:assert/strict";
import type { MountIds } from "../../../src/spec/mount_ids.ts";
import { idsOfMount } from "../../../src/spec/mount_ids.ts";
import { parseMountOptions } from "../../../src/spec/mount_options.ts";
import type { Mount } from "../../../src/spec/schema.ts";
import { test } from "../../support/test.ts";

const range = (containerID: number, hostID: number, size: number) => ({ containerID, hostID, size });
/** The example of crun(1). */
const linux = { uidMappings: [range(0, 0, 1), range(1, 2, 1000)], gidMappings: [range(0, 100_000, 65_536)] };

const ids = (option: string, members: Partial<Mount> = {}): MountIds | undefined =>
  idsOfMount({ destination: "/a", ...members }, parseMountOptions(["bind", option]), linux, "/mounts/3");

test("ranges stand as they are, and @ makes one relative to the container's user namespace", [], () => {
  assert.deepEqual(ids("idmap=uids=0-1-10#10-11-10;gids=0-100-10"), {
    uidMappings: [range(0, 1, 10), range(10, 11, 10)],
    gidMappings: [range(0, 100, 10)],
  });
  assert.deepEqual(ids("ridmap=gids=@5-7-9#20-0-1;uids=@1-3-10"), {
    uidMappings: [range(1, 4, 10)],
    gidMappings: [range(5, 100_007, 9), range(20, 0, 1)],
  });
  assert.equal(ids("idmap"), undefined);
  assert.equal(ids("ridmap"), undefined);
  assert.equal(parseMountOptions(["ridmap=uids=0-0-1"]).idmap, "ridmap");
  const members = { uidMappings: [range(0, 5, 1)], gidMappings: [range(0, 6, 1)] };
  assert.deepEqual(ids("ro", members), members);
});

const WRONG: readonly (readonly [string, RegExp])[] = [
  ["idmap=", /idmap has "", where uids=\.\.\. or gids=\.\.\. is expected \[config.json \/mounts\/3\/options\]/],
  ["idmap=uid=0-0-1", /idmap has "uid=0-0-1", where/],
  ["idmap=uids=0-0-1;", /idmap has "", where/],
  ["idmap=uids=0-0-1;uids=1-1-1", /idmap has uids twice/],
  ["idmap=uids=0-0", /idmap has "0-0", where three numbers are expected/],
  ["idmap=uids=", /idmap has "", where three numbers/],
  ["idmap=uids=0-0-1#", /idmap has "", where three numbers/],
  ["idmap=uids=0--1-1", /three numbers/],
  ["idmap=uids=0-0-1=2", /is expected/],
  ["idmap=uids=@0-1001-1", /the container's user namespace maps no id 1001/],
  ["idmap=uids=@0-0-2", /more than one range of the container's: split it/],
];

for (const [option, message] of WRONG) {
  test(`${option} is refused with what is wrong and where`, [], () => {
    assert.throws(() => ids(option), message);
  });
}

test("mappings in members and in an option at once are refused", [], () => {
  assert.throws(() => ids("idmap=uids=0-0-1;gids=0-0-1", { uidMappings: [range(0, 0, 1)] }), /not in both/);
});
