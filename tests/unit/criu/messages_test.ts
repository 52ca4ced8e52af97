/** criu's messages as bytes: what is written by hand here is what the protobuf encoding says. */
import assert from "node:assert/strict";
import { decode, encode, REQUEST, RESPONSE, TYPE } from "../../../src/criu/messages.ts";
import { test } from "../../support/test.ts";

const text = (value: string) => [...new TextEncoder().encode(value)];

test("a request is a type, and options in a message of their own; what is not set is not sent", [], () => {
  assert.deepEqual([...encode(REQUEST, { type: TYPE.VERSION, keepOpen: true })], [0x08, 10, 0x20, 1]);
  const request = encode(REQUEST, {
    type: TYPE.DUMP,
    opts: { imagesDirFd: 4, leaveRunning: false, logFile: "dump.log", ps: { address: "h", port: 300 } },
  });
  const options = [
    ...[0x08, 4], // images_dir_fd = 4
    ...[0x18, 0], // leave_running = false: set, so it is sent
    ...[0x52, 8, ...text("dump.log")],
    ...[0x5a, 6, 0x0a, 1, ...text("h"), 0x10, 0xac, 0x02],
  ];
  assert.deepEqual([...request], [0x08, 1, 0x12, options.length, ...options]);
});

test("field numbers above 15 take two bytes, negative numbers ten, lists a field for each", [], () => {
  const request = encode(REQUEST, {
    opts: { pid: -1, external: ["a", "b"], emptyNs: 0x40000000, extMnt: [{ key: "/x", val: "" }] },
  });
  const options = [
    ...[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ...[0xba, 0x01, 6, 0x0a, 2, ...text("/x"), 0x12, 0],
    ...[0xaa, 0x02, 1, ...text("a"), 0xaa, 0x02, 1, ...text("b")],
    ...[0xb0, 0x02, 0x80, 0x80, 0x80, 0x80, 0x04],
  ];
  assert.deepEqual([...request], [0x12, options.length, ...options]);
});

test("an answer is read; fields that are not known are skipped, whatever their kind", [], () => {
  const bytes = Uint8Array.of(
    ...[0x08, 6, 0x10, 1],
    ...[0xa0, 0x06, 5], // 100: a number
    ...[0x2a, 14, 0x0a, 8, ...text("net-lock"), 0x1a, 1, 9, 0x10, 7], // notify, with an unknown field 3
    ...[0xaa, 0x06, 2, 1, 2], // 101: bytes
    ...[0xb5, 0x06, 1, 2, 3, 4], // 102: 32 bits
  );
  assert.deepEqual(decode(RESPONSE, bytes), { type: 6, success: true, notify: { script: "net-lock", pid: 7 } });
  assert.deepEqual(decode(RESPONSE, Uint8Array.of()), {});
});

test("what was written is read again", [], () => {
  const message = {
    type: TYPE.RESTORE,
    opts: {
      imagesDirFd: 4,
      root: "/run/käfig",
      inheritFd: [{ key: "pipe:[1]", fd: 0 }, { key: "pipe:[2]", fd: 1 }],
      cgRoot: [{ ctrl: "", path: "/a" }],
      joinNs: [{ ns: "uts", nsFile: "/proc/1/ns/uts" }],
      lsmMountContext: "c",
    },
    features: { memTrack: true },
  };
  assert.deepEqual(decode(REQUEST, encode(REQUEST, message)), message);
});

test("what is cut short is no message", [], () => {
  for (const bytes of [[0x08], [0x4a, 9, 1], [0x08, 0xff], [0x07]]) {
    assert.throws(() => decode(RESPONSE, Uint8Array.from(bytes)), Error, JSON.stringify(bytes));
  }
});
