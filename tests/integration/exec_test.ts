/** Processes in containers that exist: when they may enter, and what is handed over. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { FAILURE, output, sleeping } from "../support/exec.ts";
import { type Result, run, RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";
import { pidOf, UnixServer } from "../support/unix_server.ts";

const ROOT = ["root", "cgroups"] as const;
/** Milliseconds until what happens by chance has happened. */
const RARE_PATIENCE = 120_000;

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

test("a process in the container sees nothing of one that enters (CVE-2016-9962)", ROOT, async () => {
  // It looks at every process of its pid namespace, again and again: what it has open, where it is, what it runs.
  const spy = `while :; do for p in /proc/[0-9]*; do
      for f in $p/fd/* $p/cwd $p/root $p/exe; do l=$(readlink $f 2>/dev/null) && echo "\${p#/proc/} $f $l"; done
      cat $p/comm 2>/dev/null | grep -q INIT && echo "seen \${p#/proc/}"
    done; done > /tmp/spied 2>/dev/null & echo $! > /tmp/ready; exec sleep 1000`;
  await using box = await Box.create({ script: spy, config: (config) => (config.root.readonly = false) });
  await box.ok(["run", "--detach", box.id]);
  await until("it looks", () => exists(`${box.rootfs}/tmp/spied`));
  const spied = () => Deno.readTextFileSync(`${box.rootfs}/tmp/spied`);
  let entered = 0;
  // As long as it takes until some were seen on their way in.
  await until("it has seen processes enter", async () => {
    for (let i = 0; i < 5; i++, entered++) await box.ok(["exec", box.id, "true"]);
    return spied().match(/^seen /mg)?.length ?? 0;
  }, RARE_PATIENCE);
  const foreign = spied().split("\n").filter((line) => !line.startsWith("seen ") && line !== "")
    .filter((line) =>
      !/ (\/|\/bin\/busybox|\/tmp\/\S*|\/dev\/null|\/proc\/\S*|(pipe|socket):\S*)( \(deleted\))?$/.test(line)
    );
  assert.deepEqual(foreign, [], `after ${entered} processes`);
});
