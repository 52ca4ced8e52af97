/** What a service manager hands over: the socket to say "ready" on, and sockets to listen on. */
import assert from "node:assert/strict";
import { bindDatagram, connectDatagram, receiveDatagram, sendDatagram } from "../../ffi/datagram.ts";
import { call } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { Memory } from "../../ffi/memory.ts";
import { pollBlocking } from "../../ffi/poll.ts";
import { O } from "../../src/abi/arch.ts";
import { Box, type Config } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;

/** A service manager: its socket, and the datagrams that came to it. */
class Manager implements Disposable {
  readonly path: string;
  readonly heard: string[] = [];
  readonly #socket;

  constructor(box: Box) {
    this.path = `${box.directory}/manager.sock`;
    this.#socket = bindDatagram(box.directory, "manager.sock");
  }

  /** All datagrams, once there are that many. A descriptor in one is closed unread, which is what a barrier waits for. */
  async hear(count: number): Promise<string[]> {
    await until(`${count} datagrams`, () => {
      for (let text = receiveDatagram(this.#socket); text !== undefined; text = receiveDatagram(this.#socket)) {
        this.heard.push(text);
      }
      return this.heard.length >= count;
    });
    return this.heard;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** Says something as the service in the container would: on the socket that the container sees. */
async function say(pid: number, text: string): Promise<void> {
  const path = `/proc/${pid}/root/run/notify/notify.sock`;
  await until("the container has its socket", () => exists(path));
  using socket = connectDatagram(path);
  sendDatagram(socket, text);
}

/** As the service would: sends a descriptor along, and waits until whoever got it has closed it. */
async function barrier(pid: number): Promise<void> {
  const pair = new Memory(8);
  call("pipe2", pair, O[arch].CLOEXEC);
  using ours = new Fd(pair.view.getInt32(0, true));
  {
    using theirs = new Fd(pair.view.getInt32(4, true));
    using socket = connectDatagram(`/proc/${pid}/root/run/notify/notify.sock`);
    sendDatagram(socket, "BARRIER=1", theirs);
  }
  await until("the descriptor is closed", async () => (await pollBlocking([{ fd: ours.number }], 0))[0]);
}

const script = "test -S $NOTIFY_SOCKET && echo $NOTIFY_SOCKET > /tmp/notify; trap 'exit 0' TERM; sleep 1000 & wait";
const config = (config: Config) => (config.root.readonly = false);

test("run --detach waits until the service is ready, and says so with the container's pid", ROOT, async () => {
  await using box = await Box.create({ script, config });
  using manager = new Manager(box);
  let hasEnded = false;
  const running = box.runk(["run", "--detach", box.id], { env: { NOTIFY_SOCKET: manager.path } })
    .finally(() => (hasEnded = true));
  await until("the service runs", () => exists(`${box.rootfs}/tmp/notify`));
  const { pid, status } = await box.state();
  assert.equal(status, "running");
  await say(pid, "STATUS=coming up\n");
  assert.ok(!hasEnded, "not every word means ready");
  await say(pid, "READY=1\nSTATUS=up\n");
  assert.deepEqual(await manager.hear(3), ["READY=1\n", `MAINPID=${pid}\n`, "BARRIER=1"]);
  assert.deepEqual(await running, { status: 0, stdout: "", stderr: "" });
  assert.equal(await Deno.readTextFile(`${box.rootfs}/tmp/notify`), "/run/notify/notify.sock\n");
});

test("start waits for a service that was created with NOTIFY_SOCKET, without keeping others off", ROOT, async () => {
  await using box = await Box.create({ script, config });
  using manager = new Manager(box);
  const env = { NOTIFY_SOCKET: manager.path };
  await box.ok(["create", box.id], { env });
  const { mode } = Deno.statSync(`${box.root}/${box.id}/notify`);
  assert.equal(mode! & 0o7777, 0o755);
  const starting = box.runk(["start", box.id], { env });
  await until("the service runs", () => exists(`${box.rootfs}/tmp/notify`));
  const { pid } = await box.state();
  await say(pid, "READY=1");
  assert.deepEqual(await manager.hear(3), ["READY=1\n", `MAINPID=${pid}\n`, "BARRIER=1"]);
  assert.equal((await starting).status, 0);
});

test("start ends when the service ends without ever having been ready", ROOT, async () => {
  await using box = await Box.create({ script, config });
  using manager = new Manager(box);
  const env = { NOTIFY_SOCKET: manager.path };
  await box.ok(["create", box.id], { env });
  const starting = box.runk(["start", box.id], { env });
  await until("the service runs", () => exists(`${box.rootfs}/tmp/notify`));
  await box.ok(["delete", "--force", box.id]);
  assert.equal((await starting).status, 0);
  assert.deepEqual(manager.heard, []);
});

test("run in the foreground names itself as the process to watch", ROOT, async () => {
  await using box = await Box.create({ script, config });
  using manager = new Manager(box);
  const program = new Deno.Command(RUNK, {
    args: ["--root", box.root, "run", box.id],
    cwd: box.directory,
    env: { NOTIFY_SOCKET: manager.path },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  await until("the service runs", () => exists(`${box.rootfs}/tmp/notify`));
  await say((await box.state()).pid, "READY=1");
  assert.deepEqual(await manager.hear(3), ["READY=1\n", `MAINPID=${program.pid}\n`, "BARRIER=1"]);
  // systemd-notify waits until this is closed.
  await barrier((await box.state()).pid);
  program.kill("SIGTERM");
  assert.equal((await program.status).code, 0);
});

test("an abstract notify socket is reached, one that no one listens on is warned of", ROOT, async () => {
  await using box = await Box.create({ script, config });
  const running = box.runk(["run", "--detach", box.id], { env: { NOTIFY_SOCKET: `@${box.id}-nobody` } });
  await until("the service runs", () => exists(`${box.rootfs}/tmp/notify`));
  await say((await box.state()).pid, "READY=1");
  const { status, stderr } = await running;
  assert.equal(status, 0);
  assert.match(stderr, /level=warning msg="cannot notify @\S+ \(NOTIFY_SOCKET\): connect: connection refused"/);
});

test("sockets that a service manager passed reach the service, before other descriptors", ROOT, async () => {
  await using box = await Box.create({
    script:
      "env | grep ^LISTEN_ | sort; for fd in 3 4 5 6; do cat <&$fd; done 2>/dev/null; ls /proc/self/fd | tail -n1",
  });
  for (const name of ["one", "two", "three"]) await Deno.writeTextFile(`${box.directory}/${name}`, `${name}\n`);
  const shell = (pid: string, flags: string) =>
    run("sh", [
      "-c",
      `exec 3<one 4<two 5<three; export LISTEN_FDS=2 LISTEN_PID=${pid} LISTEN_FDNAMES=web:ssh; exec "$@" ${flags} ${box.id}`,
      "sh",
      RUNK,
      "--root",
      box.root,
      "run",
    ], {
      cwd: box.directory,
    });
  const names = "LISTEN_FDNAMES=web:ssh\nLISTEN_FDS=2\nLISTEN_PID=1\n";
  const passed = await shell("$$", "--preserve-fds 1");
  assert.equal(passed.stderr, "");
  assert.match(passed.stdout, new RegExp(`^${names}one\\ntwo\\nthree\\n`));
  const alone = await shell("$$", "");
  assert.match(alone.stdout, new RegExp(`^${names}one\\ntwo\\n\\d+\\n$`));
  const others = await shell("1", "");
  assert.doesNotMatch(others.stdout, /LISTEN|one|two/);
});
