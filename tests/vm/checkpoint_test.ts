/**
 * checkpoint and restore, where criu works. Run by `deno task test:vm`, and by itself on any such host. criu takes
 * seconds for each in an emulated machine: tests look at many things on their way.
 */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { ConsoleSocket } from "../support/terminal.ts";
import { exists, test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroups", "criu"] as const;
/** Says which line it is, and what stands in it. */
const COUNT = 'i=0; while read -r line; do i=$((i+1)); echo "$i $line"; done; exit 42';

/** A container, or a command for one, whose streams are pipes. */
class Piped {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  constructor(box: Box, args: readonly string[], env: Record<string, string> = {}) {
    this.#child = new Deno.Command(RUNK, {
      args: ["--root", box.root, ...args],
      cwd: box.directory,
      env,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reader = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Waits for the command's end, which may come long before that of the streams. */
  async status(): Promise<number> {
    return (await this.#child.status).code;
  }

  async succeeds(): Promise<void> {
    if (await this.status() === 0) return;
    throw new Error(await new Response(this.#child.stderr).text());
  }

  /** Writes a line, and takes the next that comes back. */
  async ask(line: string): Promise<string> {
    await this.#writer.write(new TextEncoder().encode(line + "\n"));
    while (!this.#text.includes("\n")) {
      const { value, done } = await this.#reader.read();
      if (done) {
        const said = await new Response(this.#child.stderr).text();
        throw new Error(`the streams end after ${JSON.stringify(this.#text)}: ${said}`);
      }
      this.#text += value;
    }
    const at = this.#text.indexOf("\n");
    const answer = this.#text.slice(0, at);
    this.#text = this.#text.slice(at + 1);
    return answer;
  }

  async close(): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#reader.cancel().catch(() => {});
    await this.#child.stderr.cancel().catch(() => {});
  }
}

/** On v1 a container without a path of its own is put below the cgroup of who makes it: systemd has units' there. */
function cgroup(box: Box): string {
  if (exists("/sys/fs/cgroup/cgroup.controllers")) return `/sys/fs/cgroup/${box.id}`;
  const [, own] = /^\d+:pids:(.*)$/m.exec(Deno.readTextFileSync("/proc/self/cgroup"))!;
  return `/sys/fs/cgroup/pids${own === "/" ? "" : own}/${box.id}`;
}

test("a container goes on where it was saved, with its streams, limits and processes", NEEDS, async () => {
  await using box = await Box.create({
    script: COUNT,
    config: (c: Config) => {
      c.linux.resources = { pids: { limit: 77 } };
    },
  });
  const first = new Piped(box, ["run", "--detach", box.id]);
  await first.succeeds();
  assert.equal(await first.ask("one"), "1 one");
  assert.ok(exists(cgroup(box)));
  // An orphan in the container becomes its first process's child.
  await box.ok(["exec", box.id, "sh", "-c", "sleep 12345 </dev/null >/dev/null 2>&1 &"]);

  await box.ok(["checkpoint", "--image-path", "images", "--work-path", "work", box.id]);
  assert.match((await box.runk(["state", box.id])).stderr, /container does not exist/);
  assert.ok(!exists(cgroup(box)));
  assert.ok(exists(`${box.directory}/work/dump.log`) && !exists(`${box.directory}/images/dump.log`));
  const names = JSON.parse(await Deno.readTextFile(`${box.directory}/images/descriptors.json`));
  assert.equal(names.length, 3);
  for (const name of names) assert.match(name, /^pipe:\[\d+\]$/);
  await first.close();

  const second = new Piped(box, ["restore", "--detach", "--pid-file", "pid", "--image-path", "images", box.id]);
  await second.succeeds();
  assert.equal(await second.ask("two"), "2 two");
  const { pid, status } = await box.state();
  assert.equal(status, "running");
  assert.equal(await Deno.readTextFile(`${box.directory}/pid`), String(pid));
  assert.equal((await Deno.readTextFile(`${cgroup(box)}/pids.max`)).trim(), "77");
  assert.ok((await Deno.readTextFile(`${cgroup(box)}/cgroup.procs`)).split("\n").includes(String(pid)));
  assert.ok(!exists(`${box.root}/${box.id}/criu-root`));
  assert.match((await box.ok(["exec", box.id, "ps", "-o", "args"])).stdout, /^sleep 12345$/m);

  // What changed since, to stay; then with another restore from the same images.
  await box.ok(["checkpoint", "--pre-dump", "--image-path", "before", box.id]);
  assert.equal((await box.state()).pid, pid);
  assert.equal(await second.ask("three"), "3 three");
  const args = ["--image-path", "after", "--parent-path", "../before", "--leave-running"];
  await box.ok(["checkpoint", ...args, box.id]);
  assert.equal(await Deno.readLink(`${box.directory}/after/parent`), "../before");
  assert.equal(await second.ask("four"), "4 four");
  await box.ok(["delete", "--force", box.id]);
  await second.close();

  // In the foreground, the program's end is the command's.
  const third = new Piped(box, ["restore", "--image-path", "after", box.id]);
  assert.equal(await third.ask("four again"), "4 four again");
  const ended = third.status();
  await third.close();
  assert.equal(await ended, 42);
  assert.match((await box.runk(["state", box.id])).stderr, /container does not exist/);
});

test("a terminal is saved, and comes back over a console socket", NEEDS, async () => {
  await using box = await Box.create({ config: (c: Config) => (c.process.terminal = true) });
  const path = `${box.directory}/console`;
  {
    using socket = new ConsoleSocket(path);
    await box.ok(["run", "--detach", "--console-socket", path, box.id]);
    using terminal = await socket.receive();
    terminal.type("fruit=pear; echo $((6 * 7))\n");
    await terminal.expect(/\r\n42\r\n/);
    await box.ok(["checkpoint", box.id]);
  }
  using socket = new ConsoleSocket(path);
  await box.ok(["restore", "--detach", "--console-socket", path, box.id]);
  using terminal = await socket.receive();
  terminal.type("echo $fruit $((7 * 6))\n");
  await terminal.expect(/\r\npear 42\r\n/);
  await box.ok(["delete", "--force", box.id]);
});

test("mounts, a network namespace and criu's own configuration come from outside again; hooks run", NEEDS, async () => {
  const namespace = `runk-test-${Deno.pid}`;
  await using box = await Box.create({ script: "exec sleep 1000 </dev/null >/dev/null 2>&1" });
  const hook = (name: string) => [{ path: "/bin/sh", args: ["sh", "-c", `cat >${box.directory}/${name}`] }];
  for (const name of ["a/b/c", "rootfs/real"]) await Deno.mkdir(`${box.directory}/${name}`, { recursive: true });
  await Deno.symlink("/real/conf", `${box.rootfs}/conf`);
  await Deno.writeTextFile(`${box.directory}/a/here`, "here");
  await Deno.writeTextFile(`${box.rootfs}/secret`, "secret");
  await Deno.writeTextFile(`${box.directory}/criu.conf`, "log-file=other.log\n");
  const write = (extra: (c: Config) => void = () => {}) =>
    box.write((c: Config) => {
      c.process.terminal = false;
      c.process.args = ["sh", "-c", "exec sleep 1000 </dev/null >/dev/null 2>&1"];
      c.annotations = { "org.criu.config": `${box.directory}/criu.conf` };
      c.hooks = { prestart: hook("prestart"), createRuntime: hook("runtime"), poststop: hook("poststop") };
      c.linux.namespaces = c.linux.namespaces.filter(({ type }: { type: string }) => type !== "network");
      c.linux.namespaces.push({ type: "network", path: `/run/netns/${namespace}` });
      c.linux.maskedPaths.push("/secret");
      c.mounts.push(
        { destination: "/conf", type: "bind", source: "a", options: ["rbind"] },
        { destination: "/conf/b/c", type: "bind", source: "a", options: ["bind", "ro"] },
        { destination: "/srv/file", type: "bind", source: "config.json", options: ["bind"] },
      );
      extra(c);
    });
  await write();
  const added = await run("ip", ["netns", "add", namespace]);
  assert.equal(added.status, 0, added.stderr);
  try {
    await box.ok(["run", "--detach", box.id]);
    await Deno.remove(`${box.directory}/runtime`);
    await box.ok(["checkpoint", "--work-path", "work", box.id]);
    assert.ok(exists(`${box.directory}/work/other.log`) && !exists(`${box.directory}/work/dump.log`));
    assert.equal(JSON.parse(await Deno.readTextFile(`${box.directory}/poststop`)).status, "stopped");
    // Mount points inside of mounts are made anew.
    await Deno.remove(`${box.directory}/a/b`, { recursive: true });

    await box.ok(["restore", "--detach", "--work-path", "work", box.id]);
    const { pid } = await box.state();
    assert.equal(JSON.parse(await Deno.readTextFile(`${box.directory}/runtime`)).pid, pid);
    assert.equal(Deno.statSync(`/proc/${pid}/ns/net`).ino, Deno.statSync(`/run/netns/${namespace}`).ino);
    const script = "cat /conf/here /srv/file; echo; ls /conf/b/c; touch /conf/b/c/x; ls -l /secret";
    const { stdout } = await box.runk(["exec", box.id, "sh", "-c", script]);
    assert.match(stdout, /^here\{"ociVersion"/);
    assert.match(stdout, /^b\nhere$/m);
    assert.match(stdout, /^crw-rw-rw- .* 1, +3 .*\/secret$/m);
    // On v1 they are bind mounts, too, of the container's own.
    const procs = "cat /sys/fs/cgroup/cgroup.procs 2>/dev/null || cat /sys/fs/cgroup/pids/cgroup.procs";
    assert.match((await box.ok(["exec", box.id, "sh", "-c", procs])).stdout, /^1$/m);
    await box.ok(["delete", "--force", box.id]);

    await write((c) => {
      c.hooks.prestart = [{ path: "/bin/false" }];
    });
    const { status, stderr } = await box.runk(["restore", "--detach", "--work-path", "work", box.id]);
    assert.equal(status, 1);
    assert.match(stderr, /error running prestart hook #0: exit status 1/);
    assert.ok(!exists(`${box.root}/${box.id}`) && !exists(cgroup(box)));
  } finally {
    await run("ip", ["netns", "delete", namespace]);
  }
});

test(
  "memory is fetched from the old place while the container runs in the new one",
  [...NEEDS, "command:bash"],
  async () => {
    await using box = await Box.create({ script: COUNT });
    const port = 27000 + Deno.pid % 1000;
    const first = new Piped(box, ["run", "--detach", box.id]);
    await first.succeeds();
    assert.equal(await first.ask("one"), "1 one");
    const args = ["--lazy-pages", "--page-server", `127.0.0.1:${port}`, "--status-fd", "9", "--image-path", "images"];
    const script = `exec 9>"$1"; shift; exec "$@"`;
    const ready = `${box.directory}/ready`;
    const saving = run("bash", ["-c", script, "bash", ready, RUNK, "--root", box.root, "checkpoint", ...args, box.id], {
      cwd: box.directory,
    });
    await until("pages can be fetched", () => exists(ready) && Deno.statSync(ready).size === 1);
    assert.deepEqual([...await Deno.readFile(ready)], [0]);
    const daemon = run("criu", [
      "lazy-pages",
      "--page-server",
      "--address",
      "127.0.0.1",
      "--port",
      String(port),
      "-D",
      "images",
    ], {
      cwd: box.directory,
    });
    await until("the daemon listens", () => exists(`${box.directory}/images/lazy-pages.socket`));
    const other = `${box.id}-2`;
    // Old and new container live at the same time: the new one has other cgroups.
    const second = new Piped(box, ["restore", "--detach", "--lazy-pages", "--image-path", "images", other]);
    await second.succeeds();
    assert.equal(await second.ask("two"), "2 two");
    const { status, stderr } = await saving;
    assert.equal(status, 0, stderr);
    assert.equal((await daemon).status, 0);
    assert.match((await box.runk(["state", box.id])).stderr, /container does not exist/);
    await box.ok(["delete", "--force", other]);
    await first.close();
    await second.close();
  },
);

test("pages go to a page server; images that are not whole bring nothing back, and leave nothing", NEEDS, async () => {
  await using box = await Box.create({ script: "exec sleep 1000 </dev/null >/dev/null 2>&1" });
  const port = 28000 + Deno.pid % 1000;
  await Deno.mkdir(`${box.directory}/pages`);
  const server = run("criu", ["page-server", "--port", String(port), "--address", "127.0.0.1", "-D", "pages"], {
    cwd: box.directory,
  });
  await box.ok(["run", "--detach", box.id]);
  await until(
    "the page server listens",
    async () =>
      (await Deno.readTextFile("/proc/net/tcp")).includes(`:${port.toString(16).toUpperCase()} 00000000:0000 0A`),
  );
  await box.ok(["checkpoint", "--page-server", `127.0.0.1:${port}`, "--manage-cgroups-mode", "ignore", box.id]);
  assert.equal((await server).status, 0);
  const pages = (name: string) =>
    [...Deno.readDirSync(`${box.directory}/${name}`)].map(({ name }) => name)
      .filter((name) => name.startsWith("pages-"));
  assert.deepEqual([pages("pages").length, pages("checkpoint").length], [1, 0]);
  const args = ["restore", "--detach", "--manage-cgroups-mode", "ignore", box.id];
  const { status, stderr } = await box.runk(args);
  assert.equal(status, 1);
  assert.match(stderr, /criu failed: type RESTORE errno \d+/);
  assert.match(stderr, /--- Quoting \\"\S+\/checkpoint\/restore\.log\\"/);
  assert.ok(!exists(`${box.root}/${box.id}`) && !exists(cgroup(box)));
  for (const { name } of Deno.readDirSync(`${box.directory}/pages`)) {
    await Deno.rename(`${box.directory}/pages/${name}`, `${box.directory}/checkpoint/${name}`);
  }
  // Into another cgroup than it was saved in.
  await box.write((c: Config) => {
    c.process.terminal = false;
    c.linux.cgroupsPath = `/${box.id}-other`;
  });
  await box.ok(args);
  const { pid } = await box.state();
  const own = (await Deno.readTextFile(`/proc/${pid}/cgroup`)).trim().split("\n");
  for (const line of own.filter((line) => !line.includes("misc"))) assert.match(line, /-other$/);
  await box.ok(["delete", "--force", box.id]);
});

test("runc's containers are saved, and either restores the other's images", [...NEEDS, "command:runc"], async () => {
  await using box = await Box.create({
    script: "exec sleep 1000 </dev/null >/dev/null 2>&1",
    config: (c: Config) => c.mounts.push({ destination: "/srv", type: "bind", source: "seen", options: ["rbind"] }),
  });
  await Deno.mkdir(`${box.directory}/seen`);
  const succeeds = async (result: Promise<{ status: number; stderr: string }>) => {
    const { status, stderr } = await result;
    assert.equal(status, 0, stderr);
  };
  const runc = (...args: string[]) => succeeds(box.other("runc", args));
  await runc("run", "--detach", box.id);
  await succeeds(box.other(RUNK, ["checkpoint", "--image-path", "ours", box.id]));
  assert.equal((await box.other("runc", ["state", box.id])).status, 1);
  await runc("restore", "--detach", "--image-path", "ours", box.id);
  await runc("checkpoint", "--image-path", "theirs", box.id);
  await box.ok(["restore", "--detach", "--image-path", "theirs", box.id]);
  await box.ok(["exec", box.id, "ls", "/srv"]);
  assert.equal((await box.state()).status, "running");
  await box.ok(["delete", "--force", box.id]);
});
