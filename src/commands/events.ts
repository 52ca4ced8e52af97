/** runk events */
import { type CgroupStats, type ContainerEvent, events, stats } from "../container/events.ts";
import { RunkError } from "../errors.ts";
import { formatJson } from "../spec/json.ts";
import { type Command, tableOrJson } from "./command.ts";

export const command: Command = {
  flags: [
    {
      name: "format",
      short: "f",
      kind: "string",
      value: ["json", "table"],
      default: "json",
      help: "json, one object a line, or a live table",
    },
    { name: "interval", kind: "duration", default: "5s", help: "time between statistics" },
    { name: "stats", kind: "bool", help: "print the statistics as they are now, and no more" },
  ],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Prints a container's statistics (CPU, memory, processes, disk) at intervals, and
an event each time it runs out of memory, until its processes have ended.

EXAMPLE:
   # runk events --stats box
   # runk events --format table --interval 1s box`,
  run: async ({ runtime, options, operands, print }) => {
    const id = operands[0]!;
    const interval = options.duration("interval");
    if (interval <= 0) throw new RunkError("duration interval must be greater than 0");
    const format = tableOrJson(options);
    const show = format === "json"
      ? (event: ContainerEvent) => print(eventLine(id, event))
      : (await import("./events_table.ts")).tablePrinter(id, print);
    // A table is there at once; the stream of JSON begins after an interval.
    if (options.bool("stats") || format === "table") show({ type: "stats", stats: await stats(runtime, id) });
    if (options.bool("stats")) return;
    for await (const event of events(runtime, id, interval)) show(event);
  },
};

const eventLine = (id: string, event: ContainerEvent): string =>
  formatJson(event.type === "oom" ? { type: "oom", id } : { type: "stats", id, data: data(event.stats) }) + "\n";

/** As runc: there is nothing of Intel RDT, and it counts network interfaces of no kind that it still makes. */
const data = (stats: CgroupStats) => ({ ...stats, intel_rdt: {}, network_interfaces: null });
