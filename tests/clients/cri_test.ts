/** containerd's CRI plugin, as Kubernetes and crictl use it: the same calls with runc and with runk. */
import assert from "node:assert/strict";
import { dissolveHierarchies } from "../support/cgroups.ts";
import { type Release, releases } from "../support/containerd_releases.ts";
import { MODE } from "../support/cri.ts";
import { cgroupsNamed, processesNaming } from "../support/daemon.ts";
import { type Container, Node, type Pod, type PodOptions } from "../support/pods.ts";
import { exists, test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroup1", "command:containerd", "command:ctr", "command:runc"] as const;
const RUNTIMES = ["runc", "runk"] as const;

const nodes = new Map<Release, Promise<Node>>();
Deno.test.afterAll(async () => {
  for (const started of nodes.values()) {
    const node = await started.catch(() => undefined);
    await node?.[Symbol.asyncDispose]();
  }
});

/** One runtime on a node. */
class Side {
  readonly node: Node;
  readonly runtime: typeof RUNTIMES[number];
  readonly name: string;
  readonly cgroup: string;

  constructor(node: Node, runtime: typeof RUNTIMES[number]) {
    const { host } = node.containerd;
    this.node = node;
    this.runtime = runtime;
    this.name = `${runtime}-${++count}`;
    this.cgroup = `/${host.cgroup}/pod-${this.name}`;
  }

  pod(options: Partial<PodOptions> = {}): Promise<Pod> {
    return this.node.pod({ runtime: this.runtime, cgroupParent: this.cgroup, name: this.name, ...options });
  }

  /** A file of a container's cgroup. */
  read = ({ id }: Container, controller: string, file: string): string =>
    Deno.readTextFileSync(`/sys/fs/cgroup/${controller}${this.cgroup}/${id}/${file}`).trim();
}
let count = 0;

const RELEASES = await releases();

/** What the calls of `play` give must be the same under both runtimes, and what `expected` says. */
function same<T>(name: string, play: (side: Side) => Promise<T>, expected?: T): void {
  for (const release of RELEASES) {
    test(`CRI of ${release.name} containerd: ${name}`, NEEDS, async () => {
      await dissolveHierarchies();
      if (!nodes.has(release)) nodes.set(release, Node.start(release));
      const node = await nodes.get(release)!;
      const [theirs, ours] = await Promise.all(RUNTIMES.map((runtime) => play(new Side(node, runtime))));
      assert.deepEqual(ours, theirs);
      if (expected !== undefined) assert.deepEqual(ours, expected);
      await assertNothingLeft(node);
    });
  }
}

/** Neither cgroups nor state nor shims. */
async function assertNothingLeft({ containerd }: Node): Promise<void> {
  const { host, socket } = containerd;
  const state = `${host.directory}/runtime-root/k8s.io`;
  const shims = () =>
    processesNaming(socket).filter((pid) => /containerd-shim/.test(Deno.readTextFileSync(`/proc/${pid}/comm`)));
  await until("cgroups, state and shims are gone", () => {
    const cgroups = cgroupsNamed(host.cgroup).filter((path) => /\/[0-9a-f]{64}$/.test(path));
    return cgroups.length === 0 && shims().length === 0 &&
      (!exists(state) || [...Deno.readDirSync(state)].length === 0);
  });
}

/** What a call is refused with, without what differs from run to run and the runtime's own words. */
async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "nothing is wrong";
  } catch (error) {
    return String(error).replace(/[0-9a-f]{64}/g, "<id>");
  }
}

const WAITS = "trap 'echo bye; exit 5' TERM; echo started; while :; do sleep 0.1; done";

same("a container runs, logs, is entered, is stopped and removed", async (side) => {
  await using pod = await side.pod();
  const container = await pod.create(WAITS, {
    config: { working_dir: "/tmp", envs: [{ key: "A", value: btoa("b c") }], labels: { app: "box" } },
  });
  const created = await container.status();
  await container.call("StartContainer");
  await until("it runs", () => container.log().includes("started"));
  const seen = {
    pod: await pod.state(),
    created: created.state,
    running: (await container.status()).state,
    exec: await container.exec("sh", "-c", 'echo "$A"; pwd; id -u; echo err >&2; exit 6'),
    big: (await container.exec("sh", "-c", "yes | head -c 300000")).stdout.length,
    missing: /no-such-command.*executable file not found in \$PATH/.test(
      await refusal(container.exec("no-such-command")),
    ),
    late: /deadline|timed out|timeout/i.test(
      await refusal(pod.cri.execSync(container.id, ["sleep", "100"], 1)),
    ),
    processes: (await container.exec("ps")).stdout.split("\n").filter((line) => /sleep 100/.test(line)).length,
  };
  await container.call("StopContainer", { timeout: 30 });
  const ended = await container.status();
  const log = container.log();
  await container.call("RemoveContainer");
  return { ...seen, ended, log, gone: /not ?found/i.test(await refusal(container.status())) };
}, {
  pod: "ready",
  created: "created",
  running: "running",
  exec: { status: 6, stdout: "b c\n/tmp\n0\n", stderr: "err\n" },
  big: 300000,
  missing: true,
  late: true,
  processes: 0,
  ended: { state: "exited", exit_code: 5, reason: "Error", message: "" },
  log: "started\nbye\n",
  gone: true,
});

