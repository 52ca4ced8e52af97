/** Terminals: of the foreground, over console sockets, of exec. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { RUNK } from "../support/runk.ts";
import { ConsoleSocket, Terminal } from "../support/terminal.ts";
import { test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups", "command:setsid"] as const;
const PROMPT = /\/ # \r?(\/ # )?$/;

/** A container that runs an interactive shell, as `runk spec` has it. */
const shellBox = () => Box.create({ config: (c) => (c.process.terminal = true) });

/** Waits until the container's first process has a child. */
async function hasChild(box: Box): Promise<void> {
  const { pid } = await box.state();
  await until("it has a child", async () => await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`) !== "");
}

test("spec and run give a working interactive shell, and the terminal is as it was afterwards", ROOT, async () => {
  await using box = await shellBox();
  using terminal = Terminal.open();
  terminal.resize(101, 37);
  assert.ok(terminal.isCooked);
  const child = terminal.start(RUNK, ["--root", box.root, "run", box.id], box.directory);
  // The shell's own words and nothing else: no complaint about job control, nothing of the runtime's.
  const { input } = await terminal.expect(PROMPT);
  assert.match(
    input,
    /^\s*BusyBox v.*built-in shell \(ash\)\s+Enter .help. for a list of built-in commands\.\s+\/ # \s*(\/ # )?$/,
  );
  assert.ok(!terminal.isCooked, "every key goes to the container");
  terminal.type("tty; stty size; echo $((6 * 7))\n");
  await terminal.expect(/\/dev\/(console|pts\/0)\r\n37 101\r\n42\r\n/);
  await terminal.expect(PROMPT);
  terminal.type("cut -d' ' -f 6-8 /proc/$$/stat; test -c /dev/console && ls -l /proc/self/fd/2 | sed 's/.* -> //'\n");
  const [, stat] = (await terminal.expect(/\r\n(\d+ \d+ \d+)\r\n\/dev\/(console|pts\/0)\r\n/))!;
  const [session, tty] = stat!.split(" ");
  assert.equal(session, "1");
  assert.notEqual(tty, "0", "it is the session's controlling terminal");
  await terminal.expect(PROMPT);
  terminal.type("exit 5\n");
  assert.equal(await child.status(), 5);
  assert.ok(terminal.isCooked, "the terminal is as it was");
});

test("job control works: interrupt and stop reach the program in front, and only it", ROOT, async () => {
  await using box = await shellBox();
  using terminal = Terminal.open();
  const child = terminal.start(RUNK, ["--root", box.root, "run", box.id], box.directory);
  await terminal.expect(PROMPT);
  terminal.type("sleep 100\n");
  await terminal.expect(/sleep 100\r\n/);
  await hasChild(box);
  terminal.type("\x03");
  await terminal.expect(PROMPT);
  terminal.type("echo status $?\n");
  await terminal.expect(/status 130\r\n/);
  await terminal.expect(PROMPT);
  terminal.type("sleep 100\n");
  await terminal.expect(/sleep 100\r\n/);
  await hasChild(box);
  terminal.type("\x1a");
  await terminal.expect(/Stopped\s+sleep 100/);
  await terminal.expect(PROMPT);
  terminal.type("kill -9 %1; wait; cat\n");
  await terminal.expect(/wait; cat\r\n/);
  terminal.type("some words\n\x04");
  await terminal.expect(/some words\r\nsome words\r\n/);
  await terminal.expect(PROMPT);
  terminal.type("exit 0\n");
  assert.equal(await child.status(), 0);
});

test("a terminal that is resized resizes the container's", ROOT, async () => {
  await using box = await Box.create({
    script: "trap 'echo size $(stty size)' WINCH; echo ready; while :; do sleep 0.05; done",
    config: (c) => (c.process.terminal = true),
  });
  using terminal = Terminal.open();
  terminal.resize(80, 24);
  const child = terminal.start(RUNK, ["--root", box.root, "run", box.id], box.directory);
  await terminal.expect(/ready\r\n/);
  terminal.resize(132, 50);
  await terminal.expect(/size 50 132\r\n/);
  await box.ok(["kill", box.id, "KILL"]);
  assert.equal(await child.status(), 137);
  assert.ok(terminal.isCooked);
});

test("SIGINT to a run with a terminal restores the terminal and ends with status 0, as runc has it", ROOT, async () => {
  await using box = await Box.create({ script: "echo ready; sleep 100", config: (c) => (c.process.terminal = true) });
  using terminal = Terminal.open();
  const child = terminal.start(RUNK, ["--root", box.root, "run", "--pid-file", "pid", box.id], box.directory);
  await terminal.expect(/ready\r\n/);
  Deno.kill(child.pid, "SIGINT");
  assert.equal(await child.status(), 0);
  assert.ok(terminal.isCooked);
  assert.equal((await box.state()).status, "running", "the container is left alone");
  await box.ok(["delete", "--force", box.id]);
});

test("a terminal without a user's own is an error that says so", ROOT, async () => {
  await using box = await shellBox();
  const { status, stderr } = await box.runk(["run", box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /open \/dev\/tty: no such device or address: .*its caller has none \(see --detach, --console-/);
});

test("create sends the master of the container's terminal to the console socket", ROOT, async () => {
  await using box = await Box.create({
    script: "stty size; tty; read line; echo got $line",
    config: (c) => {
      c.process.terminal = true;
      c.process.consoleSize = { width: 111, height: 44 };
    },
  });
  using socket = new ConsoleSocket(`${box.directory}/console`);
  // Who listens takes the terminal when create has returned: sending it must not wait.
  await box.ok(["create", "--console-socket", `${box.directory}/console`, box.id]);
  using terminal = await socket.receive();
  await box.ok(["start", box.id]);
  await terminal.expect(/^44 111\r\n\/dev\/(console|pts\/0)\r\n/);
  terminal.type("hello\n");
  await terminal.expect(/got hello\r\n/);
  await terminal.end();
  await until("the container is stopped", async () => (await box.state()).status === "stopped");
});

test("run --detach and exec --detach send theirs, too; a path relative to the caller's directory", ROOT, async () => {
  await using box = await Box.create({ script: "echo first; sleep 100", config: (c) => (c.process.terminal = true) });
  using socket = new ConsoleSocket(`${box.directory}/console`);
  await box.ok(["run", "-d", "--console-socket", "console", box.id]);
  using terminal = await socket.receive();
  await terminal.expect(/first\r\n/);
  await box.ok([
    "exec",
    "-d",
    "--tty",
    "--console-socket",
    "console",
    box.id,
    "sh",
    "-c",
    "tty; echo second; sleep 100",
  ]);
  using second = await socket.receive();
  await second.expect(/\/dev\/pts\/1\r\nsecond\r\n/);
  await box.ok(["delete", "--force", box.id]);
  await terminal.end();
  await second.end();
});

test("exec --tty gives a terminal of the container's, with job control", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  await box.ok(["run", "-d", box.id]);
  using terminal = Terminal.open();
  terminal.resize(90, 30);
  const child = terminal.start(RUNK, ["--root", box.root, "exec", "--tty", box.id, "sh"], box.directory);
  // The shell's own words and nothing else: no complaint about job control, nothing of the runtime's.
  const { input } = await terminal.expect(PROMPT);
  assert.match(
    input,
    /^\s*BusyBox v.*built-in shell \(ash\)\s+Enter .help. for a list of built-in commands\.\s+\/ # \s*(\/ # )?$/,
  );
  terminal.type("tty; stty size\n");
  await terminal.expect(/\/dev\/pts\/0\r\n30 90\r\n/);
  await terminal.expect(PROMPT);
  terminal.type("exit 9\n");
  assert.equal(await child.status(), 9);
  assert.ok(terminal.isCooked);
});

test("terminals and console sockets that do not go together are refused before anything starts", ROOT, async () => {
  await using box = await shellBox();
  const none = /cannot allocate tty if runc will detach without setting console socket/;
  const useless = /cannot use console socket if runc will not detach or allocate tty/;
  assert.match((await box.runk(["create", box.id])).stderr, none);
  assert.match((await box.runk(["run", "-d", box.id])).stderr, none);
  assert.match((await box.runk(["run", "--console-socket", "/x", box.id])).stderr, useless);
  await box.write((c) => (c.process.terminal = false, c.process.args = ["sleep", "100"]));
  assert.match((await box.runk(["create", "--console-socket", "/x", box.id])).stderr, useless);
  await box.ok(["run", "-d", box.id]);
  assert.match((await box.runk(["exec", "-d", "-t", box.id, "true"])).stderr, none);
  assert.match((await box.runk(["exec", "-d", "--console-socket", "/x", box.id, "true"])).stderr, useless);
});

test("a console socket that no one listens on fails the create, and nothing is left", ROOT, async () => {
  await using box = await shellBox();
  const { status, stderr } = await box.runk(["create", "--console-socket", `${box.directory}/nobody`, box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /nobody: no such file or directory/);
});
