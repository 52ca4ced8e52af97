/**
 * Many containers at once, storms of exec, and kill -9 of each party, through containerd. RUNK_LOAD=full takes the counts
 * that are worth a coffee instead of those of every day.
 */
import assert from "node:assert/strict";
import { Box, newId } from "../support/box.ts";
import { cgroupsNamed, processesNaming } from "../support/daemon.ts";
import { ClientHost, Containerd } from "../support/hosts.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";

const ROOT = ["root", "cgroup1"] as const;
const NEEDS = [...ROOT, "command:containerd", "command:ctr"] as const;
const isFull = Deno.env.get("RUNK_LOAD") === "full";
const count = (everyDay: number, full: number) => (isFull ? full : everyDay);
const IMAGE = "docker.io/library/box:latest";
const PATIENCE = 120_000;

/** A containerd, and ctr in a namespace of it. */
class Ctr implements AsyncDisposable {
  readonly containerd: Containerd;
  readonly root: string;

  private constructor(containerd: Containerd) {
    this.containerd = containerd;
    this.root = `${containerd.host.directory}/root`;
  }

  static async start(): Promise<Ctr> {
    const ctr = new Ctr(await ClientHost.with(Containerd.start));
    await ctr.ok("images", "import", ctr.containerd.host.image);
    return ctr;
  }

  call(...args: string[]) {
    const { socket, host } = this.containerd;
    return run("timeout", ["100", "ctr", "--address", socket, "--namespace", host.cgroup, ...args]);
  }

