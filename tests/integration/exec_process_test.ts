/** What a process that enters a container is: what it gets from flags, a file and the container. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { FAILURE, output, processFile, runcTwin, sleeping } from "../support/exec.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const RUNC = [...ROOT, "file:/usr/sbin/runc"] as const;

const PROBE = "grep -E '^(Umask|Uid|Gid|Groups|NoNewPrivs|Cap.*):' /proc/self/status; cat /proc/self/limits; " +
  "cat /proc/self/oom_score_adj; pwd; env";

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

test("exec makes no working directory that is not there, and says so in runc's words", RUNC, async () => {
  await using box = await sleeping((config) => config.root.readonly = false);
  const twin = await runcTwin(box);
  const words = 'chdir to cwd (\\"/nosuch/x\\") set in config.json failed: ';
  const exec = (id: string) => ["exec", "--cwd", "/nosuch/x", id, "true"];
  for (const { status, stderr } of [await box.other("runc", exec(twin)), await box.runk(exec(box.id))]) {
    assert.equal(status, 255);
    assert.ok(stderr.includes(words) && stderr.includes("no such file or directory"), stderr);
  }
  assert.ok(!exists(`${box.rootfs}/nosuch`));
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
  ["root", "cgroups", "command:taskset"],
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
    [["--user", "4294967295", box.id, "true"], /uids and gids must be in range 0-4294967294/],
    [["--user", "0:4294967295", box.id, "true"], /uids and gids must be in range 0-4294967294/],
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

test("a directory is entered by the very name it has, whatever characters are in it", ROOT, async () => {
  await using box = await sleeping();
  // Plans use these for what is filled in later.
  const name = `/tmp/\u{f0000}\u{f0001}`;
  await Deno.mkdir(`${box.rootfs}${name}`);
  for (const args of [["sh", "-c", "pwd"], ["pwd"]]) {
    assert.equal((await box.ok(["exec", "--cwd", name, box.id, ...args])).stdout, `${name}\n`);
  }
});
