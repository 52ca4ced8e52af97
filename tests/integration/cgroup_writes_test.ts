/** How often a create writes into cgroup files: each value once, no more than it takes; and what it waits for. */
import assert from "node:assert/strict";
import { Box, RUNK } from "../support/box.ts";
import { isV2 } from "../support/cgroups.ts";
import { run } from "../support/runk.ts";
import { test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroups", "command:strace", "command:runc"] as const;

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
    const isUndo = /\/(freezer\.state|cgroup\.freeze)$/.test(match?.[1] ?? "");
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

/** The most that is written, by version; on v1 with nine hierarchies. */
const MOST = [["the default config", DEFAULT, { v1: 23, v2: 0 }], ["a pod", POD, { v1: 31, v2: 7 }]] as const;

for (const [name, resources, most] of MOST) {
  test(`a create of ${name} writes each value into cgroup files once, and no more than it takes`, NEEDS, async () => {
    await using box = await Box.create({
      config: (c) => {
        c.process.args = ["sleep", "1000"];
        c.linux.resources = resources;
      },
    });
    const runc = await cgroupWrites("runc", box, `${box.id}-runc`);
    // After the first container on v2, the cgroups above it have their controllers enabled.
    const own = await cgroupWrites(RUNK, box, box.id);
    console.log(`cgroup files written by a create of ${name}: ${own.length}; by runc: ${runc.length}`);
    assert.deepEqual(own.toSorted(), [...new Set(own)].toSorted(), "nothing twice");
    const joins = (writes: readonly string[]) =>
      writes.filter((write) => /\/(tasks|cgroup\.procs)=/.test(write)).length;
    // On v1, one for each hierarchy that is mounted on the machine; on v2 the process is born where it belongs.
    const limit = isV2 ? most.v2 : most.v1 - 9 + joins(own);
    assert.ok(own.length <= limit, `${own.length} writes: ${own.join(", ")}`);
    assert.ok(own.length <= runc.length, `runc makes ${runc.length}`);
    if (!isV2) return;
    assert.equal(joins(own), 0);
    assert.ok(joins(runc) > 0, `runc's: ${runc.join(", ")}`);
  });
}

/** Processes that the kernel moves from one cgroup to another, counted by a tracepoint of its own. */
class Moves implements AsyncDisposable {
  readonly #mount: string;
  readonly #instance: string;

  private constructor(mount: string) {
    this.#mount = mount;
    this.#instance = `${mount}/instances/runk-test-${Deno.pid}`;
  }

  static async watch(): Promise<Moves> {
    const moves = new Moves(await Deno.makeTempDir({ prefix: "runk-tracefs-" }));
    const { status, stderr } = await run("mount", ["-t", "tracefs", "tracefs", moves.#mount]);
    assert.equal(status, 0, stderr);
    Deno.mkdirSync(moves.#instance);
    Deno.writeTextFileSync(`${moves.#instance}/events/cgroup/cgroup_attach_task/enable`, "1");
    return moves;
  }

  /** How many processes were moved into cgroups of this name. */
  into(name: string): number {
    const lines = Deno.readTextFileSync(`${this.#instance}/trace`).split("\n");
    return lines.filter((line) => line.includes(`dst_path=/${name} `)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    Deno.removeSync(this.#instance);
    await run("umount", [this.#mount]);
    Deno.removeSync(this.#mount);
  }
}

test(
  "on v2 create and exec move no process into a cgroup, where runc moves one each and waits for RCU",
  ["root", "cgroup2", "command:runc", "file:/sys/kernel/tracing"],
  async () => {
    await using moves = await Moves.watch();
    await using box = await Box.create({ config: (c) => (c.process.args = ["sleep", "1000"]) });
    await box.ok(["run", "--detach", box.id]);
    await box.ok(["exec", box.id, "true"]);
    const theirs = `${box.id}-runc`;
    for (const args of [["run", "--detach", theirs], ["exec", theirs, "true"]]) {
      const { status, stderr } = await box.other("runc", args);
      assert.equal(status, 0, stderr);
    }
    const [own, runc] = [moves.into(box.id), moves.into(theirs)];
    console.log(`processes moved by create and exec: ${own}; by runc: ${runc}`);
    assert.equal(own, 0);
    assert.ok(runc >= 2, `runc moves ${runc}`);
  },
);
