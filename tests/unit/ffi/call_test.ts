/** System calls from JavaScript: the right errno, no interruption, memory and descriptors that stay whose they are. */
import assert from "node:assert/strict";
import { call, callAsync, tryCall } from "../../../ffi/call.ts";
import { Fd } from "../../../ffi/fd.ts";
import { bindDatagram, connectDatagram, receiveDatagram, sendDatagram } from "../../../ffi/datagram.ts";
import { cstring, Memory, memoryOf, stringArray } from "../../../ffi/memory.ts";
import { poll, pollBlocking } from "../../../ffi/poll.ts";
import { pidfdOpen, reap, spawn } from "../../../ffi/process.ts";
import { receiveDescriptor, sendDescriptor } from "../../../ffi/message.ts";
import { receive, send, socketPair, unixSocket } from "../../../ffi/socket.ts";
import { AT_FDCWD, F, SOCK } from "../../../src/abi/flags.ts";
import { E, errnoName } from "../../../src/abi/errno.ts";
import { SysError } from "../../../src/errors.ts";
import { descriptors, openFile, pipe } from "../../support/machine.ts";
import { exists, test, until } from "../../support/test.ts";

const MILLION = 1_000_000;

test("a million failing calls each give the errno of their own", [], () => {
  const nowhere = cstring("/nowhere/at/all");
  const file = cstring("/etc/passwd/x");
  const failing: [() => number, number][] = [
    [() => tryCall("close", -1), E.BADF],
    [() => tryCall("openat", AT_FDCWD, nowhere, 0, 0), E.NOENT],
    [() => tryCall("openat", AT_FDCWD, file, 0, 0), E.NOTDIR],
    [() => tryCall("kill", 2 ** 30, 0), E.SRCH],
    [() => tryCall("openat2", AT_FDCWD, nowhere, 0, 0), E.INVAL],
    [() => tryCall("prlimit64", 0, 99, 0, 0), E.INVAL],
    [() => tryCall("setns", -1, 0), E.BADF],
  ];
  const wrong = new Map<string, number>();
  for (let i = 0; i < MILLION; i++) {
    const [issue, errno] = failing[i % failing.length]!;
    const answer = issue();
    if (answer !== -errno) wrong.set(`${answer} for ${-errno}`, (wrong.get(`${answer} for ${-errno}`) ?? 0) + 1);
    // Garbage, so that the engine's own work goes on between the calls.
    if (i % 1000 === 0) new Uint8Array(100_000).fill(i);
  }
  assert.deepEqual([...wrong], []);
});

test("a failing call throws its name, the errno's name and its number", [], () => {
  assert.throws(() => call("openat", AT_FDCWD, cstring("/nowhere"), 0, 0), (error) => {
    assert.ok(error instanceof SysError);
    assert.deepEqual([error.call, error.code, error.errno], ["openat", "ENOENT", E.NOENT]);
    assert.equal(error.message, "openat: no such file or directory");
    return true;
  });
  for (const [name, number] of Object.entries(E)) assert.equal(errnoName(number), "E" + name);
});

test("a waiting call fails as one that does not wait", [], async () => {
  await assert.rejects(callAsync("read", -1, new Memory(8), 8), { name: "SysError", code: "EBADF", call: "read" });
});

test("results beyond 32 bits come back whole", [], () => {
  const address = call("mmap", 0, 4096, 1, 0x22, -1, 0);
  assert.ok(address > 2 ** 32);
  assert.equal(call("munmap", address, 4096), 0);
});

const [SOL_SOCKET, SO_RCVTIMEO] = [1, 20];

test("a call that is interrupted is issued again", [], async () => {
  const [mine, theirs] = socketPair();
  using ours = mine;
  using peer = theirs;
  // With a timeout set, recvfrom(2) ends with EINTR when its process was stopped and continued (signal(7)).
  const timeout = new Memory(16);
  timeout.view.setBigInt64(0, 600n, true);
  call("setsockopt", peer.number, SOL_SOCKET, SO_RCVTIMEO, timeout, 16);
  const inbox = new Memory(8);
  const received = callAsync("recvfrom", peer.number, inbox, 8, 0, 0, 0);
  await until("a thread waits", () => waitingIn(45, 207));
  for (let i = 0; i < 3; i++) {
    const script = `kill -STOP ${Deno.pid}; kill -CONT ${Deno.pid}`;
    assert.ok((await new Deno.Command("sh", { args: ["-c", script] }).output()).success);
  }
  assert.ok(send(ours, memoryOf(Uint8Array.of(7, 8))));
  assert.equal(await received, 2);
  assert.deepEqual([...inbox.bytes.subarray(0, 2)], [7, 8]);
});

