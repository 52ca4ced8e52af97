/** The commands of a container's life, many containers after each other, and the memory that they leave behind. */
import type { Costs, Program } from "./costs.ts";
import { EMPTY } from "./costs.ts";
import type { Runtimes } from "./runtimes.ts";

const DETACHED_RUNS = 100;
/**
 * Before each command, in milliseconds: longer than a grace period of RCU, for which the kernel makes a process wait that
 * enters a cgroup of v1, except right after another has. A command that nothing goes before finds the machine like this.
 */
const REST = 100;

/** Something counted beside times: what, of which program, how much. */
export type Note = readonly [what: string, program: string, value: string | number];

/** Measures each command of a container's life. */
export function lifecycle(runtimes: Runtimes, costs: Costs, empty: Program, runs: number): Note[] {
  const { programs } = runtimes;
  const [short, long] = [runtimes.bundle("true", ["/bin/true"]), runtimes.bundle("sleep", ["/bin/sleep", "1000"])];
  const round = () => {
    rest();
    costs.measure(EMPTY, empty.name, empty.path, []);
    const run = () => ["run", "-b", short, runtimes.newId()];
    for (const program of programs) {
      rest();
      runtimes.measure("run /bin/true", program, run());
      runtimes.measure("run /bin/true, right after a run", program, run());
    }
    for (const program of programs) life(runtimes, program, long);
  };
  round();
  costs.clear();
  for (let i = 0; i < runs; i++) round();
  costs.endOfEmpty();
  return [
    ...programs.flatMap((program) => detached(runtimes, program, short)),
    ...programs.flatMap((program) => leftBehind(runtimes, program, long)),
  ];
}

const rest = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, REST);

/** Every command on one container. */
function life(runtimes: Runtimes, program: Program, bundle: string): void {
  const id = runtimes.newId();
  const measure = (operation: string, ...args: string[]) => {
    rest();
    runtimes.measure(operation, program, [operation, ...args]);
  };
  measure("create", "--bundle", bundle, id);
  measure("start", id);
  measure("state", id);
  measure("exec", id, "/bin/true");
  measure("kill", id, "KILL");
  while (runtimes.status(program, id) !== "stopped");
  measure("delete", id);
}

/** Many containers after each other: time, and the most memory that one command took. */
function detached(runtimes: Runtimes, program: Program, bundle: string): Note[] {
  const ids = Array.from({ length: DETACHED_RUNS }, runtimes.newId);
  const peak = `${runtimes.directory}/peak`;
  const start = performance.now();
  let most = 0;
  for (const id of ids) {
    const args = runtimes.arguments(program, ["run", "--detach", "--bundle", bundle, id]);
    const { code } = new Deno.Command("/usr/bin/time", {
      args: ["-f", "%M", "-o", peak, program.path, ...args],
      ...{ stdin: "null", stdout: "null", stderr: "null" },
    }).outputSync();
    if (code !== 0) throw new Error(`${program.name} run --detach ended with status ${code}`);
    most = Math.max(most, Number(Deno.readTextFileSync(peak)));
  }
  const wall = Math.round(performance.now() - start);
  for (const id of ids) runtimes.output(program, ["delete", "--force", id]);
  return [
    [`${DETACHED_RUNS} detached runs, total ms`, program.name, wall],
    ["  most memory of one run, KB (RSS)", program.name, most],
  ];
}

/** What stays in memory because of a container, beside its own program. */
function leftBehind(runtimes: Runtimes, program: Program, bundle: string): Note[] {
  const id = runtimes.newId();
  runtimes.quietly(program, ["create", "--bundle", bundle, id]);
  const created = memoryOf(JSON.parse(runtimes.output(program, ["state", id])).pid);
  runtimes.output(program, ["delete", "--force", id]);
  const foreground = runtimes.start(program, ["run", "--bundle", bundle, id]);
  while (runtimes.status(program, id) !== "running");
  const attended = memoryOf(foreground.pid);
  runtimes.output(program, ["delete", "--force", id]);
  return [
    ["a created container, KB (RSS / PSS)", program.name, created],
    ["a foreground run, KB (RSS / PSS)", program.name, attended],
    ["a detached run, KB", program.name, "0 (no process stays)"],
  ];
}

function memoryOf(pid: number): string {
  const rollup = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
  const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(rollup)?.[1]);
  return `${field("Rss")} / ${field("Pss")}`;
}
