/** The executor as a process: interruptions, helpers with a timeout, where its image lives, how little memory it takes. */
import assert from "node:assert/strict";
import { send, socketPair } from "../../ffi/socket.ts";
import { memoryOf } from "../../ffi/memory.ts";
import { call } from "../../ffi/call.ts";
import { poll } from "../../ffi/poll.ts";
import { openFilesLimit, reap } from "../../ffi/process.ts";
import { SIG } from "../../src/abi/names.ts";
import { assemble } from "../../src/init/assemble.ts";
import { carryOut } from "../../src/init/carry_out.ts";
import { StepError } from "../../src/init/drive.ts";
import { slot, words } from "../../src/plan/builder.ts";
import { planHooks } from "../../src/plan/hooks.ts";
import type { Hook } from "../../src/spec/schema.ts";
import { Box, newId } from "../support/box.ts";
import { descriptors, native, planOf } from "../support/machine.ts";
import { factsOf } from "../support/plans.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";

const [SOL_SOCKET, SO_RCVTIMEO] = [1, 20];
const stateOf = (pid: number) => /\) (\S)/.exec(Deno.readTextFileSync(`/proc/${pid}/stat`))?.[1];

test("a call that a stopped and continued executor comes out of with EINTR is issued again", [], async () => {
  const [mine, theirs] = socketPair();
  using ours = mine;
  using peer = theirs;
  let pid = 0;
  const plan = planOf(native.arch, (b) => {
    const inbox = b.buffer("inbox", 8);
    b.input("peer", "a socket to receive from");
    // With a timeout set, recvfrom(2) ends with EINTR even without a handler (signal(7)); without one it goes on by itself.
    b.host.sys("setsockopt", [slot("peer"), SOL_SOCKET, SO_RCVTIMEO, words([600, 0], "10 minutes"), 16]);
    b.host.sys("getpid", [], { out: "pid" });
    b.notify(b.host, "waits", ["pid"]);
    b.host.sys("recvfrom", [slot("peer"), inbox, 8, 0, 0, 0], { out: "length" });
    b.notify(b.host, "received", ["length"]);
  });
  let received: readonly number[] = [];
  const done = native.run(plan, {
    inputs: { peer },
    handlers: { waits: ([value]) => void (pid = value!), received: (values) => void (received = values) },
  });
  await until("the executor waits", () => pid > 0 && inRecvfrom(pid));
  for (let i = 0; i < 5; i++) {
    call("kill", pid, SIG.STOP);
    await until("it is stopped", () => stateOf(pid) === "T");
    call("kill", pid, 18); // SIGCONT
    await until("it waits again", () => stateOf(pid) === "S");
  }
  assert.ok(send(ours, memoryOf(Uint8Array.of(1, 2, 3))));
  await done;
  assert.deepEqual(received, [3]);
});

/** The process sleeps in recvfrom(2): the file holds the call's number. */
const inRecvfrom = (pid: number) =>
  stateOf(pid) === "S" && /^(45|207) /.test(Deno.readTextFileSync(`/proc/${pid}/syscall`));

