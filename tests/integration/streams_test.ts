/** Standard streams and other descriptors: what a container's process gets, and what passes through. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;

/** Shell: what the shell's standard streams are, in $links. */
const LINKS = "links=$(for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done)";

/** Runs a shell script with runk's `run` as `"$@"`, in the box. */
const through = (box: Box, script: string, ...args: string[]) =>
  run("sh", ["-c", script, "sh", RUNK, "--root", box.root, ...(args.length > 0 ? args : ["run", box.id])], {
    cwd: box.directory,
  });

test("50 MB go through a container and come back unchanged", ROOT, async () => {
  await using box = await Box.create({ script: "cat" });
  const { status, stdout, stderr } = await through(
    box,
    'head -c 50000000 /dev/urandom | tee sent | "$@" | tee received | wc -c; cmp sent received && rm sent received',
  );
  assert.deepEqual({ status, stdout: stdout.trim(), stderr }, { status: 0, stdout: "50000000", stderr: "" });
});

test("much to standard error while much goes to standard output: neither waits for the other", ROOT, async () => {
  await using box = await Box.create({
    script: "yes out | head -n 500000 & yes err | head -n 500000 >&2; wait",
  });
  const { status, stdout, stderr } = await box.runk(["run", box.id]);
  assert.equal(status, 0);
  assert.ok(stdout === "out\n".repeat(500_000), "standard output is whole");
  assert.ok(stderr === "err\n".repeat(500_000), "standard error is whole");
});

test("the program sees the end of its input, and runk goes on until its output ends", ROOT, async () => {
  await using box = await Box.create({ script: "cat > /dev/null; echo after the end" });
  const { stdout } = await box.ok(["run", box.id], { stdin: "x".repeat(100_000) });
  assert.equal(stdout, "after the end\n");
});

test("input that the program does not read does not hold it up", ROOT, async () => {
  await using box = await Box.create({ script: "exit 3" });
  const { status } = await through(box, 'yes | "$@"');
  assert.equal(status, 3);
});

test("a reader that goes away ends the program by SIGPIPE, as it would without a container", ROOT, async () => {
  await using box = await Box.create({ script: "yes; echo yes ended with $? >&2" });
  const { stdout, stderr } = await through(box, '"$@" | head -n 2');
  assert.equal(stdout, "y\ny\n");
  assert.match(stderr, /yes ended with 141/);
});

test(
  "streams that the caller has closed are no trouble, and no descriptor of runk's takes their place",
  ROOT,
  async () => {
    await using box = await Box.create({
      script: `${LINKS}; echo "$links" > /tmp/seen; echo x; echo y >&2; read z; exit 4`,
      config: (c) => (c.root.readonly = false),
    });
    const seen = () => Deno.readTextFileSync(`${box.rootfs}/tmp/seen`);
    for (const closed of ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]) {
      const { status } = await through(box, `"$@" ${closed}`);
      assert.equal(status, 4, closed);
      assert.match(seen(), /^(pipe:\[\d+\]\n){3}$/, `run with ${closed}`);
    }
    // Detached, the container has the caller's own streams: what is closed stays closed or is /dev/null.
    const { status } = await through(box, '"$@" <&- >&- 2>&-', "run", "-d", box.id);
    assert.equal(status, 0);
    await until("it has ended", async () => (await box.state()).status === "stopped");
    assert.match(seen(), /^(\/dev\/null\n){0,3}$/);
    await box.ok(["delete", box.id]);
  },
);

test("a detached container's streams are the caller's own: files, pipes, sockets", ROOT, async () => {
  await using box = await Box.create({ script: `${LINKS}; echo "$links"; echo done >&2` });
  const { status } = await through(box, '"$@" <config.json >out 2>err', "run", "-d", box.id);
  assert.equal(status, 0);
  const read = (name: string) => Deno.readTextFile(`${box.directory}/${name}`);
  await until("it has ended", async () => await read("err") === "done\n");
  const links = (await read("out")).trim().split("\n");
  assert.deepEqual(links.map((link) => link.split("/").at(-1)), ["config.json", "out", "err"]);
  await box.ok(["delete", "--force", box.id]);
  // Through pipes: the reader sees the end when the container ends, not when runk does.
  const piped = await through(box, '"$@" | cat', "run", "-d", box.id);
  assert.match(piped.stdout, /^\/dev\/null\npipe:\[\d+\]\n/);
});

