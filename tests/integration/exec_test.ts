/** Processes in containers that exist: what they get from the bundle, the command line, a file and the container. */
import assert from "node:assert/strict";
import { Box, type Config, newId } from "../support/box.ts";
import { type Result, run, RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";
import { pidOf, UnixServer } from "../support/unix_server.ts";

const ROOT = ["root", "cgroups"] as const;
const V1 = ["root", "cgroup1"] as const;
const V2 = ["root", "cgroup2"] as const;
const RUNC = [...ROOT, "file:/usr/sbin/runc"] as const;
const FAILURE = 255;

const PROBE = "grep -E '^(Umask|Uid|Gid|Groups|NoNewPrivs|Cap.*):' /proc/self/status; cat /proc/self/limits; " +
  "cat /proc/self/oom_score_adj; pwd; env";

/** A box whose container sleeps. */
async function sleeping(config: (config: Config) => void = () => {}): Promise<Box> {
  const box = await Box.create({ script: "sleep 1000", config });
  await box.ok(["run", "--detach", box.id]);
  return box;
}

/** A container of runc's with the same bundle; returns its id. */
async function runcTwin(box: Box): Promise<string> {
  const id = newId();
  const { status, stderr } = await box.other("runc", ["run", "--detach", id]);
  assert.equal(status, 0, stderr);
  return id;
}

/** Writes a process.json into a box's directory; returns its name. */
async function processFile(box: Box, process: Config): Promise<string> {
  await Deno.writeTextFile(`${box.directory}/process.json`, JSON.stringify(process));
  return "process.json";
}

/** What exec prints. */
const output = async (box: Box, ...args: string[]) => (await box.ok(["exec", ...args])).stdout;

test("exec with flags makes the same process as runc's", RUNC, async () => {
  await using box = await sleeping((config) => {
    config.process.user = { uid: 0, gid: 0, additionalGids: [7] };
    config.process.oomScoreAdj = 44;
  });
  const twin = await runcTwin(box);
  const flags: string[][] = [
    [],
    ["--user", "1000"],
    ["--user", "1000:1001", "-g", "100", "-g", "65534"],
    ["--cwd", "/tmp", "--env", "A=1", "--env", "B=2", "--env", "A=3"],
    ["--cap", "CAP_NET_RAW", "--cap", "CAP_SYS_NICE"],
    ["--no-new-privs=false"],
    ["--cap", "CAP_KILL", "--user", "1000"],
  ];
  for (const list of flags) {
    const exec = (id: string) => ["exec", ...list, id, "sh", "-c", PROBE];
    const ours = await box.runk(exec(box.id));
    assert.deepEqual(ours, await box.other("runc", exec(twin)), list.join(" "));
    assert.match(ours.stdout, /^CapBnd:/m);
  }
});

test("a process of a file takes from the container what it leaves out, as with runc", RUNC, async () => {
  await using box = await sleeping((config) => {
    config.process.oomScoreAdj = 44;
    config.process.capabilities.inheritable = ["CAP_KILL"];
    config.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 500, hard: 500 }];
  });
  const twin = await runcTwin(box);
  const args = ["sh", "-c", PROBE];
  const env = ["PATH=/bin"];
  const files: Config[] = [
    { cwd: "/", args, env },
    { cwd: "/tmp", args, env, noNewPrivileges: true, user: { uid: 1000, gid: 5, additionalGids: [9] } },
    { cwd: "/", args, env, capabilities: {}, rlimits: [{ type: "RLIMIT_CORE", soft: 7, hard: 9 }] },
    { cwd: "/", args, env, capabilities: { bounding: ["CAP_CHOWN"], permitted: ["CAP_CHOWN"] } },
  ];
  for (const file of files) {
    const name = await processFile(box, file);
    const exec = (id: string) => ["exec", "--process", name, id];
    assert.deepEqual(await box.runk(exec(box.id)), await box.other("runc", exec(twin)), JSON.stringify(file));
  }
});

