/**
 * Builds a plan: lanes of steps with named slots, labels and buffers. A slot that is read before anything can have set
 * it, a label that nothing binds and a name bound twice are errors here, not surprises in the kernel.
 */
import type { Arch, OpenFlags } from "../abi/arch.ts";
import { O } from "../abi/arch.ts";
import { E } from "../abi/errno.ts";
import { MSG } from "../abi/flags.ts";
import type { SyscallName } from "../abi/syscalls.ts";
import { isEnd } from "./check.ts";
import type { Buffer, Condition, Item, LaneName, Op, Operand, Plan, Step, Task } from "./types.ts";
import { MESSAGE, REF, Ref, RESERVED_SLOTS, WARNING } from "./types.ts";

const NOTHING: SyscallOptions = {};

/** The value of slot `name`. */
export const slot = (name: string): Ref => new Ref(REF.SLOT, name);
/** The address of the constant string `text`. */
export const text = (text: string): Ref => new Ref(REF.TEXT, text);
/** The address of constant bytes; `means` says for people what they are. */
export const bytes = (bytes: Uint8Array, means: string): Ref => new Ref(REF.BYTES, means, bytes);
/** The address of a constant array of 64-bit words. */
export const words = (words: readonly Operand[], means: string): Ref => new Ref(REF.WORDS, means, words);
/** The address of constant 32-bit numbers (ids, struct fields). */
export const u32s = (values: readonly number[], means: string): Ref =>
  bytes(new Uint8Array(Uint32Array.from(values).buffer), means);
/** The length in bytes of a text. */
export const size = (text: string): Ref => new Ref(REF.SIZE, text);
/** As text and size, for a piece of a JSON document. */
export const json = (text: string): Ref => new Ref(REF.JSON, text);
/** The length in bytes of such a piece. */
export const jsonSize = (text: string): Ref => new Ref(REF.SIZE, text, undefined, REF.JSON);
/** The place of a label. */
export const place = (label: string): Ref => new Ref(REF.LABEL, label);

export interface SyscallOptions {
  /** Slot that takes the result. */
  readonly out?: string | undefined;
  /** Error numbers that are no failure. */
  readonly tolerate?: readonly number[] | undefined;
  /** Label to go to after a tolerated error; the next step without one. */
  readonly to?: string | undefined;
  /** Words for this step's own failure. */
  readonly error?: string | undefined;
  readonly sync?: string | undefined;
}

/** One sequence of steps, run by one process. */
export class Lane {
  readonly steps: Step[] = [];
  /** Where a failing step goes from here on. */
  failLabel: string;
  #task: Task = { why: "" };

  constructor(readonly builder: PlanBuilder, readonly name: LaneName) {
    this.failLabel = `${name} failed`;
  }

  /** The steps added from here on are for this. */
  task(why: string, options: Omit<Task, "why"> = {}): this {
    this.#task = { why, ...options };
    return this;
  }

  /** One system call. */
  sys(call: SyscallName, args: readonly Operand[], options: SyscallOptions = NOTHING): this {
    const { out, tolerate, to, error, sync } = options;
    return this.#add("syscall", args, call, out, 0, undefined, 0, tolerate, to, error, sync);
  }

  /** out = a + b */
  set(out: string, a: Operand, b: Operand = 0): this {
    return this.#add("set", [a, b], undefined, out);
  }

  /** out = `size` bytes at address + offset */
  load(out: string, size: 1 | 2 | 4 | 8, address: Operand, offset: Operand = 0): this {
    return this.#add("load", [address, offset], undefined, out, size);
  }

  /** `size` bytes at address + offset = value */
  store(size: 1 | 2 | 4 | 8, value: Operand, address: Operand, offset: Operand = 0): this {
    return this.#add("store", [address, offset, value], undefined, undefined, size);
  }

  /** Writes `value` in decimal, and a NUL, at `address`; `out` takes the number of digits. */
  format(value: Operand, address: Operand, out?: string): this {
    return this.#add("format", [value, address], undefined, out);
  }

  /** Goes to a label, when the condition holds (always, without one). */
  jump(to: string, when?: Condition): this {
    return this.#add("jump", [], undefined, undefined, 0, when, 0, undefined, to);
  }

  /** Goes to the label that `place` holds (set by `set(name, place(label))`): the end of a shared sequence of steps. */
  jumpBack(name: string): this {
    return this.#add("jump", [slot(name)]);
  }

