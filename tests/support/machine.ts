/** Plans without containers, run by the executor: on this machine, or on an emulated one. */
import type { Arch } from "../../src/abi/arch.ts";
import { Fd } from "../../ffi/fd.ts";
import { call } from "../../ffi/call.ts";
import { arch as here } from "../../ffi/libc.ts";
import { cstring, Memory } from "../../ffi/memory.ts";
import { poll } from "../../ffi/poll.ts";
import { spawn } from "../../ffi/process.ts";
import { socketPair } from "../../ffi/socket.ts";
import { AT_FDCWD } from "../../src/abi/flags.ts";
import { O } from "../../src/abi/arch.ts";
import { assemble } from "../../src/init/assemble.ts";
import { carryOut } from "../../src/init/carry_out.ts";
import { drive, type EventHandlers, StepError } from "../../src/init/drive.ts";
import { link } from "../../src/init/link.ts";
import { PlanBuilder } from "../../src/plan/builder.ts";
import { checkPlan } from "../../src/plan/check.ts";
import type { Plan } from "../../src/plan/types.ts";
import { which } from "./test.ts";

/** A machine that runs plans: this one, or aarch64 as qemu-user emulates it. */
export interface Machine {
  readonly arch: Arch;
  readonly run: (plan: Plan, options?: RunOptions) => Promise<void>;
}

export interface RunOptions {
  readonly inputs?: Readonly<Record<string, Fd>>;
  readonly handlers?: EventHandlers;
  readonly patch?: (image: Uint8Array) => Uint8Array;
}

/** The executor as runk starts it: from a sealed file in memory. */
export const native: Machine = {
  arch: here,
  run: (plan, options = {}) =>
    carryOut(assemble(plan, false), { argv: ["test", "init"], directory: "/tmp", plan: () => plan, poll, ...options }),
};

/** The same image for aarch64, run by qemu-aarch64-static. Needs that command. */
export const emulated: Machine = {
  arch: "aarch64",
  run: async (plan, { inputs = {}, handlers = {} } = {}) => {
    const relocatable = assemble(plan, false);
    const [mine, theirs] = socketPair();
    using report = mine;
    using reportOfExecutor = theirs;
    const numbers: Record<string, number> = { report: reportOfExecutor.number };
    for (const [name, fd] of Object.entries(inputs)) numbers[name] = fd.number;
    const path = await Deno.makeTempFile();
    try {
      await Deno.writeFile(path, link(relocatable, [], numbers), { mode: 0o700 });
      using qemu = openFile(which("qemu-aarch64-static")!);
      const inherited = [reportOfExecutor, ...Object.values(inputs)];
      for (const fd of inherited) fd.setInheritable(true);
      const pid = spawn(qemu, ["qemu-aarch64-static", path]);
      for (const fd of inherited) fd.setInheritable(false);
      reportOfExecutor.close();
      await drive(relocatable.messages, pid, report, handlers, () => plan, poll);
    } finally {
      await Deno.remove(path);
    }
  },
};

/** A plan of one lane: `steps`, then the end. */
export function planOf(arch: Arch, steps: (b: PlanBuilder) => void): Plan {
  const b = new PlanBuilder(arch);
  b.host.task("test");
  steps(b);
  b.host.task("end").sys("exit_group", [0]);
  return checkPlan(b.build());
}

/** Runs steps and returns what the slots hold at their end, as signed 64-bit numbers. */
export async function slotsAfter(
  machine: Machine,
  slots: readonly string[],
  steps: (b: PlanBuilder) => void,
  options: RunOptions = {},
): Promise<readonly number[]> {
  let result: readonly number[] = [];
  const plan = planOf(machine.arch, (b) => {
    steps(b);
    b.notify(b.host, "result", slots);
  });
  const result_ = (values: readonly number[]) => void (result = values);
  await machine.run(plan, { ...options, handlers: { ...options.handlers, result: result_ } });
  return result;
}

/** Runs a plan that must fail, and returns how. */
export async function failureOf(machine: Machine, plan: Plan, options: RunOptions = {}): Promise<StepError> {
  try {
    await machine.run(plan, options);
  } catch (error) {
    if (error instanceof StepError) return error;
    throw error;
  }
  throw new Error("the plan did not fail");
}

export function openFile(path: string, flags = 0): Fd {
  return new Fd(call("openat", AT_FDCWD, cstring(path), flags | O[here].CLOEXEC, 0));
}

/** A pipe: the end to read, the end to write. */
export function pipe(): [Fd, Fd] {
  const pair = new Memory(8);
  call("pipe2", pair, O[here].CLOEXEC);
  return [new Fd(pair.view.getInt32(0, true)), new Fd(pair.view.getInt32(4, true))];
}

/** What there is to read, as text. */
export function readText(fd: Fd): string {
  const memory = new Memory(4096);
  return memory.text(call("read", fd.number, memory, memory.bytes.length));
}

/** Descriptors of this process, by number, with what they are. */
export function descriptors(): string[] {
  return [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => {
    try {
      return `${name} ${Deno.readLinkSync(`/proc/self/fd/${name}`)}`;
    } catch {
      return "";
    }
  }).filter((text) => text !== "").sort();
}