  async ok(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.call(...args);
    assert.equal(status, 0, `ctr ${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  }

  start(id: string, ...command: string[]): Promise<string> {
    const { runtimes, cgroup } = this.containerd.host;
    const options = ["--runc-binary", runtimes.runk, "--runc-root", this.root, "--cgroup", `/${cgroup}/${id}`];
    return this.ok("run", "--detach", ...options, IMAGE, id, ...command);
  }

  /** id -> status of every task. */
  async tasks(): Promise<Map<string, string>> {
    const lines = (await this.ok("task", "ls")).trim().split("\n").slice(1);
    return new Map(lines.map((line) => line.split(/\s+/)).map(([id, , status]) => [id!, status!]));
  }

  async remove(id: string): Promise<void> {
    await this.ok("task", "kill", "--signal", "KILL", id);
    await this.stopped(id);
    await this.ok("task", "delete", id);
    await this.ok("container", "delete", id);
  }

  stopped = (id: string) =>
    until(`${id} has stopped`, async () => (await this.tasks()).get(id) === "STOPPED", PATIENCE);

  /** No cgroup below the host's, no state, no shim. */
  async assertNothingLeft(): Promise<void> {
    const { host } = this.containerd;
    const below = () => cgroupsNamed(host.cgroup).filter((path) => !path.endsWith(host.cgroup));
    await until("cgroups, state and shims are gone", () => {
      const state = exists(`${this.root}/${host.cgroup}`) ? [...Deno.readDirSync(`${this.root}/${host.cgroup}`)] : [];
      return below().length === 0 && state.length === 0 && shims(this).length === 0;
    }, PATIENCE);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.containerd.stop();
    await this.containerd.host.remove();
  }
}

/** Pids of containerd-shim processes of this containerd. */
const shims = ({ containerd }: Ctr) =>
  processesNaming(containerd.socket).filter((pid) =>
    Deno.readTextFileSync(`/proc/${pid}/comm`).startsWith("containerd-shim")
  );

const report = (what: string, begun: number, n: number) =>
  console.log(`${what}: ${n} in ${((performance.now() - begun) / 1000).toFixed(1)} s`);

test("many containers start at once through containerd, all run, and nothing of them is left", NEEDS, async () => {
  await using ctr = await Ctr.start();
  const ids = Array.from({ length: count(10, 50) }, () => newId());
  let begun = performance.now();
  await Promise.all(ids.map((id) => ctr.start(id, "sleep", "1000")));
  report("containers started at once", begun, ids.length);
  const tasks = await ctr.tasks();
  assert.deepEqual(ids.filter((id) => tasks.get(id) !== "RUNNING"), []);
  begun = performance.now();
  await Promise.all(ids.map((id) => ctr.remove(id)));
  report("containers removed at once", begun, ids.length);
  await ctr.assertNothingLeft();
});

test("one container after the other leaves nothing", NEEDS, async () => {
  await using ctr = await Ctr.start();
  const { runtimes, cgroup } = ctr.containerd.host;
  const n = count(5, 1000);
  const begun = performance.now();
  for (let i = 0; i < n; i++) {
    const options = ["--rm", "--runc-binary", runtimes.runk, "--runc-root", ctr.root, "--cgroup", `/${cgroup}/${i}`];
    assert.equal((await ctr.call("run", ...options, IMAGE, `${newId()}`, "sh", "-c", "exit 3")).status, 3);
  }
  report("ctr run --rm, one after the other", begun, n);
  await ctr.assertNothingLeft();
});

test("a storm of exec gives every process its own exit status", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  await box.ok(["run", "--detach", box.id]);
  const end = performance.now() + count(3_000, 60_000);
  const begun = performance.now();
  let done = 0;
  const wrong: string[] = [];
  await Promise.all(Array.from({ length: count(5, 20) }, async () => {
    while (performance.now() < end) {
      const number = ++done;
      const { status, stdout, stderr } = await box.runk([
        "exec",
        box.id,
        "sh",
        "-c",
        `echo ${number}; exit ${number % 250}`,
      ]);
      if (status !== number % 250 || stdout !== `${number}\n`) wrong.push(`${number}: ${status} ${stdout}${stderr}`);
    }
  }));
  report("exec", begun, done);
  assert.deepEqual(wrong, []);
  assert.equal(
    (await box.ok(["exec", box.id, "ps"])).stdout.split("\n").filter((line) => line.includes("sleep")).length,
    1,
  );
});

test("after kill -9 of runk at any moment of run, delete --force leaves nothing", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  const n = count(15, 300);
  const begun = performance.now();
  for (let i = 0; i < n; i++) {
    const id = newId();
    const args = ["--root", box.root, "run", "--detach", id];
    const child = new Deno.Command(RUNK, { args, cwd: box.directory, stdin: "null", stdout: "null", stderr: "null" })
      .spawn();
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 120));
    try {
      child.kill("SIGKILL");
    } catch {
      // It was faster.
    }
    await child.status;
    await box.ok(["delete", "--force", id]);
    await until(`the cgroups of ${id} are gone`, () => cgroupsNamed(id).length === 0);
    assert.ok(!exists(`${box.root}/${id}`));
  }
  report("run killed", begun, n);
});

test("kill -9 of containerd's shim ends its container, and nothing is left", NEEDS, async () => {
  await using ctr = await Ctr.start();
  for (let i = 0; i < count(2, 20); i++) {
    const id = newId();
    await ctr.start(id, "sleep", "1000");
    for (const pid of shims(ctr)) Deno.kill(pid, "SIGKILL");
    await until("containerd has seen it", async () => (await ctr.tasks()).get(id) !== "RUNNING", PATIENCE);
    await ctr.call("task", "delete", id);
    await ctr.ok("container", "delete", id);
    await ctr.assertNothingLeft();
  }
});

test("kill -9 of containerd leaves its containers alive, and a new one takes them over", NEEDS, async () => {
  await using ctr = await Ctr.start();
  const ids = Array.from({ length: count(2, 20) }, () => newId());
  await Promise.all(ids.map((id) => ctr.start(id, "sleep", "1000")));
  await ctr.containerd.kill();
  await ctr.containerd.restart();
  const tasks = await ctr.tasks();
  assert.deepEqual(ids.map((id) => tasks.get(id)), ids.map(() => "RUNNING"));
  await Promise.all(ids.map((id) => ctr.ok("task", "exec", "--exec-id", newId(), id, "true")));
  await Promise.all(ids.map((id) => ctr.remove(id)));
  await ctr.assertNothingLeft();
});
