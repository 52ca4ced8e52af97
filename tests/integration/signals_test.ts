/** Signals and children: what a foreground runk passes on and collects, and what a container does not inherit. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;

/** Starts runk in the background; the way to its status. */
function start(box: Box, args: readonly string[], wrapper: readonly string[] = []) {
  const [program, ...rest] = [...wrapper, RUNK, "--root", box.root, ...args];
  const child = new Deno.Command(program!, {
    args: rest,
    cwd: box.directory,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return { pid: child.pid, status: async () => (await child.status).code };
}

/** Deno has no names for real-time signals; every shell sends by number. */
const send = (signal: number, pid: number) => run("sh", ["-c", `kill -${signal} ${pid}`]);
const childrenOf = (pid: string | number) =>
  Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).split(" ").filter((child) => child !== "");

const log = (box: Box) => Deno.readTextFile(`${box.rootfs}/tmp/log`).catch(() => "");
const writable = (c: { root: { readonly: boolean } }) => (c.root.readonly = false);
/** Signals that are passed on, by number: all but those that cannot be caught, that runk's own faults raise, or that runk acts on. */
const PASSED_ON = [1, 2, 3, 10, 12, 14, 15, 16, 18, 20, 21, 22, 24, 25, 26, 27, 29, 30, 34, 35, 50, 63, 64];

/** A script that writes each of these signals to the log when it comes. */
const recorder = (signals: readonly number[]) =>
  `${
    signals.map((signal) => `trap 'echo ${signal} >> /tmp/log' ${signal}`).join("; ")
  }; echo ready >> /tmp/log; while :; do sleep 0.02; done`;

test("a run and an exec in the foreground pass every signal on, real-time ones included", ROOT, async () => {
  await using box = await Box.create({ script: recorder(PASSED_ON), config: writable });
  const foreground = start(box, ["run", box.id]);
  await until("the program is ready", async () => (await log(box)) === "ready\n");
  for (const signal of PASSED_ON) {
    await send(signal, foreground.pid);
    await until(`signal ${signal} has arrived`, async () => (await log(box)).endsWith(`\n${signal}\n`));
  }
  await Deno.remove(`${box.rootfs}/tmp/log`);
  const exec = start(box, ["exec", box.id, "sh", "-c", recorder(PASSED_ON)]);
  await until("the second is ready", async () => (await log(box)) === "ready\n");
  for (const signal of [1, 2, 15, 34, 64]) {
    await send(signal, exec.pid);
    await until(`signal ${signal} has arrived`, async () => (await log(box)).endsWith(`\n${signal}\n`));
  }
  await box.ok(["kill", box.id, "KILL"]);
  assert.equal(await foreground.status(), 137);
  assert.equal(await exec.status(), 137);
});

test("SIGCHLD, SIGWINCH and SIGURG stay with runk", ROOT, async () => {
  await using box = await Box.create({ script: recorder([23, 28, 10]), config: writable });
  const foreground = start(box, ["run", box.id]);
  await until("the program is ready", async () => (await log(box)) === "ready\n");
  for (const signal of [17, 23, 28, 10]) await send(signal, foreground.pid);
  await until("the last has arrived", async () => (await log(box)).endsWith("\n10\n"));
  assert.equal(await log(box), "ready\n10\n");
  await box.ok(["kill", box.id, "KILL"]);
  await foreground.status();
});

test("the exit status of a program that a signal ended is 128 and the signal", ROOT, async () => {
  await using box = await Box.create();
  for (const [signal, status] of [["TERM", 143], ["SEGV", 139], ["KILL", 137], ["USR1", 138]] as const) {
    // Not pid 1, which would ignore its own.
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sleep", "100"];
      c.linux.namespaces = c.linux.namespaces.filter(({ type }: { type: string }) => type !== "pid");
    });
    const foreground = start(box, ["run", "--pid-file", "pid", box.id]);
    await until("it runs", async () => (await box.runk(["state", box.id])).stdout.includes('"running"'));
    await box.ok(["kill", box.id, signal]);
    assert.equal(await foreground.status(), status, signal);
    await Deno.remove(`${box.directory}/pid`);
  }
});

