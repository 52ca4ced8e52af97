/** The conversation with criu, held with someone who answers as criu does. */
import assert from "node:assert/strict";
import { Fd } from "../../../ffi/fd.ts";
import { call } from "../../../ffi/call.ts";
import { Memory, memoryOf } from "../../../ffi/memory.ts";
import { sendDescriptor } from "../../../ffi/message.ts";
import { poll } from "../../../ffi/poll.ts";
import { receive, send, socketPair } from "../../../ffi/socket.ts";
import { AT_FDCWD } from "../../../src/abi/flags.ts";
import { cstring } from "../../../ffi/memory.ts";
import { decode, encode, REQUEST, type Request, RESPONSE, type Response, TYPE } from "../../../src/criu/messages.ts";
import { Session } from "../../../src/criu/session.ts";
import { test } from "../../support/test.ts";

/** Runs `talk` with a session whose other side gives these answers, one after each request; returns the requests. */
async function converse(
  answers: readonly (Response | "end")[],
  talk: (session: Session) => Promise<unknown>,
  descriptor?: Fd,
): Promise<Request[]> {
  const [ours, theirs] = socketPair();
  using session = new Session(ours, poll);
  using criu = theirs;
  const requests: Request[] = [];
  const serve = async () => {
    for (const answer of answers) {
      await poll([{ fd: criu.number }], 5000);
      const data = new Memory(65536);
      const length = receive(criu, data) ?? 0;
      requests.push(decode(REQUEST, data.bytes.slice(0, length)));
      if (answer === "end") return criu.close();
      const bytes = memoryOf(encode(RESPONSE, answer));
      if (answer.notify?.script === "orphan-pts-master" && descriptor !== undefined) {
        sendDescriptor(criu, bytes, descriptor);
      } else send(criu, bytes);
    }
  };
  await Promise.all([talk(session), serve()]);
  return requests;
}

const notice = (script: string, pid?: number): Response => ({
  type: TYPE.NOTIFY,
  success: true,
  notify: { script, pid },
});

test("criu's version is one number, and the conversation goes on afterwards", [], async () => {
  const requests = await converse([
    { type: TYPE.VERSION, success: true, version: { major: 3, minor: 17, sublevel: 1 } },
    { type: TYPE.VERSION, success: true, version: { major: 4, minor: 2 } },
  ], async (session) => {
    assert.equal(await session.version(), 31701);
    assert.equal(await session.version(), 40200);
  });
  assert.deepEqual(requests[0], { type: TYPE.VERSION, keepOpen: true });
});

test("features that are missing are named", [], async () => {
  await converse([
    { type: TYPE.FEATURE_CHECK, success: true, features: { memTrack: false, lazyPages: true } },
    { type: TYPE.FEATURE_CHECK, success: true, features: { memTrack: true } },
  ], async (session) => {
    await assert.rejects(session.require({ memTrack: true }), { message: "criu is missing features: [MemTrack]" });
    await session.require({ memTrack: true });
  });
});

test(
  "notices are dealt with in order before criu goes on; a terminal comes along and is closed afterwards",
  [],
  async () => {
    const seen: unknown[] = [];
    let terminal: Fd | undefined;
    using file = new Fd(call("openat", AT_FDCWD, cstring("/dev/null"), 0o2000000, 0));
    const requests = await converse(
      [notice("setup-namespaces", 42), notice("orphan-pts-master"), {
        type: TYPE.RESTORE,
        success: true,
        restore: { pid: 42 },
      }],
      async (session) => {
        const { restore } = await session.request({ type: TYPE.RESTORE, opts: { imagesDirFd: 4 } }, (notice) => {
          seen.push([notice.script, notice.pid]);
          terminal = notice.descriptor ?? terminal;
          if (terminal !== undefined) assert.equal(Deno.readLinkSync(`/proc/self/fd/${terminal.number}`), "/dev/null");
        });
        assert.equal(restore?.pid, 42);
      },
      file,
    );
    assert.deepEqual(seen, [["setup-namespaces", 42], ["orphan-pts-master", 0]]);
    assert.throws(() => terminal!.number, /closed/);
    assert.deepEqual(requests.slice(1), [
      { type: TYPE.NOTIFY, notifySuccess: true },
      { type: TYPE.NOTIFY, notifySuccess: true },
    ]);
  },
);

test(
  "what fails at a notice is told to criu, which takes everything back, and is the error in the end",
  [],
  async () => {
    const requests = await converse(
      [notice("post-restore", 1), notice("post-restore", 1), { type: TYPE.RESTORE, success: false, errno: 5 }],
      async (session) => {
        const asked = session.request({ type: TYPE.RESTORE }, () => {
          throw new Error("no room");
        });
        await assert.rejects(asked, { message: "no room" });
      },
    );
    assert.deepEqual(requests.slice(1), [
      { type: TYPE.NOTIFY, notifySuccess: false },
      { type: TYPE.NOTIFY, notifySuccess: false },
    ]);
  },
);

test("criu's failure is runc's text, with criu's own words; its end without an answer is one, too", [], async () => {
  await converse(
    [{ type: TYPE.DUMP, success: false, errno: 22, errorMessage: "Error (x.c:1): no\n" }],
    async (session) => {
      await assert.rejects(session.request({ type: TYPE.DUMP }), {
        message: "criu failed: type DUMP errno 22: Error (x.c:1): no",
      });
    },
  );
  await converse(["end"], async (session) => {
    await assert.rejects(session.request({ type: TYPE.PRE_DUMP }), {
      message: "criu failed: it ended before it had answered (type PRE_DUMP)",
    });
  });
});
