/** runk list */
import { type ContainerState, list } from "../container/state.ts";
import { formatJson } from "../spec/json.ts";
import { type Command, tableOrJson } from "./command.ts";

const HEADER = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
const MIN_WIDTH = 12;
const PADDING = 3;

export const command: Command = {
  flags: [
    { name: "format", short: "f", kind: "string", value: ["table", "json"], default: "table", help: "table or json" },
    { name: "quiet", short: "q", kind: "bool", help: "print ids only" },
  ],
  operands: [0, 0],
  usage: "",
  help: `Lists the containers under the state root (see --root), one line each.

EXAMPLE:
   # runk list
   # runk --root /run/docker/runtime-runc/moby list`,
  run: ({ runtime, globals, options, print }) => {
    const { containers, failures } = list(runtime, { mayBeMissing: !globals.isSet("root") });
    for (const line of failures) Deno.stderr.writeSync(new TextEncoder().encode(line + "\n"));
    if (options.bool("quiet")) print(containers.map(({ id }) => id + "\n").join(""));
    else if (tableOrJson(options) === "json") print(formatJson(containers.length === 0 ? null : containers) + "\n");
    else print(table(containers));
  },
};

function table(containers: readonly ContainerState[]): string {
  const rows = [
    HEADER,
    ...containers.map((
      { id, pid, status, bundle, created, owner },
    ) => [id, String(pid), status, bundle, created, owner]),
  ];
  const widths = HEADER.map((_, i) => Math.max(MIN_WIDTH, ...rows.map((row) => row[i]!.length + PADDING)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join("");
  return rows.map((row) => line(row) + "\n").join("");
}
