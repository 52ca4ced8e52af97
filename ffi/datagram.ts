/** Unix datagram sockets, as sd_notify(3) uses them. */
import { AF, MSG, SCM_RIGHTS, SOCK, SOL_SOCKET } from "../src/abi/flags.ts";
import { O } from "../src/abi/arch.ts";
import { E } from "../src/abi/errno.ts";
import { SysError } from "../src/errors.ts";
import { call, tryCall } from "./call.ts";
import { Fd } from "./fd.ts";
import { arch } from "./libc.ts";
import { Memory, memoryOf } from "./memory.ts";

const PATH_AT = 2;
const PATH_MAX = 108;
const DATAGRAM_MAX = 64 * 1024;
const NONBLOCK = O.x86_64.NONBLOCK;

/** struct sockaddr_un. A name that begins with "@" is in the abstract namespace, as systemd writes it. */
function address(path: string): Memory {
  const name = new TextEncoder().encode(path);
  if (name.length >= PATH_MAX) throw new SysError("connect", E.NAMETOOLONG, path);
  const isAbstract = path.startsWith("@");
  if (isAbstract) name[0] = 0;
  const result = new Memory(PATH_AT + name.length + (isAbstract ? 0 : 1));
  result.view.setUint16(0, AF.UNIX, true);
  result.bytes.set(name, PATH_AT);
  return result;
}

const datagramSocket = () => new Fd(call("socket", AF.UNIX, SOCK.DGRAM | SOCK.CLOEXEC | NONBLOCK, 0));

function withAddress(operation: "bind" | "connect", path: string, shown: string): Fd {
  const socket = datagramSocket();
  const name = address(path);
  const answer = tryCall(operation, socket.number, name, name.bytes.length);
  if (answer === 0) return socket;
  socket.close();
  throw new SysError(operation, -answer, shown);
}

/**
 * A socket that listens under `directory`/`name`, however long that path is.
 * @throws {SysError} of bind(2)
 */
export function bindDatagram(directory: string, name: string): Fd {
  const path = memoryOf(new TextEncoder().encode(directory + "\0"));
  using place = new Fd(call("openat", -100, path, O[arch].PATH | O[arch].DIRECTORY | O[arch].CLOEXEC, 0));
  return withAddress("bind", `/proc/self/fd/${place.number}/${name}`, `${directory}/${name}`);
}

/** A socket that sends to a path or an abstract name. @throws {SysError} of connect(2) */
export const connectDatagram = (path: string): Fd => withAddress("connect", path, path);

/** A datagram that has arrived, as text; undefined when there is none yet. */
export function receiveDatagram(socket: Fd): string | undefined {
  const data = new Memory(DATAGRAM_MAX);
  const length = tryCall("recvfrom", socket.number, data, DATAGRAM_MAX, MSG.DONTWAIT, 0, 0);
  if (length === -E.AGAIN) return undefined;
  if (length < 0) throw new SysError("recvfrom", -length);
  return new TextDecoder().decode(data.bytes.subarray(0, length));
}

const CMSG_HEADER = 16;

/** Sends a datagram, with a descriptor where one is given. @throws {SysError} */
export function sendDatagram(socket: Fd, text: string, descriptor?: Fd): void {
  const data = memoryOf(new TextEncoder().encode(text));
  const iovec = new Memory(16);
  iovec.view.setBigUint64(0, BigInt(data.address), true);
  iovec.view.setBigUint64(8, BigInt(data.bytes.length), true);
  const header = new Memory(56);
  header.view.setBigUint64(16, BigInt(iovec.address), true);
  header.view.setBigUint64(24, 1n, true);
  const control = new Memory(CMSG_HEADER + 8);
  if (descriptor !== undefined) {
    control.view.setBigUint64(0, BigInt(CMSG_HEADER + 4), true);
    control.view.setUint32(8, SOL_SOCKET, true);
    control.view.setUint32(12, SCM_RIGHTS, true);
    control.view.setInt32(CMSG_HEADER, descriptor.number, true);
    header.view.setBigUint64(32, BigInt(control.address), true);
    header.view.setBigUint64(40, BigInt(control.bytes.length), true);
  }
  const sent = tryCall("sendmsg", socket.number, header, MSG.NOSIGNAL);
  // SAFETY: the memory that the header points to is read here, after the call.
  if (sent < 0 || data.bytes.length + iovec.bytes.length + control.bytes.length === 0) {
    throw new SysError("sendmsg", -sent);
  }
}
