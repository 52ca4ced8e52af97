/** runk ps */
import { processes } from "../container/processes.ts";
import { RunkError } from "../errors.ts";
import { formatJson } from "../spec/json.ts";
import { type Command, tableOrJson, warnOfCgroups } from "./command.ts";

export const command: Command = {
  flags: [{
    name: "format",
    short: "f",
    kind: "string",
    value: ["table", "json"],
    default: "table",
    help: "table or json",
  }],
  operands: [1, Infinity],
  usage: "<container-id> [ps options]",
  help: `Shows the processes of a container. The table is made by the host's ps, with the
options that are given (default: -ef), and holds the lines of the container's
processes; --format json gives their pids.

EXAMPLE:
   # runk ps box
   # runk ps box -o pid,rss,args`,
  stopAt: 1,
  run: async ({ runtime, globals, options, operands: [id, ...psOptions], print }) => {
    const format = tableOrJson(options);
    warnOfCgroups(runtime, globals, "ps");
    const pids = processes(runtime, id!);
    if (format === "json") return print(formatJson(pids.length === 0 ? null : pids) + "\n");
    const [header = "", ...lines] = (await hostPs(psOptions.length === 0 ? ["-ef"] : psOptions)).split("\n");
    if (!/(^|\s)PID(\s|$)/.test(header)) throw new RunkError("couldn't find PID field in ps output");
    const known = new Set(pids.map(String));
    const own = lines.filter((line) => known.has(pidIn(line, header) ?? ""));
    print([header, ...own].map((line) => line + "\n").join(""));
  },
};

/** The pid in a line: what ends where the header's PID ends, or the word in its place, where columns have shifted. */
function pidIn(line: string, header: string): string | undefined {
  const end = header.search(/(?<!\S)PID(?!\S)/) + "PID".length;
  const aligned = /\s/.test(line.charAt(end) || " ") ? /\d+$/.exec(line.slice(0, end))?.[0] : undefined;
  return aligned ?? line.trim().split(/\s+/)[header.trim().split(/\s+/).indexOf("PID")];
}

async function hostPs(options: readonly string[]): Promise<string> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command("ps", { args: [...options], stdin: "null" }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new RunkError('exec: "ps": executable file not found in $PATH: it makes the table; --format json needs none');
  }
  const [stdout, stderr] = [output.stdout, output.stderr].map((bytes) => new TextDecoder().decode(bytes));
  if (!output.success) throw new RunkError(`exit status ${output.code}: ${stdout}${stderr}`);
  return stdout!;
}
