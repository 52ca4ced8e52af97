/**
 * checkpoint and restore up to the point where criu does its work, which not every kernel lets it do (tests/vm has the
 * rest): what is refused, what stands where criu is started, and that a failure leaves nothing.
 */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { exists, test } from "../support/test.ts";

const NEEDS = ["root", "cgroups"] as const;
const SLEEP = { script: "exec sleep 1000" };

/** A directory with a program called criu, which writes down where it finds itself, and ends without a word. */
async function fakeCriu(box: Box): Promise<{ env: Record<string, string>; seen: (name: string) => Promise<string> }> {
  const bin = `${box.directory}/bin`;
  await Deno.mkdir(bin);
  const script = `#!/bin/busybox sh
    echo "$@" >$SEEN/args
    cat /proc/self/mountinfo >$SEEN/mounts
    cat /proc/self/cgroup >$SEEN/cgroups
    for fd in 0 1 2 3 4 5 6 7 8 9; do echo -n "$fd "; readlink /proc/$$/fd/$fd || echo; done >$SEEN/fds
    echo "$FRUIT" >$SEEN/fruit
    exit 3\n`;
  await Deno.writeTextFile(`${bin}/criu`, script, { mode: 0o755 });
  await Deno.mkdir(`${box.directory}/seen`);
  return {
    env: { PATH: `${bin}:${Deno.env.get("PATH")}`, SEEN: `${box.directory}/seen`, FRUIT: "pear" },
    seen: (name) => Deno.readTextFile(`${box.directory}/seen/${name}`),
  };
}

const ENDED = "criu failed: it ended before it had answered (type VERSION)";

/** Images as far as runk itself reads them. */
async function images(box: Box, descriptors = '["/dev/null","/dev/null","/dev/null"]'): Promise<void> {
  await Deno.mkdir(`${box.directory}/checkpoint`, { recursive: true });
  await Deno.writeTextFile(`${box.directory}/checkpoint/descriptors.json`, descriptors);
}

test("only what runs can be saved, from where it was saved only", NEEDS, async () => {
  await using box = await Box.create(SLEEP);
  const refused = async (args: readonly string[], message: RegExp) => {
    const { status, stderr } = await box.runk(args);
    assert.equal(status, 1, args.join(" "));
    assert.match(stderr, message);
  };
  await refused(["checkpoint", box.id], /container does not exist/);
  await box.ok(["create", box.id]);
  await refused(["checkpoint", box.id], /Container cannot be checkpointed in created state/);
  await box.ok(["start", box.id]);
  const parent = (path: string) => ["checkpoint", "--image-path", "images", "--parent-path", path, box.id];
  await refused(parent(`${box.directory}/images`), /--parent-path must be relative/);
  await refused(parent("../none"), /invalid --parent-path: stat \S+\/none: no such file or directory/);
  await refused(parent("../config.json"), /invalid --parent-path: \S+\/config\.json: not a directory/);
  await refused(["checkpoint", "--page-server", "::1:80", box.id], /Use --page-server ADDRESS:PORT to specify/);
  await refused(["checkpoint", "--page-server", "host", box.id], /Use --page-server ADDRESS:PORT to specify/);
  await refused(["checkpoint", "--page-server", "host:http", box.id], /Invalid port number/);
  await refused(["checkpoint", "--page-server", "[::1]:70000", box.id], /Invalid port number/);
  await refused(["checkpoint", "--empty-ns", "uts", box.id], /namespace \\"uts\\" is not supported/);
  await refused(["checkpoint", "--manage-cgroups-mode", "hard", box.id], /invalid manage-cgroups-mode value/);
  await refused(
    ["checkpoint", "--lazy-pages", "--status-fd", "77", box.id],
    /invalid --status-fd argument 77: bad file descriptor/,
  );
  assert.equal((await box.state()).status, "running");
  await box.ok(["kill", box.id, "KILL"]);
  await box.ok(["delete", "--force", box.id]);
});