test("a process of a file needs no bundle, and a changed one gives it nothing", ROOT, async () => {
  await using box = await sleeping();
  const process = { cwd: "/", args: ["grep", "CapBnd", "/proc/self/status"], env: ["PATH=/bin"] };
  const file = await processFile(box, process);
  const bounding = await output(box, "--process", file, box.id);
  await box.write((config) => {
    config.process.capabilities = { bounding: ["CAP_SYS_ADMIN"], permitted: ["CAP_SYS_ADMIN"] };
    config.linux.namespaces = [{ type: "mount" }];
  });
  assert.equal(await output(box, "--process", file, box.id), bounding);
  await Deno.remove(`${box.directory}/config.json`);
  assert.equal(await output(box, "--process", file, box.id), bounding);
  const withoutFile = await box.runk(["exec", box.id, "true"]);
  assert.equal(withoutFile.status, FAILURE);
  assert.match(withoutFile.stderr, /exec failed: JSON specification file config\.json not found/);
});

test("a process in a container of runc's gets its filter, whatever became of the bundle", RUNC, async () => {
  await using box = await Box.create({
    script: "sleep 1000",
    config: (config) => {
      const value = "@all ones";
      config.linux.seccomp = {
        defaultAction: "SCMP_ACT_ALLOW",
        architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
        syscalls: [
          { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 7 },
          {
            names: ["lseek"],
            action: "SCMP_ACT_ERRNO",
            args: [{ index: 1, value, valueTwo: 5, op: "SCMP_CMP_MASKED_EQ" }],
          },
        ],
      };
    },
  });
  // Beyond what a number holds exactly.
  const config = await Deno.readTextFile(`${box.directory}/config.json`);
  await Deno.writeTextFile(`${box.directory}/config.json`, config.replace('"@all ones"', "18446744073709551615"));
  const twin = await runcTwin(box);
  await Deno.remove(`${box.directory}/config.json`);
  const file = await processFile(box, { cwd: "/", args: ["mkdir", "/tmp/x"], env: ["PATH=/bin"] });
  const { status, stderr } = await box.runk(["--root", `${box.directory}/other-state`, "exec", "-p", file, twin]);
  assert.equal(status, 1);
  assert.match(stderr, /Argument list too long/);
});

test(
  "umask, scheduler, priorities, memory policy, execution domain and OOM score are the container's, unless given",
  ROOT,
  async () => {
    await using box = await sleeping((config) => {
      config.process.scheduler = { policy: "SCHED_BATCH", nice: 3 };
      config.process.ioPriority = { class: "IOPRIO_CLASS_BE", priority: 6 };
      config.process.oomScoreAdj = 55;
      config.process.user.umask = 0o37;
      config.linux.personality = { domain: "LINUX32" };
      config.linux.memoryPolicy = { mode: "MPOL_INTERLEAVE", nodes: "0", flags: ["MPOL_F_STATIC_NODES"] };
    });
    const script =
      "umask; cut -d' ' -f19,41 /proc/$$/stat; busybox ionice -p $$; cat /proc/$$/oom_score_adj /proc/$$/personality; " +
      "head -n1 /proc/$$/numa_maps | cut -d' ' -f2";
    const numa = exists("/proc/self/numa_maps");
    const rest = numa ? "interleave=static:0\n" : "";
    const inherited = `0037\n3 3\nbest-effort: prio 6\n55\n00000008\n${rest}`;
    assert.equal(await output(box, box.id, "sh", "-c", script), inherited);
    const process = { cwd: "/", args: ["sh", "-c", script], env: ["PATH=/bin"] };
    assert.equal(await output(box, "-p", await processFile(box, process), box.id), inherited);
    const own = {
      ...process,
      scheduler: { policy: "SCHED_OTHER", nice: 9 },
      ioPriority: { class: "IOPRIO_CLASS_IDLE", priority: 0 },
      oomScoreAdj: 500,
      user: { umask: 0o7 },
    };
    assert.equal(
      await output(box, "-p", await processFile(box, own), box.id),
      `0007\n9 0\nidle\n500\n00000008\n${rest}`,
    );
  },
);

