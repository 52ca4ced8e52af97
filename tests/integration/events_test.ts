/** events: statistics, memory that ran out, the end of the stream. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { RUNK } from "../support/runk.ts";
import { test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroups"] as const;
const V1 = ["root", "cgroup1"] as const;

/** The keys of an object and of those in it, in order; lists by their first member. */
function shape(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [shape(value[0])];
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.entries(value).map(([key, member]) => [key, shape(member)]);
}

/** `events` as a process; its output so far. */
class Stream implements AsyncDisposable {
  text = "";
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;

  constructor(box: Box, ...options: string[]) {
    this.#child = new Deno.Command(RUNK, {
      args: ["--root", box.root, "events", ...options, box.id],
      stdin: "null",
      stdout: "piped",
    }).spawn();
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) this.text += chunk;
  }

  events(): { type: string; id: string; data?: Record<string, Record<string, unknown>> }[] {
    return this.text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  }

  async ended(): Promise<number> {
    await this.#reading;
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // it has ended
    }
    await this.ended();
  }
}

test("events --stats prints what runc prints, key for key", [...V1, "command:runc"], async () => {
  await using box = await Box.create({
    script: "sleep 1000",
    config: (c) => (c.linux.resources = {
      devices: [{ allow: false, access: "rwm" }],
      memory: { limit: 67108864, swap: 67108864 },
      pids: { limit: 20 },
      cpu: { quota: 50000, period: 100000, cpus: "0" },
    }),
  });
  await box.ok(["run", "-d", box.id]);
  assert.equal((await box.other("runc", ["run", "-d", `${box.id}-runc`])).status, 0);
  const own = JSON.parse((await box.ok(["events", "--stats", box.id])).stdout);
  const runc = JSON.parse((await box.other("runc", ["events", "--stats", `${box.id}-runc`])).stdout);
  // What is 0 is left out, and depends on the moment.
  for (const { data: { cpu, memory, blkio } } of [own, runc]) {
    delete cpu.throttling;
    delete memory.cache;
    for (const key of Object.keys(blkio)) {
      assert.match(
        key,
        /^io(ServiceBytes|Serviced|Queue|ServiceTime|WaitTime|Merged|Time)Recursive$|^sectorsRecursive$/,
      );
      delete blkio[key];
    }
  }
  assert.deepEqual(shape(own), shape(runc));
  assert.deepEqual(own.data.memory.usage.limit, 67108864);
  assert.deepEqual(own.data.pids, { current: 1, limit: 20 });
  assert.deepEqual(own.data.cpuset.cpus, [0]);
});

test("a limit that there is not is printed to the last digit", V1, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  await box.ok(["run", "-d", box.id]);
  assert.match((await box.ok(["events", "--stats", box.id])).stdout, /"usage":\{"limit":9223372036854771712,/);
});

test("events prints statistics at every interval, and ends with the container", NEEDS, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  await box.ok(["run", "-d", box.id]);
  await using stream = new Stream(box, "--interval", "50ms");
  await until("three samples", () => stream.events().length >= 3);
  assert.deepEqual(Object.keys(stream.events()[0]!.data!), [
    ...["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"],
  ]);
  await box.ok(["kill", box.id, "KILL"]);
  assert.equal(await stream.ended(), 0);
  assert.ok(stream.events().every(({ type, id }) => type === "stats" && id === box.id));
});

test("events says each time that a container runs out of memory", NEEDS, async () => {
  await using box = await Box.create({
    // A process of its own is killed, and the container goes on.
    script:
      "trap 'exit 0' TERM; while :; do (tail -c 200m /dev/zero | true; tail /dev/zero) >/dev/null 2>&1; sleep 0.2; done",
    config: (c) => (c.linux.resources.memory = { limit: 8388608, swap: 8388608 }),
  });
  await box.ok(["run", "-d", box.id]);
  await using stream = new Stream(box, "--interval", "1h");
  await until("memory has run out", () => stream.events().some(({ type }) => type === "oom"));
  assert.equal(stream.text.split("\n")[0], `{"type":"oom","id":"${box.id}"}`);
});

test("events --format table shows a row that changes", NEEDS, async () => {
  await using box = await Box.create({
    script: "sleep 1000",
    config: (c) => (c.linux.resources.memory = { limit: 67108864 }),
  });
  await box.ok(["run", "-d", box.id]);
  await using stream = new Stream(box, "--format", "table", "--interval", "50ms");
  await until("some rows", () => stream.text.split("\n").length > 4);
  const [header, first, second] = stream.text.split("\n") as [string, string, string];
  assert.match(header, /^ID +CPU % +MEMORY \/ LIMIT +PIDS \/ LIMIT +READ \/ WRITTEN +OUT OF MEMORY$/);
  assert.match(first, new RegExp(`^${box.id} +- +[\\d.]+ [KM]?i?B / 64.0 MiB +1 / none +0 B / 0 B +0$`));
  assert.match(second, new RegExp(`^${box.id} +\\d+\\.\\d +`));
});

test("events refuses a stopped container and an interval of nothing", NEEDS, async () => {
  await using box = await Box.create({ script: "true" });
  await box.ok(["run", "--keep", box.id]);
  const stopped = await box.runk(["events", box.id]);
  assert.equal(stopped.status, 1);
  assert.match(stopped.stderr, new RegExp(`container with id ${box.id} is not running`));
  assert.match(
    (await box.runk(["events", "--interval", "0s", box.id])).stderr,
    /duration interval must be greater than 0/,
  );
  assert.match((await box.runk(["events", "--stats", "nobody"])).stderr, /container does not exist/);
});