  /** Fails with `error` (and an error number), when the condition holds (always, without one). */
  fail(error: string, when?: Condition, errno = 0): this {
    return this.#add("fail", [], undefined, undefined, 0, when, errno, undefined, undefined, error);
  }

  /** Binds a label to the next step of this lane. */
  label(name: string): this {
    this.builder.bind(name, this, this.steps.length);
    return this;
  }

  /** Closes descriptors, each in a step. */
  close(...slots: string[]): this {
    for (const name of slots) this.sys("close", [slot(name)]);
    return this;
  }

  /**
   * Repeats steps over the rows of a table. `body` gets the columns as slots, and a label that goes on with the next
   * row. A failing step's message names its row by `items` (one for each row).
   */
  each(
    items: readonly Item[],
    rows: readonly (readonly Operand[])[],
    body: (columns: readonly Ref[], next: string) => void,
  ): this {
    const width = rows[0]?.length ?? 0;
    if (width === 0) return this;
    const [loop, next, cursor] = [this.builder.unique("each"), this.builder.unique("next"), this.builder.unique("row")];
    const table = words(rows.flat(), "the list");
    const columns = rows[0]!.map((_, i) => `${cursor}.${i}`);
    const outer = this.#task;
    this.#task = { ...outer, each: items };
    this.set("index", 0);
    this.set(cursor, table);
    this.label(loop);
    columns.forEach((column, i) => this.load(column, 8, slot(cursor), 8 * i));
    body(columns.map(slot), next);
    this.label(next);
    this.set("index", slot("index"), 1);
    this.set(cursor, slot(cursor), 8 * width);
    this.jump(loop, { left: slot(cursor), is: "<", right: table.plus(8 * width * rows.length) });
    this.#task = outer;
    return this;
  }

  /** Adds steps that, when they fail, go to `label` instead. */
  failingTo(label: string, steps: () => void): this {
    const outer = this.failLabel;
    this.failLabel = label;
    steps();
    this.failLabel = outer;
    return this;
  }

  #add(
    op: Op,
    args: readonly Operand[],
    call: SyscallName | undefined = undefined,
    out: string | undefined = undefined,
    size = 0,
    when: Condition | undefined = undefined,
    errno = 0,
    tolerate: readonly number[] | undefined = undefined,
    to: string | undefined = undefined,
    error: string | undefined = undefined,
    sync: string | undefined = undefined,
  ): this {
    if (out !== undefined) this.builder.slots.add(out);
    const { name: lane, failLabel: fail } = this;
    this.steps.push({
      op,
      lane,
      task: this.#task,
      args,
      call,
      out,
      size,
      when,
      errno,
      tolerate,
      to,
      fail,
      error,
      sync,
    });
    return this;
  }
}

/** Collects a plan: two lanes, the undoing of what they make, labels, slots and buffers. */
export class PlanBuilder {
  readonly O: OpenFlags;
  /** The lane of the process that the starter spawns, in the host's namespaces. */
  readonly host: Lane;
  /** The lane of the process that becomes the container's. */
  readonly container: Lane;
  readonly #sections: Lane[] = [];
  readonly #undo: Lane[] = [];
  readonly #labels = new Map<string, { lane: Lane; index: number }>();
  readonly #buffers = new Map<string, Buffer>();
  readonly slots = new Set<string>(RESERVED_SLOTS);
  readonly #inputs = new Map<string, string>();
  readonly #messages: string[] = [];
  #unique = 0;

  constructor(readonly arch: Arch) {
    this.O = O[arch];
    this.host = new Lane(this, "host");
    this.container = new Lane(this, "container");
  }

  /** A slot whose value the starter gives. */
  input(name: string, means: string): Ref {
    if (this.slots.has(name)) throw new Error(`plan: input "${name}" is a slot already`);
    this.#inputs.set(name, means);
    this.slots.add(name);
    return slot(name);
  }

  /** A label that no one else uses. */
  unique(name: string): string {
    return `${name} ${++this.#unique}`;
  }

