/** Waiting for descriptors without blocking the event loop. */
import { POLL } from "../src/abi/flags.ts";
import { callAsync } from "./call.ts";
import { Memory } from "./memory.ts";

const POLLFD_SIZE = 8;

/** A descriptor to wait for; `write` waits until it can be written, otherwise until it can be read (or has ended). */
export interface Waiting {
  readonly fd: number;
  readonly write?: boolean;
}

/**
 * Waits until at least one descriptor is ready (data, end, error) and returns which are, in the order given.
 * `timeout` in milliseconds; none waits for ever. Holds one of the 32 threads of Deno's pool meanwhile.
 */
export async function poll(waiting: readonly Waiting[], timeout?: number): Promise<boolean[]> {
  const fds = new Memory(waiting.length * POLLFD_SIZE);
  waiting.forEach(({ fd, write }, i) => {
    fds.view.setInt32(i * POLLFD_SIZE, fd, true);
    fds.view.setInt16(i * POLLFD_SIZE + 4, write ? POLL.OUT : POLL.IN, true);
  });
  const limit = timeout === undefined ? undefined : new Memory(16);
  if (limit !== undefined && timeout !== undefined) {
    limit.view.setBigInt64(0, BigInt(Math.floor(timeout / 1000)), true);
    limit.view.setBigInt64(8, BigInt(Math.floor(timeout % 1000 * 1e6)), true);
  }
  await callAsync("ppoll", fds, waiting.length, limit ?? 0, 0, 8);
  return waiting.map((_, i) => fds.view.getInt16(i * POLLFD_SIZE + 6, true) !== 0);
}