test("SIGTERM before the program runs ends runk, and leaves what delete --force removes", ROOT, async () => {
  await using box = await Box.create({
    script: "true",
    config: (c) => c.hooks = { createRuntime: [{ path: "/bin/sleep", args: ["sleep", "100"] }] },
  });
  const foreground = start(box, ["run", box.id]);
  // Its children are the executor, whose child the hook is, and the container's process.
  await until("the hook runs", () => childrenOf(foreground.pid).some((pid) => childrenOf(pid).length > 0));
  Deno.kill(foreground.pid, "SIGTERM");
  assert.notEqual(await foreground.status(), 0);
  await box.ok(["delete", "--force", box.id]);
});

test(
  "the container starts with default dispositions, no blocked and no pending signals, whatever the caller has",
  ROOT,
  async () => {
    await using box = await Box.create({
      config: (c) => c.process.args = ["grep", "-E", "^(Sig(Pnd|Blk|Ign)|ShdPnd)", "/proc/self/status"],
    });
    // nohup ignores SIGHUP, the trap more; what ignores in a shell is inherited.
    const script = "trap '' INT TERM USR1 PIPE; exec nohup \"$@\"";
    const { stdout } = await run("sh", ["-c", script, "sh", RUNK, "--root", box.root, "run", box.id], {
      cwd: box.directory,
    });
    assert.match(stdout, /SigPnd:\t0+\nShdPnd:\t0+\nSigBlk:\t0+\nSigIgn:\t0+\n/);
  },
);

test("hooks, too, start with default dispositions and the caller's limit on open files", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  const probe = "grep -E '^Sig(Blk|Ign)' /proc/self/status; ulimit -Sn";
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["true"];
    c.hooks = Object.fromEntries(
      ["prestart", "createRuntime", "poststart", "poststop"].map((kind) => [kind, [{
        path: "/bin/sh",
        args: ["sh", "-c", `{ ${probe}; } > ${box.directory}/${kind}`],
        env: ["PATH=/usr/bin:/bin"],
      }]]),
    );
  });
  const script = 'ulimit -Sn 200; "$@"';
  const { status, stderr } = await run("sh", ["-c", script, "sh", RUNK, "--root", box.root, "run", box.id], {
    cwd: box.directory,
  });
  assert.equal(status, 0, stderr);
  for (const kind of ["prestart", "createRuntime", "poststart", "poststop"]) {
    const seen = await Deno.readTextFile(`${box.directory}/${kind}`);
    assert.match(seen, /^SigBlk:\t0+\nSigIgn:\t0+\n200\n$/, kind);
  }
});

test(
  "the caller's limit on open files reaches the container when its config sets none, also through exec",
  ROOT,
  async () => {
    await using box = await Box.create({ script: "ulimit -Sn; ulimit -Hn", config: (c) => c.process.rlimits = [] });
    for (const script of ['ulimit -Sn 300; ulimit -Hn 400; "$@"', 'ulimit -Sn 300; ulimit -Hn 400; "$@"; exit $?']) {
      const { stdout } = await run("sh", ["-c", script, "sh", RUNK, "--root", box.root, "run", box.id], {
        cwd: box.directory,
      });
      assert.equal(stdout, "300\n400\n", script);
    }
  },
);

test("a container does not die with its starter's parent: PDEATHSIG is cleared", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  const { status } = await run("setpriv", ["--pdeathsig", "KILL", RUNK, "--root", box.root, "run", "-d", box.id], {
    cwd: box.directory,
  });
  assert.equal(status, 0);
  assert.equal((await box.state()).status, "running");
  await box.ok(["delete", "--force", box.id]);
});

