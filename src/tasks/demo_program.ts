/**
 * The program of the demo's container: one that says what it sees of its surroundings. The demo's root file system needs
 * no download because this is all there is in it: a plan without a container, assembled into an executable.
 */
import type { Arch } from "../abi/arch.ts";
import { AT_FDCWD } from "../abi/flags.ts";
import { assemble } from "../init/assemble.ts";
import { link } from "../init/link.ts";
import { PlanBuilder, size, slot, text } from "../plan/builder.ts";

/** What it prints, each after a line "== PATH". */
const SEEN = {
  status: "/proc/self/status",
  hostname: "/proc/sys/kernel/hostname",
  mounts: "/proc/self/mountinfo",
  cgroup: "/proc/self/cgroup",
  network: "/proc/net/dev",
  processes: "/proc/sys/kernel/ns_last_pid",
} as const;

const BUFFER_SIZE = 4096;

/** The executable. */
export function demoProgram(arch: Arch): Uint8Array {
  const b = new PlanBuilder(arch);
  const lane = b.host;
  const buffer = b.buffer("contents", BUFFER_SIZE);
  for (const path of Object.values(SEEN)) {
    const title = `\n== ${path}\n`;
    const [more, over] = [`more of ${path}`, `end of ${path}`];
    lane.task(`print ${path}`);
    lane.sys("write", [1, text(title), size(title)]);
    lane.sys("openat", [AT_FDCWD, text(path), 0], { out: "file" });
    lane.label(more).sys("read", [slot("file"), buffer, BUFFER_SIZE], { out: "length" });
    lane.jump(over, { left: slot("length"), is: "==", right: 0 });
    lane.sys("write", [1, buffer, slot("length")]).jump(more);
    lane.label(over).close("file");
  }
  lane.sys("exit_group", [0]);
  return link(assemble(b.build(), false), [], { report: -1 });
}

/** What a run of the program printed: name -> text. */
export function parseSeen(output: string): Record<keyof typeof SEEN, string> {
  const parts = new Map(
    output.split("\n== ").slice(1).map((part) => {
      const end = part.indexOf("\n");
      return [part.slice(0, end), part.slice(end + 1).trim()];
    }),
  );
  const entries = Object.entries(SEEN).map(([name, path]) => [name, parts.get(path) ?? ""]);
  return Object.fromEntries(entries);
}
