/** What commands cost: measured in turns, program after program, and told as medians. */
import process from "node:process";
import { exists } from "../../files.ts";

export interface Program {
  readonly name: string;
  readonly path: string;
}

/** One command's cost in milliseconds: until it ended, and on the processors, of everything that it started. */
interface Cost {
  readonly wall: number;
  readonly cpu: number;
  /** Of this, what an empty Deno program did not take just before. */
  readonly overEmpty: number | undefined;
}

/** The program that the others are compared with. */
const BASE = "runc";
export const EMPTY = "empty Deno program";

const CPUACCT = "/sys/fs/cgroup/cpuacct";

/** CPU time in milliseconds of this process's cgroup, in which everything that a command starts stays. */
class CpuMeter {
  readonly #cgroup = `${CPUACCT}/runk-bench-${Deno.pid}`;
  readonly #isThere = exists(`${CPUACCT}/cgroup.procs`);

  constructor() {
    if (!this.#isThere) return;
    Deno.mkdirSync(this.#cgroup);
    Deno.writeTextFileSync(`${this.#cgroup}/cgroup.procs`, String(Deno.pid));
  }

  /** So far, without what this process itself has used; 0 where the machine does not account it. */
  now(): number {
    if (!this.#isThere) return 0;
    const { user, system } = process.cpuUsage();
    return Number(Deno.readTextFileSync(`${this.#cgroup}/cpuacct.usage`)) / 1e6 - (user + system) / 1e3;
  }

  [Symbol.dispose](): void {
    if (!this.#isThere) return;
    Deno.writeTextFileSync(`${CPUACCT}/cgroup.procs`, String(Deno.pid));
    Deno.removeSync(this.#cgroup);
  }
}

/** Takes down what commands cost, and tells it as a table. */
export class Costs implements Disposable {
  /** Operation -> program -> cost of each run, in order. */
  readonly #costs = new Map<string, Map<string, Cost[]>>();
  readonly #meter = new CpuMeter();
  #empty: number | undefined;

  /** Runs a command to its end and takes its cost down. @throws when it fails */
  measure(
    operation: string,
    program: string,
    path: string,
    args: readonly string[],
    env?: Record<string, string>,
  ): void {
    const command = new Deno.Command(path, {
      args: [...args],
      ...{ stdin: "null", stdout: "null", stderr: "null" },
      ...(env === undefined ? {} : { env }),
    });
    const cpu = this.#meter.now();
    const start = performance.now();
    const { code } = command.outputSync();
    const wall = performance.now() - start;
    const cost = {
      wall,
      cpu: this.#meter.now() - cpu,
      overEmpty: this.#empty === undefined || program === BASE ? undefined : wall - this.#empty,
    };
    if (operation === EMPTY) this.#empty = wall;
    if (code !== 0) throw new Error(`${path} ${args.join(" ")} ended with status ${code}`);
    const byProgram = this.#costs.get(operation) ?? new Map<string, Cost[]>();
    this.#costs.set(operation, byProgram);
    byProgram.set(program, [...byProgram.get(program) ?? [], cost]);
  }

  /** Forgets everything: the first run of anything pays for cold caches. */
  clear(): void {
    this.#costs.clear();
  }

  /** What is measured from here on has no empty program beside it. */
  endOfEmpty(): void {
    this.#empty = undefined;
  }

  /**
   * One row for each operation and program. Ratios and what a program takes more than an empty one are medians over
   * runs, each beside its neighbours in time.
   */
  rows() {
    return [...this.#costs].flatMap(([operation, byProgram]) =>
      [...byProgram].map(([program, own]) => {
        const base = byProgram.get(BASE);
        const over = own.map(({ overEmpty }) => overEmpty).filter((value) => value !== undefined);
        return {
          operation,
          program,
          wall: median(own.map(({ wall }) => wall)),
          ratio: base && median(own.map(({ wall }, i) => wall / base[i]!.wall)),
          overEmpty: over.length === 0 || operation === EMPTY ? undefined : median(over),
          cpu: median(own.map(({ cpu }) => cpu)),
        };
      })
    );
  }

  [Symbol.dispose](): void {
    this.#meter[Symbol.dispose]();
  }
}

/** Rounded to hundredths. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const value = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return Math.round(value * 100) / 100;
}

/** Columns, the first two to the left and numbers to the right. */
export function table(header: readonly string[], lines: readonly (readonly unknown[])[]): string {
  const all = [header, ...lines].map((line) => line.map((cell) => String(cell ?? "")));
  const widths = header.map((_, i) => Math.max(...all.map((line) => line[i]!.length)));
  return all.map((line) =>
    line.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  ").trimEnd()
  ).join("\n");
}