test("/dev/null of the host is opened anew inside", ROOT, async () => {
  await using box = await Box.create({
    script: "stat -L -c '%d' /proc/$$/fd/0 /dev/null > /tmp/seen; stat -c '%d' /dev >> /tmp/seen",
    config: (c) => (c.root.readonly = false),
  });
  await box.ok(["run", "-d", box.id]);
  await until("it has ended", async () => (await box.state()).status === "stopped");
  const [stdin, device] = (await Deno.readTextFile(`${box.rootfs}/tmp/seen`)).trim().split("\n");
  assert.equal(stdin, device);
  await box.ok(["delete", box.id]);
});

test("streams belong to the process's user, so that it can open them by name", ROOT, async () => {
  await using box = await Box.create({
    script: "echo by name > /dev/stdout; echo errors, too > /dev/stderr; cat /dev/stdin",
    config: (c) => (c.process.user = { uid: 1000, gid: 1000 }),
  });
  const result = await box.runk(["run", box.id], { stdin: "from stdin" });
  assert.deepEqual(result, { status: 0, stdout: "by name\nfrom stdin", stderr: "errors, too\n" });
});

test("--preserve-fds hands on exactly so many, from 3 on; no other descriptor leaks", ROOT, async () => {
  await using box = await Box.create({
    script: "ls -l /proc/$$/fd | sed -n 's/.* \\([0-9]*\\) -> .*\\/\\(.*\\)/\\1 \\2/p'; cat <&4",
  });
  const script = 'exec 3<config.json 4</etc/hostname 5</etc/passwd 9</etc/group; "$@"';
  const host = await Deno.readTextFile("/etc/hostname");
  for (const command of [["run"], ["exec"]]) {
    if (command[0] === "exec") {
      await box.write((c) => (c.process.terminal = false, c.process.args = ["sleep", "100"]));
      await box.ok(["run", "-d", box.id]);
    }
    const program = command[0] === "exec"
      ? ["sh", "-c", "ls -l /proc/$$/fd | sed -n 's/.* \\([0-9]*\\) -> .*\\/\\(.*\\)/\\1 \\2/p'; cat <&4"]
      : [];
    const { stdout, stderr } = await through(box, script, ...command, "--preserve-fds", "2", box.id, ...program);
    assert.equal(stdout, `3 config.json\n4 hostname\n${host}`, stderr);
  }
  const missing = await through(box, 'exec 3<config.json; "$@"', "exec", "--preserve-fds", "2", box.id, "true");
  assert.equal(missing.status, 255);
  assert.match(missing.stderr, /unable to stat preserved-fd 1 \(of 2\)/);
  await box.ok(["delete", "--force", box.id]);
});

test("a process that outlives the program and holds its output keeps run waiting, as with runc", ROOT, async () => {
  await using box = await Box.create({
    // In the host's pid namespace the others outlive the first.
    script: "(sleep 0.5; echo late) & echo early",
    config: (c) => (c.linux.namespaces = c.linux.namespaces.filter(({ type }: { type: string }) => type !== "pid")),
  });
  assert.equal((await box.ok(["run", box.id])).stdout, "early\nlate\n");
});

test("exec passes streams and the status on, and 50 MB through", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  await box.ok(["run", "-d", box.id]);
  const script = 'head -c 50000000 /dev/zero | "$@" | cksum; head -c 50000000 /dev/zero | cksum';
  const { stdout } = await through(box, script, "exec", box.id, "cat");
  const [ours, theirs] = stdout.trim().split("\n");
  assert.equal(ours, theirs);
  const failed = await box.runk(["exec", box.id, "sh", "-c", "cat; echo no >&2; exit 17"], { stdin: "in" });
  assert.deepEqual(failed, { status: 17, stdout: "in", stderr: "no\n" });
  await box.ok(["delete", "--force", box.id]);
});
