/** Lists of CPUs and memory nodes. */
import assert from "node:assert/strict";
import { idMask, idsOfMask, parseIdList } from "../../../src/spec/id_list.ts";
import { test } from "../../support/test.ts";

test("parseIdList() takes numbers, ranges, blanks, empty items and repetitions", [], () => {
  assert.deepEqual(parseIdList("0-3,5"), [0, 1, 2, 3, 5]);
  assert.deepEqual(parseIdList(" 7 , ,1-2,2,"), [1, 2, 7]);
  assert.deepEqual(parseIdList(""), []);
  assert.deepEqual(parseIdList("8191"), [8191]);
});

test("parseIdList() refuses what is no list of numbers that a kernel could have", [], () => {
  for (const text of ["a", "3-1", "1-2-3", "-1", "1-", "0x1", "8192", "0-99999999999", "1.5"]) {
    assert.throws(() => parseIdList(text), Error, text);
  }
});

test("idMask() makes the words that the kernel reads, and idsOfMask() reads them back", [], () => {
  assert.deepEqual(idMask([]), [0n]);
  assert.deepEqual(idMask([0, 1, 63]), [0x8000000000000003n]);
  assert.deepEqual(idMask([64, 130]), [0n, 1n, 4n]);
  for (const ids of [[], [0], [0, 5, 63, 64, 200]]) assert.deepEqual(idsOfMask(idMask(ids)), ids);
});
