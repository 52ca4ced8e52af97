/** A listening unix socket, as clients of runk have them for terminals and pidfds. */
import { call } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { Memory } from "../../ffi/memory.ts";
import { receiveDescriptor } from "../../ffi/message.ts";
import { unixSocket } from "../../ffi/socket.ts";
import { SOCK } from "../../src/abi/flags.ts";

const BACKLOG = 8;

/** A descriptor that came in, and the text that came with it. */
export interface Received extends Disposable {
  readonly fd: Fd;
  readonly text: string;
}

export class UnixServer implements Disposable {
  readonly #socket: Fd;

  constructor(readonly path: string) {
    this.#socket = unixSocket("bind", SOCK.STREAM, path);
    call("listen", this.#socket.number, BACKLOG);
  }

  get fd(): number {
    return this.#socket.number;
  }

  /** The next connection's message with a descriptor; both must have arrived already, or this waits. */
  receive(): Received {
    using connection = new Fd(call("accept4", this.#socket.number, 0, 0, SOCK.CLOEXEC));
    const data = new Memory(256);
    const fd = receiveDescriptor(connection, data);
    if (fd === undefined) throw new Error(`no descriptor came to ${this.path}`);
    const text = new TextDecoder().decode(data.bytes.subarray(0, data.bytes.indexOf(0)));
    return { fd, text, [Symbol.dispose]: () => fd.close() };
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** The pid that a pidfd is for. */
export function pidOf(pidfd: Fd): number {
  return Number(/^Pid:\t(-?\d+)$/m.exec(Deno.readTextFileSync(`/proc/self/fdinfo/${pidfd.number}`))?.[1]);
}
