/** Copies bytes from one descriptor to another, a step at a time, without ever waiting for either. */
import { E } from "../abi/errno.ts";
import { F, POLL, SPLICE } from "../abi/flags.ts";
import { tryCall } from "../../ffi/call.ts";
import { Memory } from "../../ffi/memory.ts";
import type { Waiting } from "../../ffi/poll.ts";

const BUFFER_SIZE = 64 * 1024;
/** A pipe that can be written at all takes this much without blocking. Source: pipe(7), PIPE_BUF. */
const PIPE_BUF = 4096;
/** Steps before others get their turn: a fast writer must not keep signals waiting. */
const TURN = 64;
/** What one splice(2) may move: as much as a pipe can be made to hold. */
const SPLICE_MAX = 1024 * 1024;

/** Work that waits for one descriptor at a time. */
export interface Stream {
  readonly isOver: boolean;
  /** What to poll for; undefined when it is over. */
  readonly waitsFor: Waiting | undefined;
  /** Does what can be done now. */
  step(): void;
}

/** A stream that copies all of one descriptor to another. */
export class Pump implements Stream {
  readonly #from: number;
  readonly #to: number;
  readonly #buffer = new Memory(BUFFER_SIZE);
  /** struct pollfd, then struct timespec. */
  readonly #pollfd = new Memory(24);
  #start = 0;
  #end = 0;
  /** From pipe to pipe, the kernel moves the bytes itself; looked at when there is something to move. */
  #isBetweenPipes: boolean | undefined;
  #isTargetFull = false;
  #isOver = false;

  /** @param atEnd called once, when the source has ended and everything is written, or the target takes no more */
  constructor(from: number, to: number, readonly atEnd: () => void = () => {}) {
    this.#from = from;
    this.#to = to;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** What to poll for; undefined when it is over. */
  get waitsFor(): Waiting | undefined {
    if (this.#isOver) return undefined;
    return this.#isTargetFull || this.#start < this.#end ? { fd: this.#to, write: true } : { fd: this.#from };
  }

  /** Copies what can be copied now. */
  step(): void {
    this.#isBetweenPipes ??= isPipe(this.#from) && isPipe(this.#to);
    for (let i = 0; i < TURN && !this.#isOver; i++) {
      if (this.#isBetweenPipes) {
        if (!this.#splice()) return;
        continue;
      }
      const { fd, write } = this.waitsFor!;
      if (!isReady(this.#pollfd, fd, write ?? false)) return;
      if (write) this.#write();
      else this.#read();
    }
  }

  /** @returns whether there may be more to move now */
  #splice(): boolean {
    const moved = tryCall("splice", this.#from, 0, this.#to, 0, SPLICE_MAX, SPLICE.NONBLOCK);
    if (moved === -E.AGAIN) {
      // Nothing to read, or no room to write.
      this.#isTargetFull = isReady(this.#pollfd, this.#from, false);
      return false;
    }
    this.#isTargetFull = false;
    if (moved <= 0) this.#finish();
    return moved > 0;
  }

  #read(): void {
    const length = tryCall("read", this.#from, this.#buffer, BUFFER_SIZE);
    if (length === -E.AGAIN) return;
    // EIO is how a terminal's master says that no one has the other end any more.
    if (length <= 0) return this.#finish();
    this.#start = 0;
    this.#end = length;
  }

  #write(): void {
    const size = Math.min(PIPE_BUF, this.#end - this.#start);
    const written = tryCall("write", this.#to, this.#buffer.address + this.#start, size);
    if (written === -E.AGAIN) return;
    if (written < 0) return this.#finish();
    this.#start += written;
  }

  #finish(): void {
    this.#isOver = true;
    this.atEnd();
  }
}

const isPipe = (fd: number): boolean => tryCall("fcntl", fd, F.GETPIPE_SZ) > 0;

/** Whether a descriptor can be read (or written) right now, or has ended. */
function isReady(pollfd: Memory, fd: number, write: boolean): boolean {
  pollfd.view.setInt32(0, fd, true);
  pollfd.view.setInt16(4, write ? POLL.OUT : POLL.IN, true);
  // A timeout of zero: the two words behind the pollfd.
  return tryCall("ppoll", pollfd, 1, pollfd.address + 8, 0, 8) > 0;
}
