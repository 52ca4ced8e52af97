/**
 * `deno task bench [--runs N]`: runk beside Debian's runc, in turns on the same machine, as medians and ratios. Prints a
 * table and writes dist/bench.json. Wall times are of whole commands; CPU times of everything they started.
 */
import process from "node:process";
import { shebang } from "./bundle.ts";
import { exists, install } from "./packages.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const DETACHED_RUNS = 100;
const QUIET = { stdin: "null", stdout: "null", stderr: "null" } as const;
const decoder = new TextDecoder();

interface Program {
  readonly name: string;
  readonly path: string;
}

/** One command's cost in milliseconds. */
interface Cost {
  readonly wall: number;
  readonly cpu: number;
}

/** Operation -> what each program's runs of it cost, in order. */
type Costs = Map<string, Map<string, Cost[]>>;

/** CPU time in milliseconds of this process's cgroup, in which everything that a command starts stays. */
class CpuMeter {
  readonly #cgroup = `/sys/fs/cgroup/cpuacct/runk-bench-${Deno.pid}`;
  readonly #isThere = exists("/sys/fs/cgroup/cpuacct/cgroup.procs");

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
    Deno.writeTextFileSync("/sys/fs/cgroup/cpuacct/cgroup.procs", String(Deno.pid));
    Deno.removeSync(this.#cgroup);
  }
}

class Bench {
  readonly costs: Costs = new Map();
  readonly memory: Record<string, unknown>[] = [];
  readonly directory = Deno.makeTempDirSync({ prefix: "runk-bench-" });
  readonly #meter: CpuMeter;
  #id = 0;

  constructor(readonly programs: readonly Program[], readonly runs: number, meter: CpuMeter) {
    this.#meter = meter;
    for (const name of ["true", "sleep"]) this.#makeBundle(name);
  }

  /** The default config with a busybox for a root file system, running one of its programs. */
  #makeBundle(name: string): void {
    const bundle = this.bundle(name);
    for (const directory of ["bin", "proc", "dev", "sys"]) {
      Deno.mkdirSync(`${bundle}/rootfs/${directory}`, { recursive: true });
    }
    Deno.copyFileSync("/bin/busybox", `${bundle}/rootfs/bin/${name}`);
    this.output(this.programs[0]!, ["spec", "--bundle", bundle]);
    const config = JSON.parse(Deno.readTextFileSync(`${bundle}/config.json`));
    config.process.terminal = false;
    config.process.args = name === "sleep" ? ["/bin/sleep", "1000"] : [`/bin/${name}`];
    Deno.writeTextFileSync(`${bundle}/config.json`, JSON.stringify(config));
  }

  bundle = (name: string) => `${this.directory}/${name}`;
  newId = () => `bench-${Deno.pid}-${++this.#id}`;
  #arguments = ({ name }: Program, args: readonly string[]) => ["--root", `${this.directory}/state-${name}`, ...args];

  /** Runs a command and returns what it printed. */
  output(program: Program, args: readonly string[]): string {
    const { code, stdout, stderr } = new Deno.Command(program.path, {
      args: this.#arguments(program, args),
      stdin: "null",
    }).outputSync();
    if (code !== 0) throw new Error(`${program.name} ${args.join(" ")}: ${decoder.decode(stderr)}`);
    return decoder.decode(stdout);
  }

  /** Runs a command whose container keeps the streams that it is given. */
  #quietly(program: Program, args: readonly string[]): void {
    const { code } = new Deno.Command(program.path, { args: this.#arguments(program, args), ...QUIET }).outputSync();
    if (code !== 0) throw new Error(`${program.name} ${args.join(" ")} ended with status ${code}`);
  }

  /** Runs a command and takes its cost down. */
  measure(operation: string, program: Program, args: readonly string[], isPlain = false): void {
    const command = new Deno.Command(program.path, {
      args: isPlain ? [...args] : this.#arguments(program, args),
      ...QUIET,
    });
    const cpu = this.#meter.now();
    const start = performance.now();
    const { code } = command.outputSync();
    const cost = { wall: performance.now() - start, cpu: this.#meter.now() - cpu };
    if (code !== 0) throw new Error(`${program.name} ${args.join(" ")} ended with status ${code}`);
    const byProgram = this.costs.get(operation) ?? new Map<string, Cost[]>();
    this.costs.set(operation, byProgram);
    byProgram.set(program.name, [...byProgram.get(program.name) ?? [], cost]);
  }

  /** Every operation once, for every program in turn. */
  round(empty: readonly Program[]): void {
    for (const program of empty) this.measure("empty Deno program", program, [], true);
    for (const program of this.programs) {
      this.measure("run /bin/true", program, ["run", "--bundle", this.bundle("true"), this.newId()]);
    }
    for (const program of this.programs) this.lifecycle(program);
  }

  lifecycle(program: Program): void {
    const id = this.newId();
    const measure = (operation: string, ...args: string[]) => this.measure(operation, program, [operation, ...args]);
    measure("create", "--bundle", this.bundle("sleep"), id);
    measure("start", id);
    measure("state", id);
    measure("exec", id, "/bin/sleep", "0");
    measure("kill", id, "KILL");
    while (JSON.parse(this.output(program, ["state", id])).status !== "stopped");
    measure("delete", id);
  }

  /** Many containers after each other: time, and the most memory that one command took. */
  detached(program: Program): void {
    const ids = Array.from({ length: DETACHED_RUNS }, this.newId);
    const peak = `${this.directory}/peak`;
    const start = performance.now();
    let most = 0;
    for (const id of ids) {
      const args = this.#arguments(program, ["run", "--detach", "--bundle", this.bundle("true"), id]);
      const { code } = new Deno.Command("/usr/bin/time", {
        args: ["-f", "%M", "-o", peak, program.path, ...args],
        ...QUIET,
      }).outputSync();
      if (code !== 0) throw new Error(`${program.name} run --detach ended with status ${code}`);
      most = Math.max(most, Number(Deno.readTextFileSync(peak)));
    }
    const wall = performance.now() - start;
    for (const id of ids) this.output(program, ["delete", "--force", id]);
    this.memory.push({ what: `${DETACHED_RUNS} detached runs, total ms`, program: program.name, value: round(wall) });
    this.memory.push({ what: "  most memory of one run, KB (RSS)", program: program.name, value: most });
  }

  /** What stays in memory because of a container, beside its own program. */
  leftBehind(program: Program): void {
    const id = this.newId();
    this.#quietly(program, ["create", "--bundle", this.bundle("sleep"), id]);
    this.#note("a created container", program, JSON.parse(this.output(program, ["state", id])).pid);
    this.output(program, ["delete", "--force", id]);
    const foreground = new Deno.Command(program.path, {
      args: this.#arguments(program, ["run", "--bundle", this.bundle("sleep"), id]),
      ...QUIET,
    }).spawn();
    while (!this.#isRunning(program, id));
    this.#note("a foreground run", program, foreground.pid);
    this.output(program, ["delete", "--force", id]);
    this.memory.push({ what: "a detached run, KB", program: program.name, value: "0 (no process stays)" });
  }

  /** Also after a failure in the middle. */
  cleanUp(): void {
    for (const program of this.programs) {
      const state = `${this.directory}/state-${program.name}`;
      if (!exists(state)) continue;
      for (const { name } of [...Deno.readDirSync(state)]) this.output(program, ["delete", "--force", name]);
    }
    Deno.removeSync(this.directory, { recursive: true });
  }

  #isRunning(program: Program, id: string): boolean {
    try {
      return JSON.parse(this.output(program, ["state", id])).status === "running";
    } catch {
      return false;
    }
  }

  #note(what: string, program: Program, pid: number): void {
    const rollup = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
    const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(rollup)?.[1]);
    const value = `${field("Rss")} / ${field("Pss")}`;
    this.memory.push({ what: `${what}, KB (RSS / PSS)`, program: program.name, value });
  }
}

