/** Unix sockets: pairs, connections, messages with descriptors. */
import { AF, MSG, SCM_RIGHTS, SOCK, SOL_SOCKET } from "../src/abi/flags.ts";
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

const SOCKADDR_UN_PATH = 2;
const SUN_PATH_MAX = 107;

/**
 * Connects to a listening stream socket.
 * @throws {SysError} of connect(2), naming the path
 */
export function connectUnix(path: string): Fd {
  const name = new TextEncoder().encode(path);
  if (name.length > SUN_PATH_MAX) throw new SysError("connect", E.NAMETOOLONG, path);
  const address = new Memory(SOCKADDR_UN_PATH + name.length + 1);
  address.view.setUint16(0, AF.UNIX, true);
  address.bytes.set(name, SOCKADDR_UN_PATH);
  const socket = new Fd(call("socket", AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC, 0));
  const answer = tryCall("connect", socket.number, address, address.bytes.length);
  if (answer < 0) {
    socket.close();
    throw new SysError("connect", -answer, path);
  }
  return socket;
}

/** One message that has arrived, without waiting: its length, 0 at the end, undefined when there is none yet. */
export function receive(socket: Fd, into: Memory): number | undefined {
  const length = tryCall("recvfrom", socket.number, into, into.bytes.length, MSG.DONTWAIT, 0, 0);
  if (length === -E.AGAIN) return undefined;
  // The other side's death with unread data is its end, too.
  if (length === -104) return 0;
  if (length < 0) throw new SysError("recvfrom", -length);
  return length;
}

/** Sends bytes; false when the other side is gone. */
export function send(socket: Fd, message: Memory): boolean {
  return tryCall("sendto", socket.number, message, message.bytes.length, MSG.NOSIGNAL, 0, 0) >= 0;
}

const CMSG_HEADER = 16;

/**
 * Receives one message that must carry one descriptor (SCM_RIGHTS); it has arrived already or this waits.
 * Undefined when the other side ended without sending one.
 * @param data takes the bytes of the message
 */
export function receiveDescriptor(socket: Fd, data = new Memory(4096)): Fd | undefined {
  const control = new Memory(CMSG_HEADER + 8);
  const iovec = new Memory(16);
  iovec.view.setBigUint64(0, BigInt(data.address), true);
  iovec.view.setBigUint64(8, BigInt(data.bytes.length), true);
  const header = new Memory(56);
  header.view.setBigUint64(16, BigInt(iovec.address), true);
  header.view.setBigUint64(24, 1n, true);
  header.view.setBigUint64(32, BigInt(control.address), true);
  header.view.setBigUint64(40, BigInt(control.bytes.length), true);
  const length = call("recvmsg", socket.number, header, MSG.CMSG_CLOEXEC);
  // SAFETY: the memory that the header points to is read here, after the call.
  if (length === 0 || iovec.bytes.length === 0 || data.bytes.length === 0) return undefined;
  const isRights = control.view.getUint32(8, true) === SOL_SOCKET && control.view.getUint32(12, true) === SCM_RIGHTS;
  if (!isRights || Number(control.view.getBigUint64(0, true)) < CMSG_HEADER + 4) return undefined;
  return new Fd(control.view.getInt32(CMSG_HEADER, true));
}