test("without criu both say what to install, and nothing has changed", NEEDS, async () => {
  await using box = await Box.create(SLEEP);
  await images(box);
  await box.ok(["run", "--detach", box.id]);
  // Debian has it in /usr/sbin.
  const env = { PATH: "/usr/bin:/bin" };
  const text = /CRIU version check failed: exec: \\"criu\\": executable file not found in \$PATH \(install criu/;
  const saved = await box.runk(["checkpoint", "--image-path", "new", box.id], { env });
  assert.equal(saved.status, 1);
  assert.match(saved.stderr, text);
  assert.ok(!exists(`${box.directory}/new`));
  assert.equal((await box.state()).status, "running");
  const restored = await box.runk(["restore", "--detach", `${box.id}-2`], { env });
  assert.match(restored.stderr, text);
  assert.ok(!exists(`${box.root}/${box.id}-2`));
  await box.ok(["delete", "--force", box.id]);
});

test("a checkpoint that criu cannot make leaves the container running, and its log is quoted", [
  ...NEEDS,
  "command:criu",
], async () => {
  await using box = await Box.create(SLEEP);
  // What is open here is a file of the host's, which is in no image.
  await box.ok(["run", "--detach", box.id]);
  const { status, stderr } = await box.runk(["checkpoint", "--image-path", "images", "--work-path", "work", box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /level=error msg="criu failed: type DUMP errno \d+/);
  assert.match(stderr, /level=warning msg="--- Quoting \\"\S+\/work\/dump\.log\\""/);
  assert.match(stderr, /level=warning msg="\d+:\([\d.]+\) Error /);
  assert.equal((await box.state()).status, "running");
  const record = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`));
  assert.deepEqual(
    JSON.parse(await Deno.readTextFile(`${box.directory}/images/descriptors.json`)),
    record.external_descriptors,
  );
  assert.equal(record.external_descriptors[0], "/dev/null");
  await box.ok(["delete", "--force", box.id]);
});

test("criu is started with a socket, the directories and the caller's environment", NEEDS, async () => {
  await using box = await Box.create(SLEEP);
  const { env, seen } = await fakeCriu(box);
  await box.ok(["run", "--detach", box.id]);
  const args = ["checkpoint", "--image-path", "images", "--work-path", "work/deep", box.id];
  const { stderr } = await box.runk(args, { env });
  assert.ok(stderr.includes(ENDED), stderr);
  assert.equal(await seen("args"), "swrk 3\n");
  assert.equal(await seen("fruit"), "pear\n");
  const fds = (await seen("fds")).split("\n");
  assert.match(fds[3]!, /^3 socket:/);
  assert.equal(fds[4], `4 ${box.directory}/images`);
  assert.equal(fds[5], `5 ${box.directory}/work/deep`);
  for (const fd of [6, 7, 8, 9]) assert.equal(fds[fd]!.trim(), String(fd), "no more than that");
  assert.equal((await box.state()).status, "running");
  await box.ok(["delete", "--force", box.id]);
});

test("a restore's criu stands where the container is to be; when it fails, nothing is left", NEEDS, async () => {
  await using box = await Box.create({
    script: "true",
    config: (c: Config) => {
      c.linux.resources = { pids: { limit: 77 } };
      c.mounts.push(
        { destination: "/srv/data", type: "bind", source: "data", options: ["rbind", "ro"] },
        { destination: "/srv/data/below/it", type: "bind", source: "more", options: ["bind"] },
        { destination: "/opt/file", type: "bind", source: "config.json", options: ["bind"] },
      );
    },
  });
  const { env, seen } = await fakeCriu(box);
  for (const name of ["data/below/it", "more"]) await Deno.mkdir(`${box.directory}/${name}`, { recursive: true });
  await images(box);
  const { status, stderr } = await box.runk(["restore", "--detach", "--pid-file", "pid", box.id], { env });
  assert.equal(status, 1);
  assert.ok(stderr.includes(ENDED), stderr);
  assert.equal(await seen("args"), "swrk 3\n");
  for (const line of (await seen("cgroups")).trim().split("\n")) assert.ok(line.endsWith(`/${box.id}`), line);
  const mounts = (await seen("mounts")).split("\n").map((line) => line.split(" ")).filter(([, , , , at]) =>
    at?.startsWith(`${box.root}/${box.id}/`)
  );
  assert.deepEqual(mounts.map(([, , , , at]) => at), [`${box.root}/${box.id}/criu-root`]);
  assert.ok(Deno.statSync(`${box.rootfs}/srv/data`).isDirectory, "mount points are made");
  assert.ok(Deno.statSync(`${box.rootfs}/opt/file`).isFile);
  assert.ok(!exists(`${box.directory}/pid`));
  assert.ok(!exists(`${box.root}/${box.id}`));
});

test("a restore takes images, a bundle, an id that is free, and namespaces that exist", NEEDS, async () => {
  await using box = await Box.create({ script: "true" });
  const { env } = await fakeCriu(box);
  const refused = async (args: readonly string[], message: RegExp) => {
    const { status, stderr } = await box.runk(["restore", ...args], { env });
    assert.equal(status, 1, args.join(" "));
    assert.match(stderr, message);
  };
  await refused(["--image-path", "none", box.id], /open \S+\/none\/descriptors\.json: no such file or directory/);
  assert.ok(!exists(`${box.directory}/none`));
  await images(box, "{");
  await refused([box.id], /checkpoint\/descriptors\.json is not JSON/);
  await images(box, '["a","b","c","d"]');
  await refused([box.id], /checkpoint\/descriptors\.json is not a list of at most three names/);
  await images(box);
  await refused(["--bundle", "none", box.id], /cannot open the bundle none: no such file/);
  await refused(["--console-socket", "socket", "--detach", box.id], /cannot use console socket/);
  await box.write((c) => (c.process.terminal = true));
  await refused(["--detach", box.id], /cannot allocate tty if runc will detach without setting console socket/);
  await box.write((c) => {
    c.process.terminal = false;
    c.linux.namespaces = [...c.linux.namespaces.filter(({ type }: { type: string }) => type !== "network"), {
      type: "network",
      path: "/run/netns/none",
    }];
  });
  await refused(["--detach", box.id], /Requested network namespace \/run\/netns\/none does not exist: /);
  await box.write((c) => (c.process.terminal = false));
  await Deno.mkdir(`${box.root}/${box.id}`, { recursive: true });
  await refused(["--detach", box.id], /container with given ID already exists/);
});

test("clients find out by help and by a missing value that both commands are there", [], async () => {
  await using box = await Box.create();
  assert.equal((await box.runk(["checkpoint", "--help"])).status, 0);
  const { status, stderr, stdout } = await box.runk(["restore", "--lsm-mount-context"]);
  assert.equal(status, 1);
  assert.match(stderr + stdout, /flag needs an argument/);
});