// On v2 the kernel itself gives whoever enters a cgroup its CPUs.
test(
  "exec runs on the CPUs that execCPUAffinity names, on all without it",
  ["root", "cgroup1", "command:taskset"],
  async () => {
    const cpus = navigator.hardwareConcurrency;
    if (cpus < 2) return console.log("not tested: CPU affinity, because there is one CPU");
    await using box = await sleeping((config) => (config.process.execCPUAffinity = { initial: "0", final: "1" }));
    const process = { cwd: "/", args: ["grep", "Cpus_allowed_list", "/proc/self/status"], env: ["PATH=/bin"] };
    const allowed = async (affinity?: Config) => {
      const file = await processFile(box, affinity === undefined ? process : { ...process, execCPUAffinity: affinity });
      return (await output(box, "-p", file, box.id)).split("\t")[1]!.trim();
    };
    assert.equal((await output(box, box.id, ...process.args)).split("\t")[1], "1\n");
    assert.equal(await allowed(), "1");
    assert.equal(await allowed({ final: "0" }), "0");
    assert.equal(await allowed({ initial: "1" }), "1");
    await box.ok(["delete", "--force", box.id]);
    await box.write((config) => (config.process.args = ["sleep", "1000"]) && (config.process.terminal = false));
    await box.ok(["run", "--detach", box.id]);
    const status = await Deno.readTextFile("/proc/self/status");
    const args = ["--root", box.root, "exec", box.id, ...process.args];
    const bound = await run("taskset", ["-c", "0", RUNK, ...args]);
    assert.equal(bound.stdout.trim().split("\t")[1], /^Cpus_allowed_list:\t(.*)$/m.exec(status)![1]);
  },
);

test("on v1 --cgroup puts the process into sub-cgroups of the container's, and nowhere else", V1, async () => {
  await using box = await sleeping((config) => (config.linux.cgroupsPath = `/runk-test-${Deno.pid}-sub-${newId()}`));
  const path = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`)).config.cgroups.path;
  const own = async (...flags: string[]) => {
    const lines = (await output(box, ...flags, box.id, "cat", "/proc/self/cgroup")).trim().split("\n");
    return new Map(lines.map((line) => line.split(":").slice(1) as [string, string]));
  };
  assert.equal((await own()).get("cpu"), path);
  assert.equal((await own("--cgroup", "/")).get("pids"), path);
  Deno.mkdirSync(`/sys/fs/cgroup/cpu${path}/below`);
  const some = await own("--cgroup", "cpu:below");
  assert.deepEqual([some.get("cpu"), some.get("pids")], [`${path}/below`, path]);
  for (const controller of ["memory", "pids"]) {
    const state = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`));
    Deno.mkdirSync(`${state.cgroup_paths[controller]}/two`);
  }
  const two = await own("--cgroup", "memory,pids:two", "--cgroup", "cpu:below");
  assert.deepEqual([two.get("pids"), two.get("cpu")], [`${path}/two`, `${path}/below`]);
  const wrong: [args: string[], words: RegExp][] = [
    [["--cgroup", ".."], /bad sub cgroup path: \.\./],
    [["--cgroup", "cpu:../../x"], /bad sub cgroup path/],
    [["--cgroup", "nonexistent"], / adding pid .*no such file or directory/],
    [["--cgroup", "cpu:nonexistent"], / adding pid .*cpu.*nonexistent.*no such file or directory/],
    [["--cgroup", "whaaat:/"], /unknown controller whaaat/],
    [["--cgroup", "cpu:below", "--cgroup", "x"], /invalid --cgroup argument: x \(missing <controller>: prefix\)/],
    [["--cgroup", ",cpu:below"], /invalid --cgroup argument: ,cpu:below \(empty <controller> prefix\)/],
    [["--cgroup", "cpu:/", "--cgroup", "cpu:/"], /controller cpu specified multiple times/],
  ];
  for (const [args, words] of wrong) {
    const { status, stderr } = await box.runk(["exec", ...args, box.id, "true"]);
    assert.equal(status, FAILURE);
    assert.match(stderr, words);
  }
});

