/**
 * A full disk under the state root, and under pid files and logs: one error that says so, nothing left, and what runs
 * already can still be looked at, entered, stopped and deleted.
 */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { cgroupsNamed } from "../support/daemon.ts";
import { type Result, RUNK } from "../support/runk.ts";
import { quote, sh } from "../support/shell.ts";
import { exists, test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const PAGE = 4096;
const NO_SPACE = /no space left on device/;

/** A small disk at a place; it goes when it is disposed of. */
class Disk implements AsyncDisposable {
  readonly #filler: string;

  private constructor(readonly path: string) {
    this.#filler = `${path}/.filler`;
  }

  static async at(path: string, options = "size=1m"): Promise<Disk> {
    await Deno.mkdir(path, { recursive: true });
    await sh(`mount -t tmpfs -o mode=700,${options} tmpfs ${path}`);
    return new Disk(path);
  }

  /** Fills it up, but for so many bytes. */
  async fill(free = 0): Promise<void> {
    await Deno.remove(this.#filler).catch(() => {});
    await sh(`dd if=/dev/zero of=${this.#filler} bs=${PAGE} 2>/dev/null || true`);
    const { size } = await Deno.stat(this.#filler);
    await Deno.truncate(this.#filler, size - free);
  }

  async empty(): Promise<void> {
    await Deno.remove(this.#filler);
  }

  /** What is on it besides what fills it. */
  get names(): string[] {
    return [...Deno.readDirSync(this.path)].map(({ name }) => name).filter((name) => name !== ".filler");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await sh(`umount ${this.path}`);
  }
}

/** Kills and deletes what is left before the disk goes. */
async function withDisk(body: (box: Box, disk: Disk) => Promise<void>, options?: string): Promise<void> {
  await using box = await Box.create({ script: "sleep 1000" });
  await using disk = await Disk.at(box.root, options);
  try {
    await body(box, disk);
  } finally {
    await disk.empty().catch(() => {});
    for (const id of disk.names) await box.runk(["delete", "--force", id]);
  }
}

/** One line on standard error, that says what is wrong. */
function refused({ status, stdout, stderr }: Result, message: RegExp, code = 1): void {
  assert.equal(status, code, stderr);
  assert.equal(stdout, "");
  assert.match(stderr, message);
  assert.equal(stderr.trim().split("\n").length, 1, stderr);
}

for (const command of [["create"], ["run", "--detach"]]) {
  test(
    `${command.join(" ")} on a disk that fills up at any moment says so, and leaves nothing`,
    ROOT,
    () =>
      withDisk(async (box, disk) => {
        let failed = 0;
        for (let free = 0;; free += PAGE) {
          await disk.fill(free);
          const result = await box.runk([...command, box.id]);
          if (result.status === 0) break;
          failed++;
          refused(result, NO_SPACE);
          assert.deepEqual(disk.names, [], `with ${free} bytes free`);
          assert.deepEqual(cgroupsNamed(box.id), []);
          assert.ok(failed < 20, result.stderr);
        }
        assert.ok(failed >= 2, `${failed} failed`);
        await box.ok(["delete", "--force", box.id]);
      }),
  );
}

test(
  "create on a disk without room for one more file says so, and leaves nothing",
  ROOT,
  () =>
    withDisk(async (box, disk) => {
      let failed = 0;
      // The disk's root is one, and each of the others fills a place.
      const others = 20;
      for (let i = 0; i < others; i++) await Deno.writeTextFile(`${disk.path}/${i}`, "");
      for (let i = 0;; i++) {
        const result = await box.runk(["create", box.id]);
        if (result.status === 0) break;
        failed++;
        refused(result, NO_SPACE);
        assert.ok(!disk.names.includes(box.id));
        assert.deepEqual(cgroupsNamed(box.id), []);
        await Deno.remove(`${disk.path}/${i}`);
      }
      assert.ok(failed >= 3, `${failed} failed`);
      await box.ok(["delete", "--force", box.id]);
      for (const name of disk.names) await Deno.remove(`${disk.path}/${name}`);
    }, "nr_inodes=21"),
);

test(
  "what runs is looked at, entered, paused, stopped and deleted on a full disk",
  ROOT,
  () =>
    withDisk(async (box, disk) => {
      const second = `${box.id}-2`;
      await box.ok(["run", "--detach", box.id]);
      await box.ok(["create", second]);
      await disk.fill();
      assert.equal((await box.state()).status, "running");
      assert.deepEqual((await box.ok(["list", "--quiet"])).stdout.trim().split("\n").toSorted(), [box.id, second]);
      assert.equal((await box.ok(["exec", box.id, "echo", "inside"])).stdout, "inside\n");
      await box.ok(["exec", "--detach", box.id, "sleep", "100"]);
      await box.ok(["pause", box.id]);
      assert.equal((await box.state()).status, "paused");
      await box.ok(["resume", box.id]);
      await box.ok(["start", second]);
      assert.equal((await box.state(second)).status, "running");
      await box.ok(["kill", box.id, "KILL"]);
      await until("it has stopped", async () => (await box.state()).status === "stopped");
      await box.ok(["delete", box.id]);
      await box.ok(["delete", "--force", second]);
      assert.deepEqual(disk.names, []);
    }),
);

test(
  "update on a full disk changes nothing, neither in the kernel nor in the state",
  [...ROOT, "cgroup1"],
  () =>
    withDisk(async (box, disk) => {
      await box.ok(["run", "--detach", box.id]);
      await box.ok(["update", "--pids-limit", "20", box.id]);
      const [directory] = cgroupsNamed(box.id).filter((path) => path.startsWith("/sys/fs/cgroup/pids/"));
      const limit = () => Deno.readTextFileSync(`${directory}/pids.max`);
      const record = () => Deno.readTextFileSync(`${disk.path}/${box.id}/state.json`);
      const before = record();
      await disk.fill();
      refused(await box.runk(["update", "--pids-limit", "30", box.id]), NO_SPACE);
      assert.equal(limit(), "20\n");
      assert.equal(record(), before);
      assert.ok(!exists(`${disk.path}/${box.id}/state-draft.json`));
      await disk.empty();
      await box.ok(["update", "--pids-limit", "30", box.id]);
      assert.equal(limit(), "30\n");
    }),
);

test("a pid file that has no room fails create and exec, and no process stays", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  await using disk = await Disk.at(`${box.directory}/full`);
  await disk.fill();
  refused(await box.runk(["create", "--pid-file", "full/pid", box.id]), NO_SPACE);
  assert.deepEqual([disk.names, cgroupsNamed(box.id), exists(`${box.root}/${box.id}`)], [[], [], false]);
  await box.ok(["run", "--detach", box.id]);
  refused(await box.runk(["exec", "--detach", "--pid-file", "full/pid", box.id, "sleep", "99"]), NO_SPACE, 255);
  assert.deepEqual(disk.names, []);
  const { pid } = await box.state();
  assert.equal((await box.ok(["ps", "--format", "json", box.id])).stdout, `[${pid}]\n`);
});

test("a log that has no room costs the log, not the container, and its error is still told", ROOT, async () => {
  await using box = await Box.create({ script: "echo works" });
  await using disk = await Disk.at(`${box.directory}/full`);
  await Deno.writeTextFile(`${disk.path}/log`, "");
  await disk.fill();
  const log = ["--log", `${disk.path}/log`, "--log-format", "json", "--debug"];
  const lost = `cannot write to the log ${disk.path}/log: no space left on device\n`;
  assert.deepEqual(await box.runk([...log, "run", box.id]), { status: 0, stdout: "works\n", stderr: lost });
  const failed = await box.runk([...log, "kill", box.id]);
  assert.deepEqual(failed, { status: 1, stdout: "", stderr: `${lost}container does not exist\n` });
  // Standard error is a log, too.
  const command = quote([RUNK, "--debug", "--root", box.root, "run", box.id]);
  assert.equal(await sh(`${command} 2>/dev/full`, box.directory), "works\n");
});
