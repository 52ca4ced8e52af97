/**
 * Stays with a process in the foreground: copies its streams, passes signals on, collects children, and gives its exit
 * status. Signal dispositions of the whole process change: for commands only.
 */
import { type Ended, pidfdOpen, pidfdSignal, reap } from "../../ffi/process.ts";
import type { Poll, Waiting } from "../../ffi/poll.ts";
import { SignalPipe } from "../../ffi/signals.ts";
import { SIG, SIGNAL_COUNT } from "../abi/names.ts";
import type { Stream } from "./pump.ts";

/**
 * Signals that are not the container's: those a fault in this very process raises (4 5 6 7 8 11 31), those that cannot
 * be caught, SIGPIPE (our own writing), SIGURG, and the two that libc keeps for itself.
 */
const OWN_SIGNALS = new Set([4, 5, 6, 7, 8, SIG.KILL, 11, SIG.PIPE, SIG.STOP, SIG.URG, 31, 32, 33]);

/** Catches what is to be passed on; before the process is started, so that nothing is missed. */
export const catchSignals = (): SignalPipe =>
  new SignalPipe(Array.from({ length: SIGNAL_COUNT }, (_, i) => i + 1).filter((signal) => !OWN_SIGNALS.has(signal)));

export interface Attendance {
  /** A child of this process. */
  readonly pid: number;
  readonly poll: Poll;
  readonly signals: SignalPipe;
  /** Copying that goes on while the process lives. */
  readonly input: readonly Stream[];
  /** Copying that goes on until it ends by itself, which may be after the process: others may hold the other end. */
  readonly output: readonly Stream[];
  /** The user's terminal has a new size. */
  readonly onResize?: () => void;
  /** SIGINT is not passed on but ends the attendance: the process is left alone (runc's behaviour with a terminal). */
  readonly interruptEnds?: boolean;
}

const SIGNALLED = 128;

/**
 * @returns the exit status: the process's own, or 128 and the number of the signal that killed it; undefined for an
 * attendance that SIGINT ended
 */
export async function attend(
  { pid, poll, signals, input, output, onResize, interruptEnds }: Attendance,
): Promise<number | undefined> {
  using process = pidfdOpen(pid);
  let ended: Ended | undefined;
  for (;;) {
    ended ??= collect(pid);
    const pumps = [...(ended === undefined ? input : []), ...output].filter((pump) => !pump.isOver);
    if (ended !== undefined && output.every((pump) => pump.isOver)) break;
    const waits: Waiting[] = [{ fd: signals.fd }];
    if (ended === undefined) waits.push({ fd: process.number });
    for (const pump of pumps) waits.push(pump.waitsFor!);
    await poll(waits);
    for (const signal of signals.take()) {
      if (signal === SIG.WINCH) onResize?.();
      else if (signal === SIG.INT && interruptEnds) return undefined;
      else if (signal !== SIG.CHLD && ended === undefined) passOn(process, signal);
    }
    for (const pump of pumps) pump.step();
  }
  return ended.signalled ? SIGNALLED + ended.status : ended.status;
}

function passOn(process: Parameters<typeof pidfdSignal>[0], signal: number): void {
  try {
    pidfdSignal(process, signal);
  } catch {
    // It has ended; its status is what counts.
  }
}

/** Collects all children that have ended; returns the one asked for. */
function collect(pid: number): Ended | undefined {
  let found: Ended | undefined;
  for (let ended = reap("any"); ended !== undefined; ended = reap("any")) {
    if (ended.pid === pid) found = ended;
  }
  return found;
}
