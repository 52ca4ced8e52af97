/**
 * The starter's side of a running plan: hears what the executor reports, answers where the plan asks, and turns a
 * failure into words with the plan's own step.
 */
import { errnoName, errnoText } from "../abi/errno.ts";
import { RunkError } from "../errors.ts";
import { poll } from "../../ffi/poll.ts";
import { type Ended, reap } from "../../ffi/process.ts";
import { receive, send } from "../../ffi/socket.ts";
import type { Fd } from "../../ffi/fd.ts";
import { Memory } from "../../ffi/memory.ts";
import { describeCall } from "../plan/describe.ts";
import { signalText } from "../abi/names.ts";
import { type Item, MESSAGE, type Plan, type Step, TEXT } from "../plan/types.ts";

/** A step that failed, as the executor reported it. */
export interface Failure {
  readonly step: Step;
  readonly errno: number;
  /** The item of its list that a repeated step was at. */
  readonly item: Item | undefined;
  /** What the kernel or a hook said besides, such as a file system's own message. */
  readonly notes: readonly string[];
}

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
 * Follows a plan until every process that still reports has ended or closed its end.
 * Events whose steps wait for an answer get one when their handler is done.
 * @returns how the spawned process ended
 * @throws {StepError} when a step failed
 */
export async function drive(plan: Plan, pid: number, report: Fd, handlers: EventHandlers): Promise<Ended | undefined> {
  const message = new Memory(MESSAGE_MAX);
  const failures: (Failure & { notes: string[] })[] = [];
  const notes: string[] = [];
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
      const step = plan.steps[message.view.getUint32(4, true)];
      const item = step?.task.each?.[message.view.getUint32(12, true)];
      if (step !== undefined) {
        failures.push({ step, errno: message.view.getInt32(8, true), item, notes: notes.splice(0) });
      }
    } else if (kind === MESSAGE.TEXT) {
      const said = toNote(message.view.getUint32(4, true), decoder.decode(message.bytes.subarray(8, length)));
      // A hook's words come before its failure, a file system's after.
      if (said !== "") {
        (message.view.getUint32(4, true) === TEXT.NOTE ? failures.at(-1)?.notes ?? notes : notes).push(said);
      }
    } else {
      const name = plan.messages[message.view.getUint32(4, true)]!;
      const values = Array.from(
        { length: (length - 8) / 8 },
        (_, i) => Number(message.view.getBigInt64(8 + 8 * i, true)),
      );
      try {
        await handlers[name]?.(values);
        if (asks(plan, name)) send(report, new Memory(1));
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
  const first = failures[0];
  if (first !== undefined) throw new StepError(describeFailure(first, plan), failures);
  return ended;
}

const asks = (plan: Plan, name: string) => plan.steps.some((step) => step.sync === name && step.call === "recvfrom");

/** The part of an error message that a text from the executor makes. */
function toNote(tag: number, said: string): string {
  switch (tag) {
    case TEXT.EXIT:
      return `exit status ${said}`;
    case TEXT.SIGNAL:
      return `signal: ${signalText(Number(said))}`;
    case TEXT.STDOUT:
      return `stdout: ${said}`;
    case TEXT.STDERR:
      return `stderr: ${said}`;
    default:
      return said.trim();
  }
}

/** The words for a failed step: what it was for, the call with its decoded arguments, the error, the place in the config. */
export function describeFailure({ step, errno, item, notes }: Failure, plan: Plan): string {
  const path = item?.path ?? step.task.path;
  const place = path === undefined ? "" : ` [config.json ${path}]`;
  const fill = (text: string) => text.replaceAll("{item}", item?.item ?? "").replaceAll("{note}", item?.note ?? "");
  if (step.error !== undefined) {
    const cause = errno === 0 ? "" : `: ${errnoText(errno)}`;
    return fill(step.error) + cause + (notes.length === 0 ? "" : `: ${notes.join(", ")}`) + place;
  }
  const said = notes.length === 0 ? "" : ` (${notes.join("; ")})`;
  const what = fill(step.task.error ?? `cannot ${step.task.why}`);
  return `${what}: ${describeCall(step, plan)}: ${errnoText(errno)} (${errnoName(errno)})${said}${place}`;
}
