/** A failed step in words: loaded only when something failed. */
import { E, errnoName, errnoText } from "../abi/errno.ts";
import { signalText } from "../abi/names.ts";
import { describeCall } from "../plan/describe_call.ts";
import { type Item, type Operand, type Plan, REF, type Step, TEXT } from "../plan/types.ts";

/** A text that came with a failure: what it is (TEXT.*), and the text. */
export type Note = readonly [tag: number, said: string];

/** A step that failed, as the executor reported it. */
export interface Failure {
  readonly step: Step;
  readonly errno: number;
  /** The item of its list that a repeated step was at. */
  readonly item: Item | undefined;
  /** What the kernel or a hook said besides, such as a file system's own message. */
  readonly notes: readonly Note[];
}

/** A failure as the executor reports it, with the plan's own step. */
export function toFailure(
  { index, errno, item, notes }: { index: number; errno: number; item: number; notes: readonly Note[] },
  plan: Plan,
): Failure {
  const step = plan.steps[index];
  if (step === undefined) {
    throw new Error(`runk's init reports a failure of step ${index}, which the plan does not have`);
  }
  return { step: atRow(step, item, plan), errno, item: step.task.each?.[item], notes };
}

/** A step of a loop with the values of the row that it was at, in place of the slots that it got them from (Lane.each). */
function atRow(step: Step, row: number, plan: Plan): Step {
  const { each } = step.task;
  if (each === undefined) return step;
  return { ...step, args: step.args.map((arg) => columnValue(arg, row, each.length, plan) ?? arg) };
}

function columnValue(arg: Operand, row: number, rows: number, { steps }: Plan): Operand | undefined {
  if (typeof arg !== "object" || arg.kind !== REF.SLOT) return undefined;
  const [, cursor, column] = /^(row \d+)\.(\d+)$/.exec(arg.name) ?? [];
  if (cursor === undefined) return undefined;
  const [table] = steps.find(({ op, out }) => op === "set" && out === cursor)?.args ?? [];
  if (typeof table !== "object" || table.kind !== REF.WORDS) return undefined;
  const words = table.data as readonly Operand[];
  return words[(words.length / rows) * row + Number(column)];
}

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

/** The new mount calls say "invalid" where mount(2) said ENOTDIR, whose words clients look for to advise their users. */
const MISMATCH = ", as for a directory on what is not a directory, or the reverse";
/** runc's words. */
const NOT_ORDINARY = ": it must be mounted on ordinary directory, not through a symlink";

/** What the kernel's answer to a call means, where the answer alone does not say it. */
function hintFor({ call, args }: Step, errno: number): string {
  if (call === "move_mount" && errno === E.INVAL) return MISMATCH;
  const [, , how] = args;
  const asksForOrdinary = call === "openat2" && typeof how === "object" && how.name.includes("ordinary directory");
  return asksForOrdinary && (errno === E.NOTDIR || errno === E.LOOP) ? NOT_ORDINARY : "";
}

/** The words for a failed step: what it was for, the call with its decoded arguments, the error, the place in the config. */
export function describeFailure({ step, errno, item, notes: said }: Failure, plan: Plan): string {
  const notes = said.map(([tag, text]) => toNote(tag, text)).filter((note) => note !== "");
  const path = item?.path ?? step.task.path;
  const place = path === undefined ? "" : ` [config.json ${path}]`;
  const fill = (text: string) => text.replaceAll("{item}", item?.item ?? "").replaceAll("{note}", item?.note ?? "");
  if (step.error !== undefined) {
    const cause = errno === 0 ? "" : `: ${errnoText(errno)}`;
    return fill(step.error) + cause + (notes.length === 0 ? "" : `: ${notes.join(", ")}`) + place;
  }
  const remarks = notes.length === 0 ? "" : ` (${notes.join("; ")})`;
  const what = fill(step.task.error ?? `cannot ${step.task.why}`);
  const answer = `${errnoText(errno)} (${errnoName(errno)})${hintFor(step, errno)}`;
  return `${what}: ${describeCall(step, plan)}: ${answer}${remarks}${place}`;
}
