/** Unix sockets: names, pairs, connections, messages. Source: unix(7). */
import { AF, MSG, SOCK } from "../src/abi/flags.ts";
import { E } from "../src/abi/errno.ts";
import { SysError } from "../src/errors.ts";
import { call, tryCall } from "./call.ts";
import { Fd } from "./fd.ts";
import { Memory } from "./memory.ts";

/** Two connected sockets that keep message boundaries and report the other side's end. Close-on-exec. */
export function socketPair(type: keyof typeof SOCK & ("SEQPACKET" | "STREAM") = "SEQPACKET"): [Fd, Fd] {
  const pair = new Memory(8);
  call("socketpair", AF.UNIX, SOCK[type] | SOCK.CLOEXEC, 0, pair);
  return [new Fd(pair.view.getInt32(0, true)), new Fd(pair.view.getInt32(4, true))];
}

const SUN_PATH = 2;
const SUN_PATH_MAX = 108;

/**
 * struct sockaddr_un. A path that begins with "@" is a name in the abstract namespace, as in Go and systemd.
 * @throws {SysError} ENAMETOOLONG, as of `operation`
 */
function unixAddress(operation: string, path: string): Memory {
  const name = new TextEncoder().encode(path);
  if (name.length >= SUN_PATH_MAX) throw new SysError(operation, E.NAMETOOLONG, path);
  const isAbstract = path.startsWith("@");
  if (isAbstract) name[0] = 0;
  const address = new Memory(SUN_PATH + name.length + (isAbstract ? 0 : 1));
  address.view.setUint16(0, AF.UNIX, true);
  address.bytes.set(name, SUN_PATH);
  return address;
}

/**
 * A new socket with a name of its own (bind), or connected to the one that has the name. Close-on-exec.
 * @param type of {@link SOCK}, with flags
 * @throws {SysError} of bind(2) or connect(2), about `shown`
 */
export function unixSocket(operation: "bind" | "connect", type: number, path: string, shown = path): Fd {
  const address = unixAddress(operation, path);
  const socket = new Fd(call("socket", AF.UNIX, type | SOCK.CLOEXEC, 0));
  const answer = tryCall(operation, socket.number, address, address.bytes.length);
  if (answer === 0) return socket;
  socket.close();
  throw new SysError(operation, -answer, shown);
}

/** Connects to a listening stream socket. @throws {SysError} of connect(2), about the path */
export const connectUnix = (path: string): Fd => unixSocket("connect", SOCK.STREAM, path);

/** One message that has arrived, without waiting: its length, 0 at the end, undefined when there is none yet. */
export function receive(socket: Fd, into: Memory): number | undefined {
  const length = tryCall("recvfrom", socket.number, into, into.bytes.length, MSG.DONTWAIT, 0, 0);
  if (length === -E.AGAIN) return undefined;
  // The other side's death with unread data is its end, too.
  if (length === -E.CONNRESET) return 0;
  if (length < 0) throw new SysError("recvfrom", -length);
  return length;
}

/** Sends bytes; false when the other side is gone. */
export function send(socket: Fd, message: Memory): boolean {
  return tryCall("sendto", socket.number, message, message.bytes.length, MSG.NOSIGNAL, 0, 0) >= 0;
}
