/** The socket that takes a pidfd of a new process. */
import { errnoText } from "../abi/errno.ts";
import { RunkError, SysError } from "../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { connectUnix } from "../../ffi/socket.ts";

/** @throws {RunkError} in runc's words, its spelling included: clients match texts */
export function connectPidfdSocket(path: string): Fd {
  try {
    return connectUnix(path);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    throw new RunkError(`failed to dail ${path}: ${error.call}: ${errnoText(error.errno)}`);
  }
}
