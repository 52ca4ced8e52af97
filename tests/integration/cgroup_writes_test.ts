/** How often a create writes into cgroup files: each value once, and no more than it takes. */
import assert from "node:assert/strict";
import { Box, RUNK } from "../support/box.ts";
import { test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroup1", "command:strace", "command:runc"] as const;

/** "devices.allow=c 1:3 rwm" for each write into a cgroup file between a create and the deletion of its container. */
async function cgroupWrites(program: string, box: Box, id: string): Promise<string[]> {
  const trace = `${box.directory}/trace`;
  const child = new Deno.Command("strace", {
    args: ["-f", "-y", "-e", "trace=write,pwrite64,writev", "-o", trace, program, "--root", box.root, "create", id],
    cwd: box.directory,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    const state = () => new Deno.Command(program, { args: ["--root", box.root, "state", id] }).output();
    await until("the container is created", async () => (await state()).success);
    await new Deno.Command(program, { args: ["--root", box.root, "delete", "--force", id] }).output();
  } finally {
    // strace stays for as long as the container does.
    await child.status;
  }
  const lines = (await Deno.readTextFile(trace)).split("\n");
  return lines.flatMap((line) => {
    const match = /write\(\d+<\/sys\/fs\/cgroup\/(\S+)>, "(.*?)(?:\\n)?", \d+(?:\) += \d| <unfinished)/.exec(line);
    const isUndo = match?.[1]?.endsWith("freezer.state");
    return match === null || isUndo ? [] : [`${match[1]!.replace(id, "ID")}=${match[2]}`];
  });
}

const rule = (minor: number) => ({ allow: true, type: "c", major: 10, minor, access: "rwm" });
/** What a Kubernetes pod has: 12 device rules, of which some are defaults. */
const POD = {
  devices: [
    { allow: false, access: "rwm" },
    ...[3, 5, 7, 8, 9].map((minor) => ({ allow: true, type: "c", major: 1, minor, access: "rwm" })),
    { allow: true, type: "c", major: 5, minor: 0, access: "rwm" },
    { allow: true, type: "c", major: 136, access: "rwm" },
    ...[229, 237, 237].map(rule),
    { allow: true, type: "c", major: 5, minor: 2, access: "rw" },
  ],
  memory: { limit: 134217728, swap: 134217728 },
  cpu: { shares: 512, quota: 50000, period: 100000, cpus: "0", mems: "0" },
  pids: { limit: 200 },
};
const DEFAULT = { devices: [{ allow: false, access: "rwm" }] };

for (const [name, resources, most] of [["the default config", DEFAULT, 23], ["a pod", POD, 31]] as const) {
  test(`a create of ${name} writes each value into cgroup files once, ${most} at most`, NEEDS, async () => {
    await using box = await Box.create({
      config: (c) => {
        c.process.args = ["sleep", "1000"];
        c.linux.resources = resources;
      },
    });
    const own = await cgroupWrites(RUNK, box, box.id);
    const runc = await cgroupWrites("runc", box, `${box.id}-runc`);
    console.log(`cgroup files written by a create of ${name}: ${own.length}; by runc: ${runc.length}`);
    assert.deepEqual(own.toSorted(), [...new Set(own)].toSorted(), "nothing twice");
    // One for each hierarchy that is mounted on the machine.
    const hierarchies = own.filter((write) => write.includes("/tasks=")).length;
    assert.ok(own.length <= most - 9 + hierarchies, `${own.length} writes: ${own.join(", ")}`);
    assert.ok(own.length <= runc.length, `runc makes ${runc.length}`);
  });
}