test("a detached container becomes the child of the caller's subreaper, with no process between", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  for (const [create, ...more] of [["run", "-d"], ["create"]]) {
    await box.ok([create!, ...more, box.id]);
    const { pid } = await box.state();
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    const name = parent === 1 ? "" : await Deno.readTextFile(`/proc/${parent}/cmdline`);
    assert.ok(!name.includes(box.id), `its parent is ${parent} ${name}`);
    await box.ok(["delete", "--force", box.id]);
  }
});

test(
  "orphans of a container in the host's pid namespace are collected by runk, or left to others with --no-subreaper",
  ROOT,
  async () => {
    const makeBox = () =>
      Box.create({
        script: "(sleep 0.2 & echo $! > /tmp/orphan) ; sleep 100",
        config: (c) => {
          c.root.readonly = false;
          c.linux.namespaces = c.linux.namespaces.filter(({ type }: { type: string }) => type !== "pid");
        },
      });
    for (const options of [[], ["--no-subreaper"]]) {
      await using box = await makeBox();
      const foreground = start(box, ["run", ...options, box.id]);
      const orphan = await until(
        "there is an orphan",
        async () => (await Deno.readTextFile(`${box.rootfs}/tmp/orphan`).catch(() => "")).trim(),
      );
      const parentOf = async (pid: string) =>
        /^PPid:\s*(\d+)/m.exec(await Deno.readTextFile(`/proc/${pid}/status`).catch(() => ""))?.[1];
      const parent = await parentOf(orphan);
      if (parent !== undefined) {
        assert.equal(parent === String(foreground.pid), options.length === 0, `parent ${parent} with ${options}`);
      }
      await until("it is collected", async () => (await parentOf(orphan)) === undefined);
      await box.ok(["kill", box.id, "KILL"]);
      assert.equal(await foreground.status(), 137);
    }
  },
);

test("a stopped runk leaves the container running, and goes on when it is continued", ROOT, async () => {
  await using box = await Box.create({
    script: "trap 'echo got it >> /tmp/log; exit 6' TERM; echo ready >> /tmp/log; while :; do sleep 0.02; done",
    config: writable,
  });
  const foreground = start(box, ["run", box.id]);
  await until("the program is ready", async () => (await log(box)) === "ready\n");
  Deno.kill(foreground.pid, "SIGSTOP");
  await until(
    "runk is stopped",
    async () =>
      / \(deno|runk\).* T /.test(await Deno.readTextFile(`/proc/${foreground.pid}/stat`)) ||
      (await Deno.readTextFile(`/proc/${foreground.pid}/status`)).includes("State:\tT"),
  );
  assert.equal((await box.state()).status, "running");
  Deno.kill(foreground.pid, "SIGTERM");
  Deno.kill(foreground.pid, "SIGCONT");
  assert.equal(await foreground.status(), 6);
  assert.match(await log(box), /got it/);
});

test("kill -9 of a foreground run leaves its container running, for others to stop and delete", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  const foreground = start(box, ["run", box.id]);
  await until("it runs", async () => (await box.runk(["state", box.id])).stdout.includes('"running"'));
  Deno.kill(foreground.pid, "SIGKILL");
  await foreground.status();
  assert.equal((await box.state()).status, "running");
  await box.ok(["delete", "--force", box.id]);
});

test(
  "a container that waits to be started ends by signals, whoever sends them; its program inherits nothing of that",
  ROOT,
  async () => {
    await using box = await Box.create({ script: "grep SigCgt /proc/self/status > /tmp/log", config: writable });
    for (const signal of [1, 2, 3, 6, 15]) {
      await box.ok(["create", box.id]);
      await send(signal, (await box.state()).pid);
      await until(`signal ${signal} ends it`, async () => (await box.state()).status === "stopped");
      await box.ok(["delete", box.id]);
    }
    await box.ok(["create", box.id]);
    await send(28, (await box.state()).pid); // SIGWINCH, which ends no one
    assert.equal((await box.state()).status, "created");
    await box.ok(["start", box.id]);
    await until("the program has run", async () => (await box.state()).status === "stopped");
    // busybox's grep handles no signals.
    assert.equal(await log(box), "SigCgt:\t0000000000000000\n");
  },
);