test("on v2 --cgroup takes one path below the container's cgroup", V2, async () => {
  await using box = await sleeping();
  const state = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`));
  const own: string = state.cgroup_paths[""];
  Deno.mkdirSync(`${own}/below`);
  const cgroup = (...flags: string[]) => output(box, ...flags, box.id, "cat", "/proc/self/cgroup");
  // Seen from the container's own cgroup namespace.
  assert.equal(await cgroup(), "0::/\n");
  assert.equal(await cgroup("--cgroup", "/"), "0::/\n");
  assert.equal(await cgroup("--cgroup", "below"), "0::/below\n");
  const wrong: [args: string[], words: RegExp][] = [
    [["--cgroup", ".."], /bad sub cgroup path: \.\./],
    [["--cgroup", "nonexistent"], / cgroup.*no such file or directory/],
    [["--cgroup", "memory:below"], /unknown controller memory/],
  ];
  for (const [args, words] of wrong) {
    const { status, stderr } = await box.runk(["exec", ...args, box.id, "true"]);
    assert.equal(status, FAILURE);
    assert.match(stderr, words);
  }
});

test("when the container has moved below its unified cgroup, exec follows", ROOT, async () => {
  await using box = await sleeping();
  const state = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`));
  const unified: string | undefined = state.cgroup_paths[""];
  const controllers = unified && Deno.readTextFileSync(`${unified}/cgroup.controllers`).trim().split(" ");
  if (unified === undefined || !controllers?.[0]) {
    return console.log("not tested: moved containers, because no unified hierarchy has a controller");
  }
  Deno.mkdirSync(`${unified}/moved`);
  Deno.writeTextFileSync(`${unified}/moved/cgroup.procs`, String(state.init_process_pid));
  Deno.writeTextFileSync(`${unified}/cgroup.subtree_control`, `+${controllers[0]}`);
  const cgroup = await output(box, box.id, "grep", "^0::", "/proc/self/cgroup");
  assert.match(cgroup, /\/moved\n$/);
  const asked = await box.runk(["exec", "--cgroup", "/", box.id, "true"]);
  assert.equal(asked.status, FAILURE, "what was asked for is not exchanged for something else");
  assert.match(asked.stderr, / adding pid .* to cgroups.*device or resource busy/);
});

test("--preserve-fds hands descriptors over, and needs them open", ROOT, async () => {
  await using box = await sleeping();
  await Deno.writeTextFile(`${box.directory}/note`, "from outside\n");
  const shell = (script: string): Promise<Result> =>
    run("sh", ["-c", script, "sh", RUNK, "--root", box.root], { cwd: box.directory });
  const handed = await shell(`exec 3<note; "$@" exec --preserve-fds 1 ${box.id} sh -c 'cat <&3; ls /proc/self/fd'`);
  assert.equal(handed.stderr, "");
  assert.match(handed.stdout, /^from outside\n0\n1\n2\n3\n/);
  const closed = await shell(`exec 3<&- 4<&-; "$@" exec --preserve-fds=2 ${box.id} true`);
  assert.equal(closed.status, FAILURE);
  assert.match(closed.stderr, /unable to stat preserved-fd 0 \(of 2\)/);
});

test("exec in a paused container is refused, or waits with --ignore-paused", ROOT, async () => {
  await using box = await sleeping();
  await box.ok(["pause", box.id]);
  const refused = await box.runk(["exec", box.id, "true"]);
  assert.equal(refused.status, FAILURE);
  assert.match(refused.stderr, /cannot exec in a paused container \(use --ignore-paused to override\)/);
  const waiting = box.runk(["exec", "--ignore-paused", box.id, "echo", "at last"]);
  await box.ok(["resume", box.id]);
  assert.deepEqual(await waiting, { status: 0, stdout: "at last\n", stderr: "" });
});

test("exec works in a created container, and not in a stopped one", ROOT, async () => {
  await using box = await Box.create();
  await box.ok(["create", box.id]);
  assert.equal(await output(box, box.id, "echo", "early"), "early\n");
  assert.equal((await box.state()).status, "created");
  await box.ok(["kill", box.id, "KILL"]);
  await until("the container is stopped", async () => (await box.state()).status === "stopped");
  const { status, stderr } = await box.runk(["exec", box.id, "true"]);
  assert.equal(status, FAILURE);
  assert.match(stderr, /exec failed: cannot exec in a stopped container/);
});

