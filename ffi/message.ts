/**
 * Messages with a descriptor: struct msghdr with one control message (SCM_RIGHTS), as 64-bit machines lay it out.
 * Source: sendmsg(2), recvmsg(2), cmsg(3), unix(7).
 */
import { MSG, SCM_RIGHTS, SOL_SOCKET } from "../src/abi/flags.ts";
import { E } from "../src/abi/errno.ts";
import { SysError } from "../src/errors.ts";
import { call, tryCall } from "./call.ts";
import { Fd } from "./fd.ts";
import { Memory } from "./memory.ts";

const MSGHDR = { size: 56, iov: 16, iovlen: 24, control: 32, controllen: 40, flags: 48 };
const IOVEC = { size: 16, base: 0, len: 8 };
/** struct cmsghdr; what it carries follows, filled up to 8 bytes. */
const CMSGHDR = { size: 16, len: 0, level: 8, type: 12 };
const DESCRIPTOR = { size: 4, space: 8 };

interface Message {
  readonly header: Memory;
  readonly control: Memory;
  /** What `header` leads to. Further arguments, which these system calls do not look at, are kept until they return. */
  readonly keep: readonly [Memory, Memory, Memory];
}

/** A message of `data`, with room for one descriptor. */
function message(data: Memory): Message {
  const iovec = new Memory(IOVEC.size);
  iovec.view.setBigUint64(IOVEC.base, BigInt(data.address), true);
  iovec.view.setBigUint64(IOVEC.len, BigInt(data.bytes.length), true);
  const control = new Memory(CMSGHDR.size + DESCRIPTOR.space);
  const header = new Memory(MSGHDR.size);
  header.view.setBigUint64(MSGHDR.iov, BigInt(iovec.address), true);
  header.view.setBigUint64(MSGHDR.iovlen, 1n, true);
  header.view.setBigUint64(MSGHDR.control, BigInt(control.address), true);
  header.view.setBigUint64(MSGHDR.controllen, BigInt(control.bytes.length), true);
  return { header, control, keep: [data, iovec, control] };
}

/** Sends bytes and a descriptor with them; it stays open here. @throws {SysError} of sendmsg(2) */
export function sendDescriptor(socket: Fd, data: Memory, descriptor: Fd): void {
  const { header, control, keep } = message(data);
  control.view.setBigUint64(CMSGHDR.len, BigInt(CMSGHDR.size + DESCRIPTOR.size), true);
  control.view.setUint32(CMSGHDR.level, SOL_SOCKET, true);
  control.view.setUint32(CMSGHDR.type, SCM_RIGHTS, true);
  control.view.setInt32(CMSGHDR.size, descriptor.number, true);
  call("sendmsg", socket.number, header, MSG.NOSIGNAL, ...keep);
}

export interface Received {
  /** 0 when the other side has ended. */
  readonly length: number;
  readonly descriptor: Fd | undefined;
}

/**
 * Receives one message with the descriptor that it may carry, close-on-exec here; it has arrived already or this waits.
 * @param data takes the bytes of the message
 * @throws {SysError} of recvmsg(2); EMSGSIZE for a message that is longer than `data`
 */
export function receiveMessage(socket: Fd, data: Memory): Received {
  const { header, control, keep } = message(data);
  const length = tryCall("recvmsg", socket.number, header, MSG.CMSG_CLOEXEC, ...keep);
  // The other side's death with unread data is its end, too.
  if (length === -E.CONNRESET) return { length: 0, descriptor: undefined };
  if (length < 0) throw new SysError("recvmsg", -length);
  const isRights = control.view.getUint32(CMSGHDR.level, true) === SOL_SOCKET &&
    control.view.getUint32(CMSGHDR.type, true) === SCM_RIGHTS &&
    control.view.getBigUint64(CMSGHDR.len, true) >= BigInt(CMSGHDR.size + DESCRIPTOR.size);
  const descriptor = isRights ? new Fd(control.view.getInt32(CMSGHDR.size, true)) : undefined;
  if ((header.view.getUint32(MSGHDR.flags, true) & MSG.TRUNC) !== 0) {
    descriptor?.close();
    throw new SysError("recvmsg", E.MSGSIZE);
  }
  return { length, descriptor };
}

/** The descriptor that one message carries; undefined when the other side ended, or sent none. */
export const receiveDescriptor = (socket: Fd, data = new Memory(4096)): Fd | undefined =>
  receiveMessage(socket, data).descriptor;