same("ends of every kind have the reasons and exit codes that a kubelet shows", async (side) => {
  await using pod = await side.pod();
  const done = await (await pod.start("true")).end();
  const failed = await (await pod.start("exit 3")).end();
  const stubborn = await pod.start("trap '' TERM; echo started; while :; do sleep 0.1; done");
  await until("it runs", () => stubborn.log().includes("started"));
  await stubborn.call("StopContainer", { timeout: 1 });
  const killed = await stubborn.status();
  const absent = await pod.create("", { config: { command: ["/no/such/program"] } });
  const words = await refusal(absent.call("StartContainer"));
  const { message, ...never } = await absent.status();
  for (const text of [words, message]) {
    assert.match(
      text,
      /failed to create containerd task: .*OCI runtime create failed: .*\/no\/such\/program.*no such file/,
    );
  }
  return { done, failed, killed, never };
}, {
  done: { state: "exited", exit_code: 0, reason: "Completed", message: "" },
  failed: { state: "exited", exit_code: 3, reason: "Error", message: "" },
  killed: { state: "exited", exit_code: 137, reason: "Error", message: "" },
  never: { state: "exited", exit_code: 128, reason: "StartError" },
});

same("exec and attach stream input and output, with and without a terminal", async (side) => {
  await using pod = await side.pod();
  const container = await pod.start('while read line; do echo "read $line"; done', { config: { stdin: true } });
  const piped = await container.cri.stream("Exec", { container_id: container.id, cmd: ["sh"], stderr: true });
  piped.type("echo out; echo err >&2; exit 3\n");
  const inTerminal = await container.cri.stream("Exec", { container_id: container.id, cmd: ["sh"], tty: true });
  inTerminal.resize(77, 33);
  // The size may arrive after the shell.
  inTerminal.type("until stty size | grep '33 77'; do sleep 0.1; done; tty; exit 4\n");
  const attached = await container.cri.stream("Attach", { container_id: container.id });
  attached.type("typed\n");
  await attached.expect(/read typed\n/);
  attached.close();
  const shown = await inTerminal.end();
  return {
    piped: await piped.end(),
    inTerminal: { status: shown.status, shown: /\n33 77\r\n\/dev\/pts\/0\r\n$/.test(shown.stdout) },
    log: container.log(),
    running: (await container.status()).state,
  };
}, {
  piped: { status: 3, stdout: "out\n", stderr: "err\n" },
  inTerminal: { status: 4, shown: true },
  log: "read typed\n",
  running: "running",
});

same("a terminal of a container's own is attached to, and resized", async (side) => {
  await using pod = await side.pod();
  const container = await pod.start("while read line; do $line; done", { config: { stdin: true, tty: true } });
  const attached = await container.cri.stream("Attach", { container_id: container.id, tty: true });
  attached.type("tty\n");
  await attached.expect(/\/dev\/pts\/0\r\n/);
  attached.resize(50, 20);
  attached.type("stty size\nexit 7\n");
  await attached.end().catch(() => undefined);
  return await container.end();
}, { state: "exited", exit_code: 7, reason: "Error", message: "" });

same("security contexts hold", async (side) => {
  await using pod = await side.pod();
  const script =
    "id; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; touch /x; echo denied $?; cat /proc/1/oom_score_adj; sleep 1000";
  const strict = await pod.start(script, {
    config: { devices: [{ host_path: "/dev/fuse", container_path: "/dev/f", permissions: "rwm" }] },
    resources: { oom_score_adj: 990 },
    security: {
      run_as_user: { value: 1000 },
      run_as_group: { value: 5 },
      supplemental_groups: [7],
      readonly_rootfs: true,
      no_new_privs: true,
      capabilities: { add_capabilities: ["SYS_TIME"], drop_capabilities: ["CHOWN"] },
      masked_paths: ["/proc/kcore"],
      readonly_paths: ["/proc/sys"],
      seccomp: { profile_type: 0 },
    },
  });
  const privileged = await pod.start("grep CapEff /proc/self/status; sleep 1000", { security: { privileged: true } })
    .catch(() => undefined);
  await until("it is looked at", () => /^990$/m.test(strict.log()));
  return {
    output: strict.log("stdout"),
    errors: strict.log("stderr"),
    device: (await strict.exec("stat", "-c", "%t:%T", "/dev/f")).stdout,
    masked: (await strict.exec("stat", "-c", "%t:%T", "/proc/kcore")).stdout,
    mounts: (await strict.exec("cat", "/proc/mounts")).stdout.split("\n").filter((line) => / \/proc/.test(line)),
    privileged: privileged === undefined
      ? "refused"
      : (await privileged.exec("grep", "Cap", "/proc/self/status")).stdout,
  };
});

