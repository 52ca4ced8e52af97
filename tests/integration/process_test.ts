/** Attributes of the container's process: compared with runc where it knows them, else read back from the kernel. */
import assert from "node:assert/strict";
import { tryCall } from "../../ffi/call.ts";
import { Memory } from "../../ffi/memory.ts";
import { pollBlocking } from "../../ffi/poll.ts";
import { Box, type Config, newId } from "../support/box.ts";
import { exists, test, until } from "../support/test.ts";
import { UnixServer } from "../support/unix_server.ts";

const ROOT = ["root", "cgroups"] as const;
const RUNC = [...ROOT, "file:/usr/sbin/runc"] as const;

const STATUS = "grep -E '^(Umask|Uid|Gid|Groups|NoNewPrivs|Cap.*):' /proc/self/status";

/** What a script prints under runk, and under runc, for one config. */
async function sideBySide(box: Box, change: (config: Config) => void): Promise<[ours: string, theirs: string]> {
  await box.write((config) => {
    config.process.terminal = false;
    change(config);
  });
  const ours = await box.runk(["run", box.id]);
  const theirs = await box.other("runc", ["run", box.id]);
  assert.equal(ours.status, theirs.status, ours.stderr + theirs.stderr);
  return [ours.stdout, theirs.stdout];
}

/** What a script prints. */
async function read(box: Box, script: string, change: (config: Config) => void): Promise<string> {
  await box.write((config) => {
    config.process.terminal = false;
    config.process.args = ["sh", "-c", script];
    change(config);
  });
  return (await box.ok(["run", box.id])).stdout;
}

/** The error of a run, which leaves nothing (the box looks when it is disposed of). */
async function refusal(box: Box, change: (config: Config) => void): Promise<string> {
  await box.write((config) => {
    config.process.terminal = false;
    config.process.args = ["true"];
    change(config);
  });
  const { status, stderr, stdout } = await box.runk(["run", box.id]);
  assert.equal(status, 1, stdout + stderr);
  assert.ok(!exists(`${box.root}/${box.id}`), "the state directory is gone");
  return stderr;
}

test("the process has the same ids, groups, umask and capabilities as with runc", RUNC, async () => {
  await using box = await Box.create();
  const changes: Record<string, (process: Config) => void> = {
    "the default": () => {},
    "a user with groups and a umask": (
      p,
    ) => (p.user = { uid: 1000, gid: 1001, additionalGids: [5, 4000], umask: 0o27 }),
    "empty capabilities: all are dropped": (p) => (p.capabilities = {}),
    "all five sets for a user": (p) => {
      p.user = { uid: 1000, gid: 1000 };
      const caps = ["CAP_NET_RAW", "CAP_KILL"];
      p.capabilities = { bounding: [...caps, "CAP_CHOWN"], effective: caps, permitted: caps, inheritable: caps };
      p.capabilities.ambient = ["CAP_NET_RAW"];
    },
    "new privileges allowed": (p) => (p.noNewPrivileges = false),
  };
  for (const [what, change] of Object.entries(changes)) {
    const [ours, theirs] = await sideBySide(box, (config) => {
      config.process.args = ["sh", "-c", STATUS];
      change(config.process);
    });
    assert.match(ours, /^CapBnd:/m);
    assert.equal(ours, theirs, what);
  }
});

test(
  "a config without capabilities drops none, one with empty ones drops all, as runc has it from 1.2 on",
  ROOT,
  async () => {
    await using box = await Box.create();
    const own = /CapBnd:\t(\w+)/.exec(await Deno.readTextFile("/proc/self/status"))![1]!;
    for (const capabilities of [undefined, null]) {
      const status = await read(box, STATUS, (config) => (config.process.capabilities = capabilities));
      assert.match(status, new RegExp(`CapPrm:\t${own}\nCapEff:\t${own}\nCapBnd:\t${own}\n`));
    }
    const status = await read(box, STATUS, (config) => (config.process.capabilities = {}));
    assert.match(status, /CapPrm:\t0{16}\nCapEff:\t0{16}\nCapBnd:\t0{16}\n/);
  },
);