test("an executor that is killed is told of", [], async () => {
  const plan = planOf(native.arch, (b) => {
    b.host.sys("getpid", [], { out: "pid" }).sys("kill", [slot("pid"), SIG.KILL]);
  });
  await assert.rejects(native.run(plan), /runk's init was killed by signal 9 before it was done/);
});

/** Runs hooks on the host as poststop hooks are run. */
async function runHooks(hooks: readonly Hook[]): Promise<void> {
  const plan = planHooks(factsOf(native.arch, "v1", { openFiles: openFilesLimit(0)! }), {
    kind: "poststop",
    hooks,
    state: { id: "box", status: "stopped", bundle: "/bundle", annotations: { "org.example/<b>": "1" } },
    pid: undefined,
    environment: ["FROM=outside"],
    directory: "/",
    reports: true,
  });
  await carryOut(assemble(plan, false), { argv: ["test"], directory: "/tmp", plan: () => plan, poll });
}

const shell = (script: string, rest: Partial<Hook> = {}): Hook => ({
  path: "/bin/sh",
  args: ["sh", "-c", script],
  ...rest,
});

test("a helper process gets its input, directory and environment, and its end is waited for", [], async () => {
  const directory = await Deno.makeTempDir();
  try {
    await runHooks([
      shell(`cat >${directory}/1; pwd >>${directory}/1; echo $FROM$OWN >>${directory}/1`),
      shell(`cat >${directory}/2; env >>${directory}/2`, { env: ["OWN=inside", "PATH=/usr/bin:/bin"] }),
      { path: "/bin/true" },
    ]);
    const [first, second] = ["1", "2"].map((name) => Deno.readTextFileSync(`${directory}/${name}`));
    const state =
      '{"ociVersion":"1.3.0","id":"box","status":"stopped","bundle":"/bundle","annotations":{"org.example/\\u003cb\\u003e":"1"}}';
    assert.equal(first, `${state}/\noutside\n`);
    assert.match(second!, /\}(PWD=\/\n|OWN=inside\n|PATH=.*\n|SHLVL=\d\n|_=.*\n)+$/);
    assert.match(second!, /OWN=inside/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

test("a helper that fails fails the plan, with what it said and how it ended", [], async () => {
  const said = shell("echo to stdout; echo to stderr >&2; exit 3");
  const rejects = (hooks: Hook[], message: RegExp) => assert.rejects(runHooks(hooks), { name: "StepError", message });
  await rejects(
    [shell("exit 0"), said],
    /^error running poststop hook #1: exit status 3, stdout: to stdout\n, stderr: to stderr\n \[config.json \/hooks\/poststop\/1\]$/,
  );
  await rejects([shell("kill -KILL $$")], /hook #0: signal: killed, stdout: , stderr: /);
  await rejects([{ path: "/no/such/hook" }], /hook #0: fork\/exec \/no\/such\/hook: no such file or directory/);
  await rejects([{ path: "/etc/passwd" }], /hook #0: fork\/exec \/etc\/passwd: permission denied/);
});

test("a helper that runs past its timeout is killed and collected", [], async () => {
  const directory = await Deno.makeTempDir();
  try {
    const hook = shell(`echo $$ >${directory}/pid; exec sleep 1000`, { timeout: 1 });
    await assert.rejects(runHooks([hook, shell(`touch ${directory}/second`)]), (error) => {
      assert.ok(error instanceof StepError);
      assert.match(error.message, /error running poststop hook #0: hook ran past specified timeout of 1.0s/);
      return true;
    });
    const pid = Number(Deno.readTextFileSync(`${directory}/pid`));
    assert.ok(!exists(`/proc/${pid}/cwd`), "the hook is gone");
    assert.ok(!exists(`${directory}/second`), "no hook runs after one that failed");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

test("carrying a plan out leaves no descriptor and no child behind", [], async () => {
  const plan = planOf(native.arch, (b) => b.host.set("a", 1));
  const failing = planOf(native.arch, (b) => b.host.fail("on purpose"));
  await native.run(plan);
  // Children of other tests, which run in the same process.
  while (reap("any") !== undefined);
  const before = descriptors();
  for (let i = 0; i < 50; i++) {
    await native.run(plan);
    await assert.rejects(native.run(failing), /on purpose/);
  }
  assert.deepEqual(descriptors(), before);
  assert.equal(reap("any"), undefined);
});

const KB = 1024;
const RSS_MAX = 200 * KB;

test(`a created container that waits takes at most ${RSS_MAX / KB} KB of memory`, ["root", "cgroups"], async () => {
  await using box = await Box.create({ script: "true" });
  await box.ok(["create", box.id]);
  const { pid } = await box.state();
  const rollup = await Deno.readTextFile(`/proc/${pid}/smaps_rollup`);
  const [rss, pss] = ["Rss", "Pss"].map((name) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(rollup)![1]) * KB
  );
  console.log(`waiting container: Rss ${rss! / KB} KB, Pss ${pss! / KB} KB`);
  assert.ok(rss! > 0 && rss! <= RSS_MAX);
  // Nor does anything else of runk's stay.
  const children = (await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`)).trim();
  assert.equal(children, "");
  await box.ok(["delete", "--force", box.id]);
});

test(
  "a program starts with default signals, an empty mask and its caller's limit on open files",
  ["root", "cgroups"],
  async () => {
    await using box = await Box.create({
      script: "cat /proc/self/status; ulimit -Sn",
      config: (config) => delete config.process.rlimits,
    });
    // Deno ignores SIGPIPE and raises its limit: neither may be seen. The caller ignores SIGHUP, which no container inherits.
    const script = `trap '' HUP; ulimit -Sn 321; "$@"`;
    const result = await run("sh", ["-c", script, "sh", RUNK, "--root", box.root, "run", box.id], {
      cwd: box.directory,
    });
    assert.equal(result.status, 0, result.stderr);
    const field = (name: string) => new RegExp(`^${name}:\\s+([0-9a-f]+)$`, "m").exec(result.stdout)![1]!;
    for (const name of ["SigBlk", "SigIgn", "SigPnd", "ShdPnd"]) assert.equal(BigInt("0x" + field(name)), 0n, name);
    assert.match(result.stdout, /\n321\n$/);
  },
);

/** Runs a script in a pid namespace where programs in memory cannot be run. */
const NOEXEC = `mount -t proc proc /proc && echo 2 >/proc/sys/vm/memfd_noexec && exec "$@"`;
const withoutMemfd = (args: readonly string[], cwd: string) =>
  run("unshare", ["--pid", "--mount", "--fork", "--kill-child", "sh", "-c", NOEXEC, "sh", ...args], { cwd });

test(
  "where vm.memfd_noexec forbids programs in memory, the executor runs from a file without a name",
  ["root", "cgroups", "file:/proc/sys/vm/memfd_noexec"],
  async () => {
    await using box = await Box.create({ script: "echo ran; ls -l /proc/1/exe" });
    const result = await withoutMemfd([RUNK, "--root", box.root, "run", box.id], box.directory);
    assert.equal(result.stderr, "");
    assert.match(result.stdout, /^ran\n/);
    // The waiting process shows what it runs from.
    const script = `"$0" --root "$1" create "$2" && "$0" --root "$1" state "$2" >"$3/said" &&
      readlink /proc/$(sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p' "$3/said")/exe; ls "$1/$2"; "$0" --root "$1" delete -f "$2"`;
    const created = await withoutMemfd(["sh", "-c", script, RUNK, box.root, box.id, box.directory], box.directory);
    assert.match(created.stdout, new RegExp(`^${box.root}/${box.id}/\\.init-\\S+ \\(deleted\\)\n`), created.stderr);
    assert.doesNotMatch(created.stdout.slice(created.stdout.indexOf("\n")), /init/, "the file has no name any more");
  },
);

test(
  "where vm.memfd_noexec forbids programs in memory, many executors start from one directory at a time",
  ["root", "cgroups", "file:/proc/sys/vm/memfd_noexec"],
  async () => {
    await using box = await Box.create({ script: "sleep 1000" });
    const script = `runk="$0 --root $1"; $runk run -d "$2" && for i in 1 2 3 4 5 6 7 8; do
      $runk exec "$2" echo entered & done; wait; $runk delete -f "$2"`;
    const { stdout, stderr } = await withoutMemfd(["sh", "-c", script, RUNK, box.root, box.id], box.directory);
    assert.equal(stderr, "");
    assert.equal(stdout, "entered\n".repeat(8));
  },
);

test(
  "where neither memory nor the state directory can be run from, the error says why and what to do",
  ["root", "cgroups", "file:/proc/sys/vm/memfd_noexec"],
  async () => {
    await using box = await Box.create({ script: "true" });
    await Deno.mkdir(box.root);
    const script = `mount -t tmpfs -o noexec tmpfs ${box.root} && exec "$@"`;
    const id = newId();
    const result = await withoutMemfd(["sh", "-c", script, "sh", RUNK, "--root", box.root, "run", id], box.directory);
    assert.equal(result.status, 1);
    assert.match(result.stderr, /runs no program from memory .*vm.memfd_noexec.* none from .*noexec/);
  },
);