/** A thread of this process is in one of these calls. */
const waitingIn = (...numbers: number[]) =>
  [...Deno.readDirSync("/proc/self/task")].some(({ name }) => {
    try {
      return numbers.includes(Number(Deno.readTextFileSync(`/proc/self/task/${name}/syscall`).split(" ")[0]));
    } catch {
      return false;
    }
  });

test("memory stays where it is, and is there for as long as the kernel uses it", [], async () => {
  const script = `
    import { callAsync } from "${new URL("../../../ffi/call.ts", import.meta.url)}";
    import { Memory } from "${new URL("../../../ffi/memory.ts", import.meta.url)}";
    const pending = [], refs = [];
    for (let i = 0; i < 4; i++) {
      const memory = new Memory(16);
      refs.push(new WeakRef(memory));
      pending.push(callAsync("read", 0, memory, 1));
    }
    const small = Array.from({ length: 1000 }, () => new Memory(8));
    const addresses = small.map((memory) => memory.address);
    for (let i = 0; i < 5; i++) { await new Promise((r) => setTimeout(r, 10)); gc(); new Uint8Array(1e6); }
    const alive = refs.every((ref) => ref.deref() !== undefined);
    const moved = small.filter((memory, i) =>
      Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(memory.bytes))) !== addresses[i]).length;
    console.log("waiting");
    await Promise.all(pending);
    const bytes = refs.map((ref) => ref.deref()?.bytes[0]).filter((byte) => byte !== undefined).sort();
    console.log(JSON.stringify({ alive, moved, bytes }));
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--v8-flags=--expose-gc", "--no-config", "--no-lock", script],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while (!said.includes("waiting")) {
    const { value, done } = await reader.read();
    if (done) break;
    said += value;
  }
  const writer = child.stdin.getWriter();
  await writer.write(Uint8Array.of(1, 2, 3, 4));
  await writer.close();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    said += value;
  }
  assert.ok((await child.status).success);
  assert.deepEqual(JSON.parse(said.slice(said.indexOf("{"))), { alive: true, moved: 0, bytes: [1, 2, 3, 4] });
});

test("texts for the kernel end with a NUL and hold none", [], () => {
  assert.deepEqual([...cstring("aü").bytes], [97, 0xc3, 0xbc, 0]);
  assert.throws(() => cstring("a\0b"), /contains a NUL byte/);
  const { array, keep } = stringArray(["x", ""]);
  assert.deepEqual([0, 1, 2].map((i) => Number(array.view.getBigUint64(8 * i, true))), [
    ...keep.map(({ address }) => address),
    0,
  ]);
});

test("a descriptor is closed with its scope, once, and not when it was given away", [], () => {
  const before = descriptors();
  let number = -1;
  {
    using fd = openFile("/");
    number = fd.number;
    assert.ok(exists(`/proc/self/fd/${number}`));
  }
  assert.ok(!exists(`/proc/self/fd/${number}`));
  const given = (() => {
    using fd = openFile("/");
    return fd.move();
  })();
  assert.ok(exists(`/proc/self/fd/${given}`));
  const owner = new Fd(given);
  owner.close();
  owner.close();
  assert.throws(() => owner.number, /the descriptor is closed/);
  assert.throws(() => owner.move(), /the descriptor is closed/);
  assert.deepEqual(descriptors(), before);
});

test("closing a descriptor twice does not close another that has its number by then", [], () => {
  const first = openFile("/");
  const number = first.number;
  first.close();
  using second = openFile("/tmp");
  assert.equal(second.number, number, "the kernel gives the lowest number that is free");
  first.close();
  assert.ok(exists(`/proc/self/fd/${number}`));
});

test("messages and descriptors go through socket pairs, and their end is seen", [], () => {
  const [mine, theirs] = socketPair();
  using ours = mine;
  const inbox = new Memory(16);
  assert.equal(receive(ours, inbox), undefined, "nothing there yet");
  assert.ok(send(theirs, memoryOf(new TextEncoder().encode("hello"))));
  assert.equal(receive(ours, inbox), 5);
  assert.equal(inbox.text(5), "hello");
  theirs.close();
  assert.equal(receive(ours, inbox), 0);
  assert.equal(receiveDescriptor(ours), undefined);
  assert.equal(send(ours, new Memory(1)), false);
});

test("a descriptor goes with a message, and is another one of the same file", [], () => {
  const [mine, theirs] = socketPair();
  using ours = mine;
  using their = theirs;
  using file = openFile("/etc/passwd");
  sendDescriptor(their, memoryOf(new TextEncoder().encode("a file\0")), file);
  const inbox = new Memory(16);
  using received = receiveDescriptor(ours, inbox)!;
  assert.equal(inbox.text(), "a file");
  assert.notEqual(received.number, file.number);
  assert.equal(Deno.readLinkSync(`/proc/self/fd/${received.number}`), "/etc/passwd");
  assert.equal(call("fcntl", received.number, F.GETFD), 1, "close-on-exec");
  assert.ok(send(their, new Memory(1)));
  assert.equal(receiveDescriptor(ours, inbox), undefined, "a message without one");
});

test("datagrams reach names in directories and abstract ones, and what is too long is refused", [], () => {
  const directory = Deno.makeTempDirSync();
  using named = bindDatagram(directory, "socket");
  using toNamed = connectDatagram(`${directory}/socket`);
  assert.equal(receiveDatagram(named), undefined);
  sendDatagram(toNamed, "to a name");
  assert.equal(receiveDatagram(named), "to a name");
  const name = `@runk-test-${Deno.pid}`;
  using abstract = unixSocket("bind", SOCK.DGRAM, name);
  using toAbstract = connectDatagram(name);
  using file = openFile("/etc/passwd");
  sendDatagram(toAbstract, "with a file", file);
  assert.equal(receiveDatagram(abstract), "with a file");
  assert.throws(() => connectDatagram(`/${"x".repeat(107)}`), { code: "ENAMETOOLONG", call: "connect" });
  assert.throws(() => connectDatagram(`${directory}/nobody`), {
    message: `connect ${directory}/nobody: no such file or directory`,
  });
  Deno.removeSync(directory, { recursive: true });
});

test("poll tells which of several descriptors are ready, or that none was in time", [], async () => {
  const [[a, toA], [b, toB]] = [pipe(), pipe()];
  const all = [a, toA, b, toB];
  try {
    for (const wait of [poll, pollBlocking]) {
      const waiting = [{ fd: a.number }, { fd: b.number }, { fd: toA.number, write: true }];
      assert.deepEqual(await wait(waiting.slice(0, 2), 10), [false, false]);
      assert.deepEqual(await wait(waiting), [false, false, true]);
      call("write", toB.number, cstring("x"), 1);
      assert.deepEqual(await wait(waiting.slice(0, 2)), [false, true]);
      call("read", b.number, new Memory(8), 8);
    }
    toB.close();
    assert.deepEqual(await poll([{ fd: a.number }, { fd: b.number }]), [false, true], "an end counts");
  } finally {
    for (const fd of all) fd.close();
  }
});

test("a spawned program's end is collected with its status; what cannot be spawned is an error", [], async () => {
  using shell = openFile("/bin/sh");
  const end = (script: string) => {
    const pid = spawn(shell, ["sh", "-c", script]);
    return { pid, ended: reap(pid, { block: true }) };
  };
  const exited = end("exit 7");
  assert.deepEqual(exited.ended, { pid: exited.pid, signalled: false, status: 7 });
  const killed = end("kill -TERM $$");
  assert.deepEqual(killed.ended, { pid: killed.pid, signalled: true, status: 15 });
  assert.equal(reap(exited.pid), undefined, "not a child any more");
  const pid = spawn(shell, ["sh", "-c", "exec sleep 100"]);
  assert.equal(reap(pid), undefined, "has not ended yet");
  using pidfd = pidfdOpen(pid);
  call("pidfd_send_signal", pidfd.number, 9, 0, 0);
  assert.deepEqual(await poll([{ fd: pidfd.number }]), [true]);
  assert.equal(reap(pid)?.status, 9);
  using directory = openFile("/");
  assert.throws(() => spawn(directory, ["x"]), { name: "SysError", code: "EACCES", call: "posix_spawn" });
});