test("all resource limits and the OOM score reach the process as with runc", RUNC, async () => {
  await using box = await Box.create();
  // In the order of /proc/self/limits.
  const names = "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME";
  const hard = (await Deno.readTextFile("/proc/self/limits")).split("\n").slice(1);
  // The type checker does not know rawJSON yet.
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  const limits = names.split(" ").map((name, number) => {
    const words = hard[number]!.slice(26).trim().split(/ +/);
    // Below what we may have ourselves: raising a hard limit takes a right that not every root has.
    const most = words[1] === "unlimited" ? 2n ** 64n - 1n : BigInt(words[1]!);
    return { type: `RLIMIT_${name}`, most };
  });
  for (const reduce of [(most: bigint) => most, (most: bigint) => (most > 3_000_000_000n ? 3_000_000_000n : most)]) {
    const [ours, theirs] = await sideBySide(box, (config) => {
      config.process.args = ["sh", "-c", "cat /proc/self/limits /proc/self/oom_score_adj"];
      config.process.oomScoreAdj = 321;
      config.process.rlimits = limits.map(({ type, most }) => {
        const value = rawJSON(String(reduce(most)));
        return { type, soft: value, hard: value };
      });
    });
    assert.match(ours, /^321$/m);
    assert.equal(ours, theirs);
  }
});

test("a resource limit above the hard one fails with its place in the config", ROOT, async () => {
  await using box = await Box.create();
  // Nobody may have more open files than fs.nr_open, whatever his rights.
  const stderr = await refusal(box, (config) => {
    config.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 4e9 }];
  });
  assert.match(stderr, /error setting rlimit type 7 \(RLIMIT_NOFILE\).*operation not permitted.*\/process\/rlimits\/0/);
});

test("unknown capabilities and ambient ones that cannot be raised are warned of, no more", ROOT, async () => {
  await using box = await Box.create();
  await box.write((config) => {
    config.process.terminal = false;
    config.process.args = ["sh", "-c", "grep CapAmb /proc/self/status"];
    const caps = ["CAP_KILL", "CAP_NO_SUCH"];
    config.process.capabilities = { bounding: caps, effective: caps, permitted: caps, ambient: caps };
  });
  const { status, stdout, stderr } = await box.runk(["run", box.id]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /CapAmb:\t0{16}\n/);
  const [unknown, ambient, ...rest] = stderr.trim().split("\n");
  assert.match(unknown!, /level=warning msg="ignoring unknown or unavailable capabilities: \[CAP_NO_SUCH\]"/);
  assert.match(ambient!, /level=warning msg="can't raise ambient capability CAP_KILL: operation not permitted"/);
  assert.deepEqual(rest, []);
});