same("namespaces are the pod's, another container's, or a container's own", async (side) => {
  await using pod = await side.pod({ namespaces: { pid: MODE.POD }, sysctls: { "kernel.msgmax": "4096" } });
  const first = await pod.start("exec sleep 1000");
  const second = await pod.start("exec sleep 1001");
  const own = await pod.start("exec sleep 1002", {
    security: { namespace_options: { network: MODE.NODE, pid: MODE.CONTAINER } },
  });
  const target = await pod.start("exec sleep 1003", {
    security: { namespace_options: { network: MODE.NODE, pid: MODE.TARGET, target_id: own.id } },
  });
  const namespace = async (container: Container, name: string) =>
    (await container.exec("readlink", `/proc/self/ns/${name}`)).stdout;
  const sleepers = async (container: Container) =>
    [...(await container.exec("ps", "-o", "args")).stdout.matchAll(/^sleep (\d+)$/gm)].map(([, number]) => number);
  const seen = {
    shared: await sleepers(first),
    own: await sleepers(own),
    targeted: await sleepers(target),
    ipc: await namespace(first, "ipc") === await namespace(second, "ipc"),
    network: await namespace(first, "net") === Deno.readLinkSync("/proc/self/ns/net") + "\n",
    msgmax: (await first.exec("cat", "/proc/sys/kernel/msgmax")).stdout,
  };
  // Debian's containerd fails to stop a container that ends at this very moment, as this one does when the other stops.
  await target.call("StopContainer");
  return seen;
}, {
  shared: ["100000", "1000", "1001"],
  own: ["1002", "1003"],
  targeted: ["1002", "1003"],
  ipc: true,
  network: true,
  msgmax: "4096\n",
});

const MEGABYTE = 2 ** 20;

same("limits are set, updated, and told in statistics", async (side) => {
  await using pod = await side.pod();
  const container = await pod.start("sleep 1000", {
    resources: {
      cpu_period: 100000,
      cpu_quota: 50000,
      cpu_shares: 512,
      memory_limit_in_bytes: 64 * MEGABYTE,
      cpuset_cpus: "0",
    },
  });
  const limits = () =>
    [
      ["cpu", "cpu.cfs_quota_us"],
      ["cpu", "cpu.shares"],
      ["memory", "memory.limit_in_bytes"],
      ["cpuset", "cpuset.cpus"],
    ].map(([controller, file]) => side.read(container, controller!, file!));
  const before = limits();
  const { stats } = await container.call<Stats>("ContainerStats");
  await container.call("UpdateContainerResources", {
    linux: { cpu_period: 100000, cpu_quota: 70000, cpu_shares: 300, memory_limit_in_bytes: 100 * MEGABYTE },
  });
  return {
    before,
    after: limits(),
    refused: /unable|invalid|failed/i.test(
      await refusal(container.call("UpdateContainerResources", { linux: { cpuset_cpus: "999" } })),
    ),
    unchanged: limits(),
    cpu: Number(stats.cpu.usage_core_nano_seconds.value) > 0,
    memory: Number(stats.memory.working_set_bytes.value) > 0,
  };
}, {
  before: ["50000", "512", String(64 * MEGABYTE), "0"],
  after: ["70000", "300", String(100 * MEGABYTE), "0"],
  refused: true,
  unchanged: ["70000", "300", String(100 * MEGABYTE), "0"],
  cpu: true,
  memory: true,
});

interface Stats {
  readonly stats: {
    readonly cpu: { readonly usage_core_nano_seconds: { readonly value: string } };
    readonly memory: { readonly working_set_bytes: { readonly value: string } };
  };
}

same("a container that takes more memory than it may is told as OOMKilled", async (side) => {
  await using pod = await side.pod();
  const container = await pod.start("exec tail /dev/zero", {
    resources: { memory_limit_in_bytes: 16 * MEGABYTE, memory_swap_limit_in_bytes: 16 * MEGABYTE },
  });
  await container.end();
  await until("the reason is told", async () => (await container.status()).reason === "OOMKilled");
  return await container.status();
}, { state: "exited", exit_code: 137, reason: "OOMKilled", message: "" });