test("--pidfd-socket receives a pidfd of the process from create, run and exec", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  using server = new UnixServer(`${box.directory}/pidfd.sock`);
  const received = () => {
    using message = server.receive();
    return [message.text, pidOf(message.fd)];
  };
  for (const command of [["create"], ["run", "--detach"]]) {
    await box.ok([...command, "--pidfd-socket", "pidfd.sock", box.id]);
    assert.deepEqual(received(), ["standard", (await box.state()).pid]);
    if (command[0] === "create") await box.ok(["delete", "--force", box.id]);
  }
  const flags = ["--detach", "--pid-file", "pid", "--pidfd-socket", "pidfd.sock"];
  await box.ok(["exec", ...flags, box.id, "sleep", "1000"]);
  const pid = Number(await Deno.readTextFile(`${box.directory}/pid`));
  assert.deepEqual(received(), ["setns", pid]);
  const nobody = await box.runk(["exec", "--pidfd-socket", "nobody.sock", box.id, "true"]);
  assert.equal(nobody.status, FAILURE);
  assert.match(nobody.stderr, /failed to dail \S*nobody\.sock: connect: no such file or directory/);
});

test("exec of a process that ends early says when memory ran out meanwhile", V1, async () => {
  await using box = await sleeping((config) => (config.linux.resources.memory = { limit: 16 * 1024 * 1024 }));
  const state = JSON.parse(await Deno.readTextFile(`${box.root}/${box.id}/state.json`));
  const { freezer, memory } = state.cgroup_paths;
  await box.ok(["pause", box.id]);
  // The process freezes on its way in. Meanwhile someone else uses all memory up, and then it is killed.
  const waiting = box.runk(["exec", "--ignore-paused", box.id, "true"]);
  const pid = await until("the process is on its way in", async () => {
    const pids = (await Deno.readTextFile(`${freezer}/cgroup.procs`)).trim().split("\n").map(Number);
    return pids.find((pid) => pid !== state.init_process_pid);
  });
  const hungry = await run("sh", ["-c", `echo $$ > ${memory}/cgroup.procs && exec tail /dev/zero`]);
  assert.equal(hungry.status, 137, hungry.stderr);
  Deno.kill(pid!, "SIGKILL");
  await box.ok(["resume", box.id]);
  const { status, stderr } = await waiting;
  assert.equal(status, FAILURE);
  assert.match(
    stderr,
    /unable to start container process: the container's process has ended early \(possibly OOM-killed\)/,
  );
});

test("a process in the container sees nothing of one that enters (CVE-2016-9962)", ROOT, async () => {
  // It looks at every process of its pid namespace, again and again: what it has open, where it is, what it runs.
  const spy = `while :; do for p in /proc/[0-9]*; do
      for f in $p/fd/* $p/cwd $p/root $p/exe; do l=$(readlink $f 2>/dev/null) && echo "\${p#/proc/} $f $l"; done
      cat $p/comm 2>/dev/null | grep -q INIT && echo "seen \${p#/proc/}"
    done; done > /tmp/spied 2>/dev/null & echo $! > /tmp/ready; exec sleep 1000`;
  await using box = await Box.create({ script: spy, config: (config) => (config.root.readonly = false) });
  await box.ok(["run", "--detach", box.id]);
  await until("it looks", () => exists(`${box.rootfs}/tmp/spied`));
  const spied = () => Deno.readTextFileSync(`${box.rootfs}/tmp/spied`);
  let entered = 0;
  // As long as it takes until some were seen on their way in.
  await until("it has seen processes enter", async () => {
    for (let i = 0; i < 5; i++, entered++) await box.ok(["exec", box.id, "true"]);
    return spied().match(/^seen /mg)?.length ?? 0;
  });
  const foreign = spied().split("\n").filter((line) => !line.startsWith("seen ") && line !== "")
    .filter((line) =>
      !/ (\/|\/bin\/busybox|\/tmp\/\S*|\/dev\/null|\/proc\/\S*|(pipe|socket):\S*)( \(deleted\))?$/.test(line)
    );
  assert.deepEqual(foreign, [], `after ${entered} processes`);
});

