/** Carries a plan out: encode, spawn, follow to its end. */
import type { Fd } from "../../ffi/fd.ts";
import { socketPair } from "../../ffi/socket.ts";
import type { Plan } from "../plan/types.ts";
import { drive, type EventHandlers } from "./drive.ts";
import { encodePlan } from "./encode.ts";
import { launch } from "./launch.ts";

export interface CarryOutOptions {
  /** What the executor is called in ps. */
  readonly argv: readonly string[];
  /** Descriptors for the plan's input slots, by name. */
  readonly inputs?: Readonly<Record<string, Fd>>;
  /** Where the executor's image goes on machines that run no program from memory. */
  readonly directory: string;
  readonly handlers?: EventHandlers;
  /** Changes the image before it runs; for tests that make steps fail. */
  readonly patch?: (image: Uint8Array, plan: Plan) => Uint8Array;
}

/**
 * @throws {StepError} when a step failed; what the host lane had made is undone then
 */
export async function carryOut(plan: Plan, options: CarryOutOptions): Promise<void> {
  const { argv, inputs = {}, directory, handlers = {}, patch } = options;
  const [mine, theirs] = socketPair();
  using report = mine;
  using reportOfExecutor = theirs;
  const numbers = Object.fromEntries(Object.entries(inputs).map(([name, fd]) => [name, fd.number]));
  const image = encodePlan(plan, { ...numbers, report: reportOfExecutor.number });
  const pid = launch(patch?.(image, plan) ?? image, argv, [reportOfExecutor, ...Object.values(inputs)], directory);
  reportOfExecutor.close();
  await drive(plan, pid, report, handlers);
}
