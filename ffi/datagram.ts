/** Unix datagram sockets, as sd_notify(3) uses them. */
import { AT_FDCWD, MSG, SOCK } from "../src/abi/flags.ts";
import { O } from "../src/abi/arch.ts";
import { call } from "./call.ts";
import { Fd } from "./fd.ts";
import { arch } from "./libc.ts";
import { cstring, Memory, memoryOf } from "./memory.ts";
import { sendDescriptor } from "./message.ts";
import { receive, unixSocket } from "./socket.ts";

const DATAGRAM_MAX = 64 * 1024;
const TYPE = SOCK.DGRAM | O[arch].NONBLOCK;

/**
 * A socket that listens under `directory`/`name`, however long that path is.
 * @throws {SysError} of bind(2)
 */
export function bindDatagram(directory: string, name: string): Fd {
  using place = new Fd(
    call("openat", AT_FDCWD, cstring(directory), O[arch].PATH | O[arch].DIRECTORY | O[arch].CLOEXEC, 0),
  );
  return unixSocket("bind", TYPE, `/proc/self/fd/${place.number}/${name}`, `${directory}/${name}`);
}

/** A socket that sends to a path or an abstract name. @throws {SysError} of connect(2) */
export const connectDatagram = (path: string): Fd => unixSocket("connect", TYPE, path);

/** A datagram that has arrived, as text; undefined when there is none yet. */
export function receiveDatagram(socket: Fd): string | undefined {
  const data = new Memory(DATAGRAM_MAX);
  const length = receive(socket, data);
  return length === undefined ? undefined : data.text(length);
}

/** Sends a datagram, with a descriptor where one is given. @throws {SysError} */
export function sendDatagram(socket: Fd, text: string, descriptor?: Fd): void {
  const data = memoryOf(new TextEncoder().encode(text));
  if (descriptor !== undefined) return sendDescriptor(socket, data, descriptor);
  call("sendto", socket.number, data, data.bytes.length, MSG.NOSIGNAL, 0, 0);
}
