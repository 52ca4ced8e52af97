/** Carries a plan out: link, spawn, follow to its end. */
import type { Fd } from "../../ffi/fd.ts";
import type { Poll } from "../../ffi/poll.ts";
import { socketPair } from "../../ffi/socket.ts";
import type { Plan } from "../plan/types.ts";
import type { EventHandlers } from "./drive.ts";
import { launch } from "./launch.ts";
import { link } from "./link.ts";
import type { Relocatable } from "./relocatable.ts";

export interface CarryOutOptions {
  /** What the executor is called in ps. */
  readonly argv: readonly string[];
  /** Values of the plan's parameters. */
  readonly values?: readonly string[];
  /** Descriptors for the plan's input slots, by name. */
  readonly inputs?: Readonly<Record<string, Fd>>;
  /** Where the executor's image goes on machines that run no program from memory. */
  readonly directory: string;
  readonly handlers?: EventHandlers;
  /** The plan with its names, to say what failed. */
  readonly plan: () => Plan | Promise<Plan>;
  readonly poll: Poll;
  /** Takes what the plan warns of. */
  readonly warn?: (message: string) => void;
  /** Work for the time between the start of the executor and its first word. */
  readonly meanwhile?: () => void | Promise<void>;
  /** Changes the image before it runs; for tests that make steps fail. */
  readonly patch?: (image: Uint8Array) => Uint8Array;
}

/**
 * @throws {StepError} when a step failed; what the host lane had made is undone then
 */
export async function carryOut(relocatable: Relocatable, options: CarryOutOptions): Promise<void> {
  const { argv, values = [], inputs = {}, directory, handlers = {}, patch } = options;
  const [mine, theirs] = socketPair();
  using report = mine;
  using reportOfExecutor = theirs;
  const numbers: Record<string, number> = { report: reportOfExecutor.number };
  for (const [name, fd] of Object.entries(inputs)) numbers[name] = fd.number;
  const image = link(relocatable, values, numbers);
  const pid = launch(patch?.(image) ?? image, argv, [reportOfExecutor, ...Object.values(inputs)], directory);
  reportOfExecutor.close();
  // What comes after the start is loaded after the start.
  const { drive } = await import("./drive.ts");
  await options.meanwhile?.();
  await drive(relocatable.messages, pid, report, handlers, options.plan, options.poll, options.warn);
}