test("the scheduler's policies reach the process", ROOT, async () => {
  await using box = await Box.create();
  const POLICY_FIELD = 41;
  /** Fields 18 (priority), 19 (nice) and 41 (policy) of /proc/self/stat. */
  const scheduling = async (scheduler: Config, change: (config: Config) => void = () => {}) => {
    const stat = (await read(box, "cat /proc/$$/stat; :", (config) => {
      config.process.scheduler = scheduler;
      change(config);
    })).split(" ");
    return [stat[17], stat[18], stat[POLICY_FIELD - 1]].map(Number);
  };
  assert.deepEqual(await scheduling({ policy: "SCHED_OTHER", nice: -3 }), [17, -3, 0]);
  assert.deepEqual(await scheduling({ policy: "SCHED_BATCH", nice: 7 }), [27, 7, 3]);
  assert.deepEqual(await scheduling({ policy: "SCHED_IDLE" }), [20, 0, 5]);
  const realtime = (config: Config) => {
    // Where real-time is shared out by cgroups, a new cgroup has none.
    if (!exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")) return;
    config.linux.cgroupsPath = `/${box.id}`;
    config.linux.resources.cpu = { realtimePeriod: 1000000, realtimeRuntime: 1000 };
  };
  assert.deepEqual(await scheduling({ policy: "SCHED_FIFO", priority: 9 }, realtime), [-10, 0, 1]);
  const reset = { policy: "SCHED_RR", priority: 1, flags: ["SCHED_FLAG_RESET_ON_FORK"] };
  assert.deepEqual(await scheduling(reset, realtime), [-2, 0, 2]);
  const deadline = { policy: "SCHED_DEADLINE", runtime: 1000000, deadline: 10000000, period: 20000000 };
  // A deadline process may fork only when its children are not to be ones.
  const noFork = { ...deadline, flags: ["SCHED_FLAG_RESET_ON_FORK"] };
  assert.deepEqual(await scheduling(noFork), [-101, 0, 6]);
  if (navigator.hardwareConcurrency < 2) return console.log("not tested: a deadline beside a cpuset: there is one CPU");
  const denied = await refusal(box, (config) => {
    config.process.scheduler = deadline;
    config.linux.resources.cpu = { cpus: "0" };
  });
  assert.match(denied, /process scheduler can't be used together with AllowedCPUs.*\/process\/scheduler/);
});

test("the scheduler is set with the caller's rights, even for a container in a user namespace", ROOT, async () => {
  await using box = await Box.create();
  const stat = await read(box, "cat /proc/$$/stat; :", (config) => {
    config.linux.namespaces.push({ type: "user" });
    config.linux.uidMappings = config.linux.gidMappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
    config.process.scheduler = { policy: "SCHED_OTHER", nice: -5 };
    config.process.ioPriority = { class: "IOPRIO_CLASS_RT", priority: 4 };
  });
  assert.equal(stat.split(" ")[18], "-5");
});

test("the I/O priority, the execution domain and the memory policy reach the process", ROOT, async () => {
  await using box = await Box.create();
  const io = (ioPriority: Config) => read(box, "busybox ionice -p $$", (c) => (c.process.ioPriority = ioPriority));
  assert.match(await io({ class: "IOPRIO_CLASS_RT", priority: 3 }), /realtime: prio 3/);
  assert.match(await io({ class: "IOPRIO_CLASS_BE", priority: 6 }), /best-effort: prio 6/);
  assert.match(await io({ class: "IOPRIO_CLASS_IDLE", priority: 0 }), /idle/);
  const domain = (domain: string) =>
    read(box, "cat /proc/$$/personality; :", (c) => (c.linux.personality = { domain }));
  assert.equal(await domain("LINUX32"), "00000008\n");
  assert.equal(await domain("LINUX"), "00000000\n");
  if (!exists("/proc/self/numa_maps")) {
    return console.log("not tested: memory policies, because the kernel has no NUMA");
  }
  const memory = async (memoryPolicy: Config) =>
    (await read(box, "head -n1 /proc/$$/numa_maps; :", (c) => (c.linux.memoryPolicy = memoryPolicy))).split(" ")[1];
  assert.equal(await memory({ mode: "MPOL_DEFAULT" }), "default");
  assert.equal(await memory({ mode: "MPOL_LOCAL" }), "local");
  assert.equal(await memory({ mode: "MPOL_BIND", nodes: "0" }), "bind:0");
  assert.equal(
    await memory({ mode: "MPOL_INTERLEAVE", nodes: "0", flags: ["MPOL_F_STATIC_NODES"] }),
    "interleave=static:0",
  );
  assert.equal(
    await memory({ mode: "MPOL_PREFERRED", nodes: "0", flags: ["MPOL_F_RELATIVE_NODES"] }),
    "prefer=relative:0",
  );
  assert.equal(await memory({ mode: "MPOL_BIND", nodes: "0", flags: ["MPOL_F_NUMA_BALANCING"] }), "bind=balancing:0");
  const absent = await refusal(box, (config) => (config.linux.memoryPolicy = { mode: "MPOL_BIND", nodes: "900" }));
  assert.match(absent, /set_mempolicy\(mpol_bind, \{900\}, \d+\): invalid argument \(EINVAL\).*\/linux\/memoryPolicy/);
});

test(
  "the container may use every CPU, whatever CPUs its caller is bound to",
  [...ROOT, "command:taskset"],
  async () => {
    await using box = await Box.create({ script: "grep Cpus_allowed_list /proc/self/status" });
    const all = await box.ok(["run", box.id]);
    const path = `${box.directory}/bound`;
    const program = Deno.env.get("RUNK") ?? new URL("../../dist/runk.js", import.meta.url).pathname;
    await Deno.writeTextFile(path, `#!/bin/sh\nexec taskset -c 0 ${program} "$@"\n`, { mode: 0o755 });
    const bound = await box.other(path, ["run", box.id]);
    assert.equal(bound.stdout, all.stdout);
  },
);

test("a terminal has the size that the config gives it", ROOT, async () => {
  await using box = await Box.create({
    script: "stty size > /tmp/size",
    config: (config) => {
      config.root.readonly = false;
      config.process.terminal = true;
      config.process.consoleSize = { height: 33, width: 121 };
    },
  });
  // The terminal's master waits in the socket, which is never accepted.
  using _listener = Deno.listen({ transport: "unix", path: `${box.directory}/console` });
  await box.ok(["run", "--detach", "--console-socket", "console", box.id]);
  const pid = (await box.state()).pid;
  await until("the program has ended", () => pid === 0 || !exists(`/proc/${pid}/exe`));
  assert.equal(await Deno.readTextFile(`${box.rootfs}/tmp/size`), "33 121\n");
  await box.ok(["delete", box.id]);
});

test("a terminal's master goes to the console socket, the rest of it is the user's", ROOT, async () => {
  const look = "tty; stat -c %u:%g $(tty) /dev/console; readlink /proc/self/fd/0; exec sleep 1000";
  await using box = await Box.create({
    script: look,
    config: (config) => {
      config.process.terminal = true;
      config.process.user = { uid: 1000, gid: 1000 };
    },
  });
  using server = new UnixServer(`${box.directory}/console`);
  /** What appears on the terminal whose master came in, up to some text. */
  const shown = async (end: string) => {
    using message = server.receive();
    assert.ok(message.text.length > 0, "receivers want a byte with the descriptor");
    const data = new Memory(4096);
    let text = "";
    await until(`${end} is shown`, () => {
      const [isReady] = pollBlocking([{ fd: message.fd.number }], 1000) as boolean[];
      if (isReady) {
        text += new TextDecoder().decode(
          data.bytes.subarray(0, Math.max(0, tryCall("read", message.fd.number, data, 4096))),
        );
      }
      return text.includes(end);
    });
    return text.replaceAll("\r\n", "\n");
  };
  await box.ok(["create", "--console-socket", "console", box.id]);
  await box.ok(["start", box.id]);
  // The group is the mount's, gid=5.
  assert.equal(await shown("1000:5\r\n/dev/pts/0\r\n"), "/dev/pts/0\n1000:5\n1000:5\n/dev/pts/0\n");
  const script = "tty; stat -c %u $(tty); stat -c %u /dev/console; echo done";
  await box.ok([
    "exec",
    "--tty",
    "--detach",
    "--user",
    "1001",
    "--console-socket",
    "console",
    box.id,
    "sh",
    "-c",
    script,
  ]);
  assert.equal(await shown("done\r\n"), "/dev/pts/1\n1001\n1000\ndone\n");
  const nobody = await box.runk(["exec", "-t", "-d", "--console-socket", "nobody", box.id, "true"]);
  assert.match(nobody.stderr, /nobody: .*no such file or directory/);
});

test("the session keyring is the container's own, or the caller's with --no-new-keyring", ROOT, async () => {
  await using box = await Box.create({
    script: "cat /proc/keys",
    config: (config) => (config.linux.maskedPaths = []),
  });
  assert.match((await box.ok(["run", box.id])).stdout, new RegExp(`keyring +_ses\\.${box.id}: `));
  // All of the user's keyrings are in the list, so another container's name is looked for.
  const other = newId();
  assert.doesNotMatch((await box.ok(["run", "--no-new-keyring", other])).stdout, new RegExp(`_ses\\.${other}:`));
});

test("labels that no security module here enforces are refused, and so is a share of caches", ROOT, async () => {
  await using box = await Box.create();
  const selinux = exists("/sys/fs/selinux/enforce");
  const apparmor = exists("/proc/self/attr/apparmor/exec");
  if (!selinux) {
    const words = /selinux label is specified in config, but selinux is disabled or not supported/;
    const label = "system_u:system_r:container_t:s0:c1,c2";
    const process = await refusal(box, (config) => (config.process.selinuxLabel = label));
    assert.match(process, words);
    assert.match(process, /\[config\.json \/process\/selinuxLabel\]/);
    const mount = await refusal(box, (config) => (config.linux.mountLabel = label));
    assert.match(mount, words);
    assert.match(mount, /\[config\.json \/linux\/mountLabel\]/);
  }
  const profile = await refusal(box, (config) => (config.process.apparmorProfile = "runk-no-such-profile"));
  assert.match(profile, /unable to apply apparmor profile: apparmor failed to apply profile: /);
  assert.match(profile, apparmor ? /not loaded|not enabled/ : /this kernel has no AppArmor/);
  assert.match(profile, /\[config\.json \/process\/apparmorProfile\]/);
  if ((await Deno.readTextFile("/proc/self/mountinfo")).includes(" - resctrl ")) return;
  const shares = await refusal(box, (config) => (config.linux.intelRdt = { l3CacheSchema: "L3:0=f" }));
  assert.match(
    shares,
    /intelRdt is specified in config, but Intel RDT is not enabled.*\[config\.json \/linux\/intelRdt\]/,
  );
});

test("wrong attributes are refused before anything is made", ROOT, async () => {
  await using box = await Box.create();
  const wrong: [change: (config: Config) => void, path: string][] = [
    [(c) => (c.process.oomScoreAdj = 1001), "/process/oomScoreAdj"],
    [(c) => (c.process.user.umask = 0o1777), "/process/user/umask"],
    [(c) => (c.process.scheduler = { policy: "SCHED_NONE" }), "/process/scheduler/policy"],
    [(c) => (c.process.ioPriority = { class: "IOPRIO_CLASS_BE", priority: 9 }), "/process/ioPriority/priority"],
    [(c) => (c.process.execCPUAffinity = { initial: "9-" }), "/process/execCPUAffinity/initial"],
    [(c) => (c.linux.personality = { domain: "BSD" }), "/linux/personality/domain"],
    [(c) => (c.linux.memoryPolicy = { mode: "MPOL_BIND" }), "/linux/memoryPolicy/nodes"],
    [(c) => (c.linux.intelRdt = { closID: "../x" }), "/linux/intelRdt/closID"],
  ];
  for (const [change, path] of wrong) assert.ok((await refusal(box, change)).includes(`[config.json ${path}]`), path);
});

test(
  "a config whose names have other letters, which Go's programs read, makes the container it means",
  ROOT,
  async () => {
    await using box = await Box.create();
    await box.write((c) => {
      const { args: _, terminal, ...rest } = c.process;
      delete c.process;
      c.Process = {
        ...rest,
        Terminal: terminal && false,
        ARGS: ["sh", "-c", "echo $HOSTNAME; exec sleep 100"],
        ENV: ["PATH=/bin", "A=b"],
      };
      delete c.Process.env;
      c.linux.resources = { PIDS: { Limit: 77 } };
      c.HostName = "other";
      delete c.hostname;
    });
    for (const _ of ["first", "again"]) {
      await box.ok(["run", "-d", box.id]);
      const { stdout } = await box.ok(["exec", box.id, "sh", "-c", "hostname; echo $A"]);
      assert.equal(stdout, "other\nb\n");
      assert.match(await Deno.readTextFile(`${box.root}/${box.id}/state.json`), /"pids_limit":77/);
      await box.ok(["delete", "--force", box.id]);
    }
  },
);
