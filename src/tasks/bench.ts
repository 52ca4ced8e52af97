/**
 * `deno task bench [--runs N] [SUITE...]`: runk beside Debian's runc, in turns on the same machine, as medians and ratios.
 * Prints tables and writes dist/bench.json. Wall times are of whole commands; CPU times of everything they started.
 */
import { configs } from "./bench/configs.ts";
import { Costs, type Program, table } from "./bench/costs.ts";
import { lifecycle, type Note } from "./bench/lifecycle.ts";
import { Runtimes } from "./bench/runtimes.ts";
import { shebang } from "./bundle.ts";
import { exists } from "../files.ts";
import { install } from "./packages.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SUITES = ["lifecycle", "configs", "clients"];
const DEFAULT_RUNS = 20;
const PACKAGES = { "/bin/busybox": "busybox-static", "/usr/sbin/runc": "runc", "/usr/bin/time": "time" };
const CLIENT_PACKAGES = {
  "/usr/bin/containerd": "containerd",
  "/usr/sbin/dockerd": "docker.io",
  "/usr/bin/podman": "podman",
};

interface Asked {
  readonly runs: number;
  readonly suites: readonly string[];
}

/** @throws {Error} with the usage */
function parse(args: readonly string[]): Asked {
  const [runs, suites] = args[0] === "--runs" ? [Number(args[1]), args.slice(2)] : [DEFAULT_RUNS, args];
  if (!Number.isInteger(runs) || runs < 1 || suites.some((suite) => !SUITES.includes(suite))) {
    throw new Error(`usage: deno task bench [--runs N] [${SUITES.join("|")}...]`);
  }
  return { runs, suites: suites.length === 0 ? SUITES : suites };
}

async function main(): Promise<void> {
  const { runs, suites } = parse(Deno.args);
  const asksClients = suites.includes("clients");
  await install({ ...PACKAGES, ...(asksClients ? CLIENT_PACKAGES : {}) });
  const all: Program[] = [
    { name: "runk.js", path: `${ROOT}dist/runk.js` },
    { name: "runk", path: `${ROOT}dist/runk` },
    { name: "runc", path: "/usr/sbin/runc" },
  ];
  const empty = { name: "empty.js", path: `${ROOT}dist/empty.js` };
  await Deno.writeTextFile(empty.path, shebang(""), { mode: 0o755 });
  using costs = new Costs();
  const runtimes = new Runtimes(all.filter(({ path }) => exists(path)), costs);
  const notes: Note[] = [];
  try {
    if (suites.includes("lifecycle")) notes.push(...lifecycle(runtimes, costs, empty, runs));
    if (suites.includes("configs")) notes.push(...configs(runtimes, runs));
    if (asksClients) await (await import("./bench/clients.ts")).clients(runtimes, costs, runs);
  } finally {
    runtimes.cleanUp();
    await Deno.remove(empty.path);
  }
  const rows = costs.rows();
  const header = ["operation", "program", "wall ms", "of runc's", "over empty", "cpu ms"];
  console.log(table(header, rows.map((row) => Object.values(row))));
  if (notes.length > 0) console.log("\n" + table(["memory and totals", "program", "value"], notes));
  const result = { runs, deno: Deno.version.deno, times: rows, notes };
  await Deno.writeTextFile(`${ROOT}dist/bench.json`, JSON.stringify(result, undefined, 2) + "\n");
  console.log(`\n${runs} runs each, in turns; medians. Also in dist/bench.json.`);
}

if (import.meta.main) await main();
