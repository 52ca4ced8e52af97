/** The statistics of a container as a table that is refreshed in place. */
import type { BlkioEntry, CgroupStats, ContainerEvent } from "../container/events.ts";

const HEADER = ["ID", "CPU %", "MEMORY / LIMIT", "PIDS / LIMIT", "READ / WRITTEN", "OUT OF MEMORY"] as const;
const GAP = 3;
/** From this on a limit is none: v1 and v2 have different numbers for it. */
const UNLIMITED = 2n ** 62n;
/** Up two lines, and clear what was there. */
const BACK = "\x1b[2A\x1b[J";

/** Statistics, and when they were read, in milliseconds. */
interface Sample {
  readonly stats: CgroupStats;
  readonly time: number;
}

/**
 * Shows events: on a terminal as one row that changes, else as a row for each.
 * @returns what takes the next event
 */
export function tablePrinter(
  id: string,
  print: (text: string) => void,
  { isTerminal = Deno.stdout.isTerminal(), now = () => performance.now() } = {},
): (event: ContainerEvent) => void {
  let sample: Sample | undefined;
  let ooms = 0;
  let isBegun = false;
  return (event) => {
    let before: Sample | undefined;
    if (event.type === "oom") ooms++;
    else [before, sample] = [sample, { stats: event.stats, time: now() }];
    if (sample === undefined) return;
    const cells = [id, cpu(before, sample), ...usage(sample.stats), String(ooms)];
    const widths = HEADER.map((title, i) => Math.max(title.length, cells[i]!.length));
    const line = (row: readonly string[]) =>
      row.map((cell, i) => cell.padEnd(widths[i]! + GAP)).join("").trimEnd() + "\n";
    const isInPlace = isTerminal && isBegun;
    print((isInPlace ? BACK : "") + (isTerminal || !isBegun ? line(HEADER) : "") + line(cells));
    isBegun = true;
  };
}

/** Of one CPU, since the sample before; nothing to say of a first one. */
function cpu(before: Sample | undefined, { stats, time }: Sample): string {
  if (before === undefined) return "-";
  const used = Number((stats.cpu.usage?.total ?? 0n) - (before.stats.cpu.usage?.total ?? 0n));
  const elapsed = (time - before.time) * 1e6;
  return elapsed > 0 ? `${(100 * used / elapsed).toFixed(1)}` : "-";
}

function usage({ memory, pids, blkio }: CgroupStats): string[] {
  const limited = (used: string, limit: bigint | undefined, format: (value: bigint) => string) =>
    `${used} / ${limit === undefined || limit >= UNLIMITED ? "none" : format(limit)}`;
  const sum = (op: string) =>
    (blkio.ioServiceBytesRecursive ?? []).filter((entry: BlkioEntry) => entry.op?.toLowerCase() === op)
      .reduce((total, { value = 0n }) => total + value, 0n);
  return [
    limited(size(memory.usage?.usage ?? 0n), memory.usage?.limit, size),
    limited(String(pids.current ?? 0n), pids.limit, String),
    `${size(sum("read"))} / ${size(sum("write"))}`,
  ];
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Bytes in three digits or so. */
export function size(bytes: bigint): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}