  bind(name: string, lane: Lane, index: number): void {
    if (this.#labels.has(name)) throw new Error(`plan: label "${name}" is bound twice`);
    this.#labels.set(name, { lane, index });
  }

  /** Writable memory under a name; asking again for the same name gives the same memory. */
  buffer(name: string, size: number, init: { words?: readonly Operand[]; bytes?: Uint8Array } = {}): Ref {
    const known = this.#buffers.get(name);
    if (known === undefined) this.#buffers.set(name, { name, size, ...init });
    else if (known.size !== size) throw new Error(`plan: buffer "${name}" has two sizes`);
    return new Ref(REF.BUFFER, name);
  }

  /** Steps of a lane that stand apart and are reached by a jump to `label`: a helper process, a shared sequence. */
  section(name: LaneName, label: string): Lane {
    const lane = new Lane(this, name);
    if (name === this.container.name) lane.failLabel = this.container.failLabel;
    lane.label(label);
    this.#sections.push(lane);
    return lane;
  }

  /**
   * What takes back a lane's work so far (the host lane's, mostly): run, last first, when a later step of the lane fails.
   * A failure in here is reported and the rest of the undo still runs.
   */
  undo(why: string, steps: (lane: Lane) => void, of: Lane = this.host): void {
    const previous = of.failLabel;
    const label = `undo ${this.#undo.length + 1}: ${why}`;
    const lane = new Lane(this, of.name);
    lane.failLabel = previous;
    lane.task(why);
    lane.label(label);
    steps(lane);
    lane.jump(previous);
    this.#undo.unshift(lane);
    of.failLabel = label;
  }

  /** Tells the starter something: an event's name and the values of slots. */
  notify(lane: Lane, name: string, slots: readonly string[], sync?: string, tolerate?: readonly number[]): void {
    const id = this.#messages.push(name) - 1;
    const message = this.buffer(`message ${name}`, 8 + 8 * slots.length, {
      words: [(BigInt(id) << 32n) | BigInt(MESSAGE.EVENT)],
    });
    slots.forEach((value, index) => lane.store(8, slot(value), message, 8 + 8 * index));
    lane.sys("sendto", [slot("report"), message, 8 + 8 * slots.length, MSG.NOSIGNAL, 0, 0], { sync, tolerate });
  }

  /**
   * Tells the user of a failure that the container can do without, by the words and the answer in slot `result`. Where
   * the container's own filter forbids telling, it is not told.
   */
  warn(lane: Lane, words: string, result: string): void {
    this.notify(lane, WARNING + words, [result], undefined, [E.PERM]);
  }

  /** As notify, and waits until the starter has dealt with it. */
  ask(lane: Lane, name: string, slots: readonly string[]): void {
    this.notify(lane, name, slots, name);
    const answer = this.buffer("answer", 8);
    lane.sys("recvfrom", [slot("report"), answer, 1, 0, 0, 0], { out: "answered", sync: name });
    lane.fail("the process that asked for the container has ended", { left: slot("answered"), is: "==", right: 0 });
  }

  /** The plan, with every reference checked. */
  build(): Plan {
    const undo = ({ name }: Lane) => this.#undo.filter((lane) => lane.name === name);
    const { host, container } = this;
    const lanes = [host, ...undo(host), container, ...undo(container), ...this.#sections];
    const ends = [...new Set(lanes.map(({ name }) => name))].map((name) => this.#end(name));
    const steps: Step[] = [];
    const starts = new Map<Lane, number>();
    for (const lane of [...lanes, ...ends]) {
      const last = lane.steps.at(-1);
      if (last !== undefined && !isEnd(last)) {
        throw new Error(`plan: the ${lane.name} lane does not end after "${last.task.why}"`);
      }
      starts.set(lane, steps.length);
      for (const step of lane.steps) steps.push(step);
    }
    const labels = new Map<string, number>();
    for (const [name, { lane, index }] of this.#labels) {
      const start = starts.get(lane);
      if (start === undefined) throw new Error(`plan: label "${name}" is in no lane of the plan`);
      if (index === lane.steps.length) throw new Error(`plan: nothing follows label "${name}" in its lane`);
      labels.set(name, start + index);
    }
    const plan: Plan = {
      arch: this.arch,
      steps,
      labels,
      buffers: [...this.#buffers.values()],
      slots: [...this.slots],
      inputs: this.#inputs,
      messages: this.#messages,
    };
    return plan;
  }

  /** Where a lane goes that failed and has undone what there was. */
  #end(name: LaneName): Lane {
    const end = new Lane(this, name);
    end.task("end after a failure");
    end.label(end.failLabel);
    end.sys("exit_group", [1]);
    return end;
  }
}
