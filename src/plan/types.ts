/**
 * A plan: everything that making (or joining) a container asks of the kernel, as data. One step is one system call, or
 * one of the few moves between results and arguments that the executor knows. Pure: nothing here touches the kernel.
 */
import type { Arch } from "../abi/arch.ts";
import type { SyscallName } from "../abi/syscalls.ts";

/** What an operand refers to. */
export const REF = { SLOT: 0, TEXT: 1, BYTES: 2, WORDS: 3, BUFFER: 4, LABEL: 5, SIZE: 6, JSON: 7 } as const;

/**
 * An operand that is not a number. One class for all kinds, because a plan has a thousand of them and is made while
 * someone waits.
 * - SLOT: the value of slot `name`, a result kept under a name (mostly a descriptor)
 * - TEXT: the address of the constant NUL-terminated string `name`
 * - BYTES: the address of constant bytes, `data`; `name` says for people what they are
 * - WORDS: the address of a constant array of 64-bit words, which may be addresses themselves (argv, iovec)
 * - BUFFER: an address in the writable buffer `name`
 * - LABEL: the place of label `name`, to be kept in a slot and jumped to from there
 * - SIZE: the length in bytes of the text `name`
 * - JSON: as TEXT, for a piece of a JSON document: values of parameters in it are escaped
 */
export class Ref {
  constructor(
    readonly kind: number,
    readonly name: string,
    readonly data: Uint8Array | readonly Operand[] | undefined = undefined,
    /** Bytes from the start of what is referred to. */
    readonly at: number = 0,
  ) {}

  /** The place `offset` bytes further on. */
  plus(offset: number): Ref {
    return new Ref(this.kind, this.name, this.data, this.at + offset);
  }
}

/** An argument of a step. Numbers are immediate; the rest is resolved when the plan is encoded. */
export type Operand = number | bigint | Ref;

/** Writable memory of the plan: zeroed, or filled from 64-bit words (which may be addresses) or bytes. */
export interface Buffer {
  readonly name: string;
  readonly size: number;
  readonly words?: readonly Operand[];
  readonly bytes?: Uint8Array;
}

/** `(left & mask) is right`, compared as unsigned 64-bit numbers. */
export interface Condition {
  readonly left: Operand;
  readonly is: "==" | "!=" | "<";
  readonly right: Operand;
  readonly mask?: number | bigint;
}

/** What a run of steps is for. Steps of one task share the object. */
export interface Task {
  /** Why the steps are there: one sentence for people. */
  readonly why: string;
  /** Where in config.json it comes from, as a JSON pointer: `/mounts/3`. */
  readonly path?: string;
  /**
   * What failed, in runc's words where clients match them: `error mounting "proc" to rootfs at "/proc"`. In a task over
   * a list, {item} and {note} stand for those of the failed item.
   */
  readonly error?: string;
  /** The task repeats its steps over a list. */
  readonly each?: readonly Item[];
}

/** One item of a task over a list: its name, where in config.json it comes from, a remark for its error. */
export interface Item {
  readonly item: string;
  readonly path?: string;
  readonly note?: string;
}

/** The name of a sequence of steps that one process runs: "host", "container", or a helper's. */
export type LaneName = string;

export type Op = "syscall" | "set" | "load" | "store" | "format" | "jump" | "fail";

export interface Step {
  /**
   * - syscall: out = call(args)
   * - set: out = args[0] + args[1]
   * - load: out = `size` bytes at args[0] + args[1]
   * - store: `size` bytes at args[0] + args[1] = args[2]
   * - format: write args[0] as decimal digits and a NUL at args[1]; out = number of digits
   * - jump: go to `to` (or to the label kept in slot args[0]) when `when` holds (always, without one)
   * - fail: fail when `when` holds (always, without one) with error number `errno`
   */
  readonly op: Op;
  readonly lane: LaneName;
  readonly task: Task;
  readonly args: readonly Operand[];
  readonly call: SyscallName | undefined;
  readonly out: string | undefined;
  readonly size: number;
  readonly when: Condition | undefined;
  readonly errno: number;
  /** Error numbers that are no failure. After one the step counts as done, or goes to `to` where that is given. */
  readonly tolerate: readonly number[] | undefined;
  /** Label to go to: of a jump, or after a tolerated error. */
  readonly to: string | undefined;
  /** Label to go to after a failure was reported. */
  readonly fail: string;
  /** Words for this step's own failure, instead of the call and its error. */
  readonly error: string | undefined;
  /** The step meets another process under this name. */
  readonly sync: string | undefined;
}

export interface Plan {
  readonly arch: Arch;
  /** All steps: the host lane, its undo, the container lane, then helpers. */
  readonly steps: readonly Step[];
  /** Label -> index in `steps`. */
  readonly labels: ReadonlyMap<string, number>;
  readonly buffers: readonly Buffer[];
  /** All slots, in the order of their numbers. */
  readonly slots: readonly string[];
  /** Slots whose values (descriptors) the starter gives: name -> what it is. */
  readonly inputs: ReadonlyMap<string, string>;
  /** Names of the messages to the starter, in the order of their numbers. */
  readonly messages: readonly string[];
}

/**
 * Slots that the executor itself uses when a step fails. `report`: the socket to the starter, -1 once closed.
 * `index`: which item of its list a repeated step was at. `errno`: takes the error number of the failure.
 */
export const RESERVED_SLOTS = ["report", "index", "errno"] as const;

/** First word of a message on the report socket. */
export const MESSAGE = { FAILURE: 1, TEXT: 2, EVENT: 3 } as const;

/** Second word of a TEXT message: what the text is. */
export const TEXT = { NOTE: 0, STDOUT: 1, STDERR: 2, EXIT: 3, SIGNAL: 4 } as const;

/** A message whose name begins with this is a warning: the rest are its words, its one value a negative error number. */
export const WARNING = "warning: ";
