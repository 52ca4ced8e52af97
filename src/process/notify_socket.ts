/**
 * systemd's readiness protocol, passed on: the container's service says "READY=1" on a socket of ours, and the service
 * manager hears it on its own, with the process to watch from then on. Source: sd_notify(3).
 */
import { errnoText } from "../abi/errno.ts";
import { O } from "../abi/arch.ts";
import { call } from "../../ffi/call.ts";
import { bindDatagram, connectDatagram, receiveDatagram, sendDatagram } from "../../ffi/datagram.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { Memory } from "../../ffi/memory.ts";
import type { Poll, Waiting } from "../../ffi/poll.ts";
import { RunkError, SysError } from "../errors.ts";
import type { Stream } from "./pump.ts";

/** The socket's name in the container's notify directory. */
export const NOTIFY_SOCKET = "notify.sock";
const SOCKET_MODE = 0o777;
/** How long the service manager may take to read what it was told. */
const BARRIER_PATIENCE = 30_000;

/** The container's end of the protocol. */
export class NotifySocket implements Disposable {
  readonly #socket: Fd;

  /** @throws {RunkError} when the socket cannot be made in `directory` */
  constructor(directory: string) {
    try {
      this.#socket = bindDatagram(directory, NOTIFY_SOCKET);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      throw new RunkError(`cannot make the notify socket ${directory}/${NOTIFY_SOCKET}: ${errnoText(error.errno)}`);
    }
    Deno.chmodSync(`${directory}/${NOTIFY_SOCKET}`, SOCKET_MODE);
  }

  get fd(): number {
    return this.#socket.number;
  }

  /** The line that says that the service is ready, once it has arrived. */
  readyLine(): string | undefined {
    for (;;) {
      const datagram = receiveDatagram(this.#socket);
      if (datagram === undefined) return undefined;
      const ready = datagram.split("\n").find((line) => line.startsWith("READY="));
      if (ready !== undefined) return ready;
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/**
 * Tells the service manager that its service is ready, and which process to watch.
 * @param host its socket: a path, or "@" and an abstract name
 * @returns what it closes at its end when it has read that; undefined (and a warning) when no one listens there
 */
function announce(host: string, ready: string, pid: number, warn: Awaited["warn"]): Fd | undefined {
  try {
    using socket = connectDatagram(host);
    sendDatagram(socket, ready + "\n");
    sendDatagram(socket, `MAINPID=${pid}\n`);
    const pair = new Memory(8);
    call("pipe2", pair, O[arch].CLOEXEC);
    const ours = new Fd(pair.view.getInt32(0, true));
    using theirs = new Fd(pair.view.getInt32(4, true));
    sendDatagram(socket, "BARRIER=1", theirs);
    return ours;
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    warn(`cannot notify ${host} (NOTIFY_SOCKET): ${error.call}: ${errnoText(error.errno)}`);
    return undefined;
  }
}

export interface Awaited {
  /** The service manager's socket. */
  readonly host: string;
  /** A pidfd of the container's first process, and its pid. */
  readonly init: Fd;
  readonly pid: number;
  readonly poll: Poll;
  readonly warn: (message: string) => void;
}

/**
 * Waits until the container's service is ready, or has ended; then tells the service manager, and waits until that has
 * heard it: whoever ends right afterwards must not be gone before.
 */
export async function awaitReady(notify: NotifySocket, { host, init, pid, poll, warn }: Awaited): Promise<void> {
  for (;;) {
    const [, hasEnded] = await poll([{ fd: notify.fd }, { fd: init.number }]);
    const ready = notify.readyLine();
    if (ready !== undefined) {
      return await announceAndWait(ready, { host, pid, poll, warn });
    }
    if (hasEnded) return;
  }
}

/** Tells the service manager, and waits until it has heard it. */
export async function announceAndWait(
  ready: string,
  { host, pid, poll, warn }: Omit<Awaited, "init">,
): Promise<void> {
  using barrier = announce(host, ready, pid, warn);
  if (barrier === undefined) return;
  const [isOver] = await poll([{ fd: barrier.number }], BARRIER_PATIENCE);
  if (!isOver) warn("Timeout after waiting 30s for barrier. Ignored.");
}

/**
 * The same for a command that stays: readiness is passed on along with the container's streams. What comes afterwards is
 * read, too: a service may wait until a descriptor that it sent along ("BARRIER=1") is closed.
 */
export class ReadyStream implements Stream {
  readonly isOver = false;
  #isAnnounced = false;

  /** @param pid the process to watch: this one, which ends when the container does */
  constructor(
    readonly notify: NotifySocket,
    readonly host: string,
    readonly pid: number,
    readonly warn: (message: string) => void,
  ) {}

  get waitsFor(): Waiting {
    return { fd: this.notify.fd };
  }

  step(): void {
    const ready = this.notify.readyLine();
    if (ready === undefined || this.#isAnnounced) return;
    this.#isAnnounced = true;
    announce(this.host, ready, this.pid, this.warn)?.close();
  }
}
