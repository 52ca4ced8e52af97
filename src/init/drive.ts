/**
 * The starter's side of a running plan: hears what the executor reports, answers where the plan asks, and turns a
 * failure into words with the plan's own step.
 */
import { RunkError } from "../errors.ts";
import type { Poll } from "../../ffi/poll.ts";
import { reap } from "../../ffi/process.ts";
import { receive, send } from "../../ffi/socket.ts";
import type { Fd } from "../../ffi/fd.ts";
import { Memory } from "../../ffi/memory.ts";
import { errnoText } from "../abi/errno.ts";
import { MESSAGE, type Plan, TEXT, WARNING } from "../plan/types.ts";
import type { Relocatable } from "./relocatable.ts";
import type { Failure, Note } from "./failure.ts";

/** A plan that did not come to its end. The message says which step failed, on what, and why. */
export class StepError extends RunkError {
  override name = "StepError";
  readonly failures: readonly Failure[];

  constructor(message: string, failures: readonly Failure[]) {
    super(message);
    this.failures = failures;
  }
}

/** What to do at the plan's events, by name; the values are those of the slots that the plan sends. */
export type EventHandlers = Readonly<Record<string, (values: readonly number[]) => void | Promise<void>>>;

const MESSAGE_MAX = 4096;
const decoder = new TextDecoder();

/**
 * Follows a plan (by the messages it sends) until every process that still reports has ended or closed its end.
 * `getPlan` gives the plan itself, for words about a failure. Events whose steps wait for an answer get one when their handler is done.
 * @throws {StepError} when a step failed, or the spawned process did not come to its end
 */
export async function drive(
  messages: Relocatable["messages"],
  pid: number,
  report: Fd,
  handlers: EventHandlers,
  getPlan: () => Plan | Promise<Plan>,
  poll: Poll,
  warn: (message: string) => void = () => {},
): Promise<void> {
  const message = new Memory(MESSAGE_MAX);
  const failures: { index: number; errno: number; item: number; notes: Note[] }[] = [];
  const notes: Note[] = [];
  let thrown: unknown;
  for (;;) {
    const length = receive(report, message);
    if (length === undefined) {
      await poll([{ fd: report.number }]);
      continue;
    }
    if (length === 0) break;
    const kind = message.view.getUint32(0, true);
    if (kind === MESSAGE.FAILURE) {
      const [index, errno, item] = [4, 8, 12].map((at) => message.view.getInt32(at, true)) as [number, number, number];
      failures.push({ index, errno, item, notes: notes.splice(0) });
    } else if (kind === MESSAGE.TEXT) {
      const tag = message.view.getUint32(4, true);
      // A hook's words come before its failure, a file system's after.
      const target = tag === TEXT.NOTE ? failures.at(-1)?.notes ?? notes : notes;
      target.push([tag, decoder.decode(message.bytes.subarray(8, length))]);
    } else {
      const { name, asks } = messages[message.view.getUint32(4, true)]!;
      const values = Array.from(
        { length: (length - 8) / 8 },
        (_, i) => Number(message.view.getBigInt64(8 + 8 * i, true)),
      );
      if (name.startsWith(WARNING)) warn(`${name.slice(WARNING.length)}: ${errnoText(-values[0]!)}`);
      try {
        await handlers[name]?.(values);
        if (asks) send(report, new Memory(1));
      } catch (error) {
        // Closing the socket is the answer "no": the plan undoes itself.
        thrown = error;
        report.close();
        break;
      }
    }
  }
  const ended = reap(pid, { block: true });
  if (thrown !== undefined) throw thrown;
  if (failures.length > 0) {
    const { describeFailure, toFailure } = await import("./failure.ts");
    const plan = await getPlan();
    const all = failures.map((failure) => toFailure(failure, plan));
    throw new StepError(describeFailure(all[0]!, plan), all);
  }
  if (ended !== undefined && (ended.signalled || ended.status !== 0)) {
    const how = ended.signalled ? `killed by signal ${ended.status}` : `ended with status ${ended.status}`;
    throw new StepError(`runk's init was ${how} before it was done`, []);
  }
}