const round = (value: number) => Math.round(value * 100) / 100;
const median = (values: readonly number[]) => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** One row for each operation and program; ratios are medians of the runs' own ratios. */
function rows(costs: Costs, base: string) {
  return [...costs].flatMap(([operation, byProgram]) =>
    [...byProgram].map(([program, own]) => {
      const others = byProgram.get(base);
      const ratio = others && median(own.map(({ wall }, i) => wall / others[i]!.wall));
      return {
        operation,
        program,
        wall: round(median(own.map(({ wall }) => wall))),
        ratio: ratio === undefined ? "" : round(ratio),
        cpu: round(median(own.map(({ cpu }) => cpu))),
      };
    })
  );
}

function table(header: readonly string[], lines: readonly (readonly unknown[])[]): string {
  const all = [header, ...lines].map((line) => line.map(String));
  const widths = header.map((_, i) => Math.max(...all.map((line) => line[i]!.length)));
  return all.map((line) =>
    line.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  ").trimEnd()
  ).join("\n");
}

async function main(): Promise<void> {
  const asked = Deno.args[0] === "--runs" ? Number(Deno.args[1]) : 20;
  if (!Number.isInteger(asked) || asked < 1) throw new Error("usage: deno task bench [--runs N]");
  await install({ "/bin/busybox": "busybox-static", "/usr/sbin/runc": "runc", "/usr/bin/time": "time" });
  const all: Program[] = [
    { name: "runk.js", path: `${ROOT}dist/runk.js` },
    { name: "runk", path: `${ROOT}dist/runk` },
    { name: "runc", path: "/usr/sbin/runc" },
  ];
  const programs = all.filter(({ path }) => exists(path));
  const empty = `${ROOT}dist/empty.js`;
  await Deno.writeTextFile(empty, shebang(), { mode: 0o755 });
  using meter = new CpuMeter();
  const bench = new Bench(programs, asked, meter);
  try {
    // The first run of anything pays for cold caches.
    bench.round([{ name: "empty.js", path: empty }]);
    bench.costs.clear();
    for (let i = 0; i < asked; i++) bench.round([{ name: "empty.js", path: empty }]);
    for (const program of programs) bench.detached(program);
    for (const program of programs) bench.leftBehind(program);
  } finally {
    bench.cleanUp();
    await Deno.remove(empty);
  }
  const result = { runs: asked, deno: Deno.version.deno, times: rows(bench.costs, "runc"), memory: bench.memory };
  const times = result.times.map(({ operation, program, wall, ratio, cpu }) => [operation, program, wall, ratio, cpu]);
  console.log(table(["operation", "program", "wall ms", "of runc's", "cpu ms"], times));
  console.log("\n" + table(["memory", "program", "value"], result.memory.map((row) => Object.values(row))));
  await Deno.writeTextFile(`${ROOT}dist/bench.json`, JSON.stringify(result, undefined, 2) + "\n");
  console.log(`\n${asked} runs each, in turns; medians. Also in dist/bench.json.`);
}

if (import.meta.main) await main();