test("wrong files, flags and users are refused with status 255 and their place", ROOT, async () => {
  await using box = await sleeping();
  const good = { cwd: "/", args: ["true"], env: ["PATH=/bin"] };
  const files: [process: Config, words: RegExp][] = [
    [{ ...good, args: [] }, /args must not be empty \[process\.json \/args\]/],
    [{ ...good, args: undefined }, /args must not be empty/],
    [{ ...good, args: 5 }, /\/args: expected array, got number 5/],
    [{ ...good, env: "A=1" }, /\/env: expected array/],
    [{ ...good, cwd: "" }, /Cwd property must not be empty/],
    [{ ...good, cwd: "tmp" }, /Cwd must be an absolute path \[process\.json \/cwd\]/],
    [{ ...good, user: { uid: -1 } }, /\/user\/uid: expected integer/],
    [{ ...good, scheduler: { policy: "SCHED_NO" } }, /invalid scheduler policy.*\[process\.json \/scheduler\/policy\]/],
    [{ ...good, ioPriority: { class: "x", priority: 1 } }, /\[process\.json \/ioPriority\/class\]/],
    [{ ...good, execCPUAffinity: { final: "-" } }, /\[process\.json \/execCPUAffinity\/final\]/],
    [{ ...good, rlimits: [{ type: "RLIMIT_NONE", soft: 1, hard: 1 }] }, /wrong rlimit value: RLIMIT_NONE/],
    [{ ...good, terminal: true }, /cannot allocate tty if runc will detach without setting console socket/],
  ];
  if (!exists("/sys/fs/selinux/enforce")) files.push([{ ...good, selinuxLabel: "a:b:c" }, /selinux is disabled/]);
  if (!exists("/proc/self/attr/apparmor")) {
    files.push([{ ...good, apparmorProfile: "x" }, /this kernel has no AppArmor/]);
  }
  for (const [process, words] of files) {
    const { status, stderr } = await box.runk(["exec", "-d", "-p", await processFile(box, process), box.id]);
    assert.equal(status, FAILURE);
    assert.match(stderr, words);
  }
  const flags: [args: string[], words: RegExp][] = [
    [["-p", "nosuch.json", box.id], /cannot read nosuch\.json: no such file or directory/],
    [[box.id], /exec failed: exec args cannot be empty/],
    [["--user", "root", box.id, "true"], /bad uid: /],
    [["--user", "0:x", box.id, "true"], /bad gid: /],
    [["--additional-gids=-1", box.id, "true"], /additional-gids must be a positive number -1/],
    [["--console-socket", "x", box.id, "true"], /cannot use console socket if runc will not detach or allocate tty/],
    [[box.id, "nosuch"], /exec: \\"nosuch\\": executable file not found in \$PATH/],
    [["nobody", "true"], /exec failed: container does not exist/],
  ];
  for (const [args, words] of flags) {
    const { status, stderr } = await box.runk(["exec", ...args]);
    assert.equal(status, FAILURE);
    assert.match(stderr, words);
  }
});

test("a process may be described through a pipe", ROOT, async () => {
  await using box = await sleeping();
  const process = JSON.stringify({ args: ["echo", "from a pipe"], cwd: "/", env: ["PATH=/bin"] });
  const script = `cat process.json | ${RUNK} --root ${box.root} exec --process /dev/stdin ${box.id}`;
  await Deno.writeTextFile(`${box.directory}/process.json`, process);
  const { status, stdout, stderr } = await run("sh", ["-c", script], { cwd: box.directory });
  assert.deepEqual({ status, stdout }, { status: 0, stdout: "from a pipe\n" }, stderr);
  const endless = await box.runk(["exec", "--process", "/dev/zero", box.id]);
  assert.equal(endless.status, FAILURE);
  assert.match(endless.stderr, /\/dev\/zero has no end/);
});
