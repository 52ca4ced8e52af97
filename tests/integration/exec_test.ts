/** Processes in containers that exist: when they may enter, and what is handed over. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { FAILURE, output, sleeping } from "../support/exec.ts";
import { type Result, run, RUNK } from "../support/runk.ts";
import { test, until } from "../support/test.ts";
import { pidOf, UnixServer } from "../support/unix_server.ts";

const ROOT = ["root", "cgroups"] as const;

test("--preserve-fds hands descriptors over, and needs them open", ROOT, async () => {
  await using box = await sleeping();
  await Deno.writeTextFile(`${box.directory}/note`, "from outside\n");
  const shell = (script: string): Promise<Result> =>
    run("sh", ["-c", script, "sh", RUNK, "--root", box.root], { cwd: box.directory });
  const handed = await shell(`exec 3<note; "$@" exec --preserve-fds 1 ${box.id} sh -c 'cat <&3; ls /proc/self/fd'`);
  assert.equal(handed.stderr, "");
  assert.match(handed.stdout, /^from outside\n0\n1\n2\n3\n/);
  const closed = await shell(`exec 3<&- 4<&-; "$@" exec --preserve-fds=2 ${box.id} true`);
  assert.equal(closed.status, FAILURE);
  assert.match(closed.stderr, /unable to stat preserved-fd 0 \(of 2\)/);
});

test("exec in a paused container is refused, or waits with --ignore-paused", ROOT, async () => {
  await using box = await sleeping();
  await box.ok(["pause", box.id]);
  const refused = await box.runk(["exec", box.id, "true"]);
  assert.equal(refused.status, FAILURE);
  assert.match(refused.stderr, /cannot exec in a paused container \(use --ignore-paused to override\)/);
  const waiting = box.runk(["exec", "--ignore-paused", box.id, "echo", "at last"]);
  await box.ok(["resume", box.id]);
  assert.deepEqual(await waiting, { status: 0, stdout: "at last\n", stderr: "" });
});

test("exec works in a created container, and not in a stopped one", ROOT, async () => {
  await using box = await Box.create();
  await box.ok(["create", box.id]);
  assert.equal(await output(box, box.id, "echo", "early"), "early\n");
  assert.equal((await box.state()).status, "created");
  await box.ok(["kill", box.id, "KILL"]);
  await until("the container is stopped", async () => (await box.state()).status === "stopped");
  const { status, stderr } = await box.runk(["exec", box.id, "true"]);
  assert.equal(status, FAILURE);
  assert.match(stderr, /exec failed: cannot exec in a stopped container/);
});

test("--pidfd-socket receives a pidfd of the process from create, run and exec", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  using server = new UnixServer(`${box.directory}/pidfd.sock`);
  const received = () => {
    using message = server.receive();
    return [message.text, pidOf(message.fd)];
  };
  for (const command of [["create"], ["run", "--detach"]]) {
    await box.ok([...command, "--pidfd-socket", "pidfd.sock", box.id]);
    assert.deepEqual(received(), ["standard", (await box.state()).pid]);
    if (command[0] === "create") await box.ok(["delete", "--force", box.id]);
  }
  const flags = ["--detach", "--pid-file", "pid", "--pidfd-socket", "pidfd.sock"];
  await box.ok(["exec", ...flags, box.id, "sleep", "1000"]);
  const pid = Number(await Deno.readTextFile(`${box.directory}/pid`));
  assert.deepEqual(received(), ["setns", pid]);
  const nobody = await box.runk(["exec", "--pidfd-socket", "nobody.sock", box.id, "true"]);
  assert.equal(nobody.status, FAILURE);
  assert.match(nobody.stderr, /failed to dail \S*nobody\.sock: connect: no such file or directory/);
});
