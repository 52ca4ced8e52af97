/**
 * Ways out of containers through a process: its executable, descriptors, working directory, privileges. Each test fails
 * when the defence that it names is taken out of the sources (tried, one by one).
 */
import assert from "node:assert/strict";
import { Box, type Config, RUNK } from "../support/box.ts";
import { run } from "../support/runk.ts";
import { quote, sh } from "../support/shell.ts";
import { lookIntoMemory, lookThroughRoots } from "../support/spy.ts";
import { exists, test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const ALL_SETS = ["bounding", "effective", "permitted"];

test(
  "the waiting process's executable is a sealed file in memory, nothing of the host (CVE-2019-5736)",
  ROOT,
  async () => {
    await using box = await Box.create();
    await box.ok(["create", box.id]);
    const { pid } = await box.state();
    assert.match(await Deno.readLink(`/proc/${pid}/exe`), /^\/memfd:runk-init/);
    // A file that is executed cannot be written for another reason: it must hold when nobody executes it any more.
    const stdout = await sh(
      `exec 3</proc/${pid}/exe; ${RUNK} --root ${box.root} delete -f ${box.id}; echo x > /proc/self/fd/3 2>/dev/null || echo sealed`,
    );
    assert.equal(stdout, "sealed\n");
  },
);

test("a program that is /proc/self/exe is nothing that can be run (CVE-2019-5736)", ROOT, async () => {
  await using box = await Box.create();
  await Deno.symlink("/proc/self/exe", `${box.rootfs}/evil`);
  await Deno.writeTextFile(`${box.rootfs}/script`, "#!/proc/self/exe\n", { mode: 0o755 });
  const write = (program: string) =>
    box.write((c) => {
      c.process.terminal = false;
      c.process.args = [program, "state", "x"];
    });
  for (const program of ["/proc/self/exe", "/evil"]) {
    await write(program);
    const created = await box.runk(["create", box.id]);
    assert.equal(created.status, 1, program);
    assert.match(created.stderr, new RegExp(`exec: \\\\"${program}\\\\": permission denied`));
  }
  // What a script's first line names is looked up by the kernel alone.
  await write("/script");
  const script = await box.runk(["run", box.id]);
  assert.deepEqual(script, { status: 255, stdout: "", stderr: "exec /script: permission denied\n" });
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["sleep", "1000"];
  });
  await box.ok(["run", "-d", box.id]);
  for (const program of ["/proc/self/exe", "/evil"]) {
    const entered = await box.runk(["exec", box.id, program]);
    assert.equal(entered.status, 255);
    assert.match(entered.stderr, /permission denied/);
  }
});

test("a process that waits at the start gate holds nothing of the host's but the gate", ROOT, async () => {
  await using box = await Box.create();
  await using other = await Box.create({ script: "sleep 1000" });
  await other.ok(["run", "-d", other.id]);
  const { pid } = await other.state();
  await box.write((c) => {
    c.process.terminal = false;
    c.linux.namespaces.find(({ type }: Config) => type === "pid").path = `/proc/${pid}/ns/pid`;
    c.linux.namespaces.push({ type: "time" });
  });
  await box.ok(["create", box.id]);
  const waiting = (await box.state()).pid;
  const held = [...Deno.readDirSync(`/proc/${waiting}/fd`)].filter(({ name }) => Number(name) > 2)
    .map(({ name }) => Deno.readLinkSync(`/proc/${waiting}/fd/${name}`));
  // The container's own root and procfs.
  assert.deepEqual(held.filter((place) => place !== "/"), [`${box.root}/${box.id}/exec.fifo`]);
  await box.ok(["delete", "-f", box.id]);
});

test(
  "a program has no descriptors but its standard ones, whatever runk was started with (CVE-2024-21626)",
  ROOT,
  async () => {
    await using box = await Box.create({ script: "ls /proc/self/fd | tr '\\n' ' '" });
    const command = quote([RUNK, "--root", box.root, "run", box.id]);
    const stdout = await sh(`exec 7</etc/passwd 9</; exec ${command}`, box.directory);
    // 3 is ls's own.
    assert.equal(stdout, "0 1 2 3 ");
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sleep", "1000"];
    });
    await box.ok(["run", "-d", box.id]);
    const exec = quote([RUNK, "--root", box.root, "exec", box.id, "ls", "/proc/self/fd"]);
    const inside = await sh(`exec 7</etc/passwd 9</; exec ${exec}`, box.directory);
    assert.equal(inside, "0\n1\n2\n3\n");
  },
);

test("a working directory behind a descriptor is refused, or inside the root (CVE-2024-21626)", ROOT, async () => {
  await using box = await Box.create();
  const script = "stat -c %i /proc/self/cwd/../../../../../../../.. /";
  const inRoot = ({ status, stdout, stderr }: { status: number; stdout: string; stderr: string }, cwd: string) => {
    if (status !== 0) return assert.match(stderr, /cwd|directory|outside of container/, cwd);
    const [top, root] = stdout.trim().split("\n");
    assert.equal(top, root, cwd);
  };
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["sleep", "1000"];
  });
  await box.ok(["run", "-d", box.id]);
  for (let fd = 3; fd < 16; fd++) {
    const cwd = `/proc/self/fd/${fd}`;
    inRoot(await box.runk(["exec", "--cwd", cwd, box.id, "sh", "-c", script]), cwd);
    await box.write((c) => {
      c.process.terminal = false;
      c.process.cwd = fd % 2 ? cwd : `${cwd}/made`;
      c.process.args = ["sh", "-c", script];
    });
    inRoot(await box.runk(["run", `${box.id}-${fd}`]), cwd);
  }
});

test("no process has inheritable capabilities that were not asked for (CVE-2022-29162)", ROOT, async () => {
  await using box = await Box.create({ script: "grep CapInh /proc/self/status; sleep 100" });
  await box.ok(["run", "-d", box.id]);
  const inheritable = async (...args: string[]) =>
    (await box.ok(["exec", ...args, box.id, "grep", "CapInh", "/proc/self/status"])).stdout;
  assert.equal(await inheritable(), "CapInh:\t0000000000000000\n");
  assert.equal(await inheritable("--cap", "CAP_NET_ADMIN"), "CapInh:\t0000000000000000\n");
});

test(
  "a process that enters the container can be neither read nor traced from inside (CVE-2016-9962)",
  ROOT,
  async () => {
    // Same user, in the end the same capabilities: only that the process hides itself keeps the others away.
    await using box = await Box.create();
    await box.write((config) => {
      config.process.terminal = false;
      config.root.readonly = false;
      config.process.args = lookIntoMemory("runk-init");
    });
    await box.ok(["run", "--detach", box.id]);
    const found = `${box.rootfs}/found`;
    let entered = 0;
    // As long as it takes until some were seen on their way in.
    await until("it has seen processes enter", async () => {
      for (let i = 0; i < 5; i++, entered++) await box.ok(["exec", box.id, "true"]);
      return exists(found) && Deno.readTextFileSync(found).split("\n").length > 3;
    });
    const lines = Deno.readTextFileSync(found).trim().split("\n");
    assert.deepEqual(lines.filter((line) => !line.startsWith("seen ")), [], `after ${entered} processes`);
  },
);

test(
  "a process that enters is no way to the host's files, not even for those who may trace it (CAP_SYS_PTRACE)",
  ROOT,
  async () => {
    await using box = await Box.create();
    await Deno.writeTextFile(`${box.directory}/secret`, "of the host\n");
    await box.write((c) => {
      c.process.terminal = false;
      c.root.readonly = false;
      for (const set of ALL_SETS) c.process.capabilities[set].push("CAP_SYS_PTRACE");
      c.process.args = lookThroughRoots(`${box.directory}/secret`);
    });
    await box.ok(["run", "-d", box.id]);
    for (let i = 0; i < 20; i++) await box.ok(["exec", box.id, "true"]);
    assert.ok(!exists(`${box.rootfs}/found`), "found through a process on its way in");
  },
);

test(
  "a container has no controlling terminal of its caller's, to type into (TIOCSTI)",
  [...ROOT, "command:script"],
  async () => {
    await using box = await Box.create({
      script: "cut -d' ' -f6,7 /proc/self/stat > /out; (: < /dev/tty) 2>> /out; echo >> /out",
      config: (c) => c.root.readonly = false,
    });
    const command = [["create", box.id], ["start", box.id]].map((args) => quote([RUNK, "--root", box.root, ...args]));
    await sh(
      `script -qec ${quote([command.join(" && ")])} /dev/null </dev/null >/dev/null`,
      box.directory,
    );
    await until("the container ends", async () => (await box.state()).status === "stopped");
    const [numbers, tty] = (await Deno.readTextFile(`${box.rootfs}/out`)).split("\n");
    assert.equal(numbers, "1 0", "its own session, and no terminal");
    assert.match(tty!, /No such device or address/);
  },
);

test("supplementary groups of the caller stay outside", [...ROOT, "command:setpriv"], async () => {
  await using box = await Box.create({ script: "grep Groups /proc/self/status" });
  const args = ["setpriv", "--groups", "4242,4343", RUNK, "--root", box.root, "run", box.id];
  const { stdout } = await run(args[0]!, args.slice(1), { cwd: box.directory });
  assert.equal(stdout.trim(), "Groups:");
});

test("a container outlives the process that made it, and has no signal for a parent's death", [
  ...ROOT,
  "command:setpriv",
  "command:python3",
], async () => {
  // prctl(PR_GET_PDEATHSIG)
  const program =
    'import ctypes; n = ctypes.c_int(-1); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print("signal", n.value)';
  await using box = await Box.create({
    script: `chroot /host python3 -c '${program}'; sleep 100`,
    config: (c) => {
      c.root.readonly = false;
      c.mounts.push({ destination: "/host", source: "/", options: ["rbind", "ro"] });
      for (const set of ALL_SETS) c.process.capabilities[set].push("CAP_SYS_CHROOT");
    },
  });
  await Deno.symlink("busybox", `${box.rootfs}/bin/chroot`);
  const underSignal = async (...args: string[]) => {
    const out = `${box.directory}/out`;
    const script = `exec setpriv --pdeathsig KILL ${quote([RUNK, "--root", box.root, ...args])} >${out} 2>&1`;
    const { status } = await run("sh", ["-c", script], { cwd: box.directory });
    assert.equal(status, 0, await Deno.readTextFile(out));
    const signal = () => /^signal (.*)$/m.exec(Deno.readTextFileSync(out))?.[1];
    return await until(`${args[0]} says its signal`, signal);
  };
  assert.equal(await underSignal("run", "-d", box.id), "0");
  assert.equal((await box.state()).status, "running");
  assert.equal(await underSignal("exec", box.id, "chroot", "/host", "python3", "-c", program), "0");
});

test("exec into a container that sets traps: its /proc, its libraries, its files that never end", ROOT, async () => {
  await using box = await Box.create();
  await box.write((c) => {
    c.process.terminal = false;
    c.root.readonly = false;
    for (const set of ALL_SETS) c.process.capabilities[set].push("CAP_SYS_ADMIN", "CAP_MKNOD");
    c.process.env.push("PATH=/bin");
    c.process.args = [
      "sh",
      "-c",
      [
        "mount -t tmpfs none /proc && mkdir -p /proc/self/fd /proc/thread-self/attr && echo > /proc/thread-self/attr/exec",
        "ln -s /etc/passwd /proc/self/exe",
        "rm /etc/passwd && mkfifo /etc/passwd",
        "mkdir -p /lib64 /lib && echo trap > /lib64/ld-linux-x86-64.so.2 && echo trap > /lib/libc.so.6",
        "echo /lib/libc.so.6 > /etc/ld.so.preload",
        "rm -f /dev/null && ln -s /etc/shadow /dev/null",
        "touch /ready; sleep 100",
      ].join("\n"),
    ];
  });
  await box.ok(["run", "-d", box.id]);
  await until("the traps are set", () => Deno.stat(`${box.rootfs}/ready`).then(() => true, () => false));
  const result = await box.ok(["exec", box.id, "/bin/sh", "-c", "echo in; echo $HOME"]);
  assert.equal(result.stdout, "in\n/\n");
});

test("a hook on the host gets its own environment only, and no descriptors of runk's", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  const script =
    `env | grep -v '^_=\\|^PWD=\\|^SHLVL=' > ${box.directory}/env; ls /proc/self/fd > ${box.directory}/fds`;
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["true"];
    c.process.env.push("LD_PRELOAD=/lib/evil.so", "SECRET=of-the-container");
    c.hooks = {
      createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", script], env: ["ONLY=this", "PATH=/bin:/usr/bin"] }],
    };
  });
  await box.ok(["run", box.id], { env: { SECRET: "of-the-caller" } });
  assert.deepEqual((await Deno.readTextFile(`${box.directory}/env`)).trim().split("\n").sort(), [
    "ONLY=this",
    "PATH=/bin:/usr/bin",
  ]);
  assert.equal(await Deno.readTextFile(`${box.directory}/fds`), "0\n1\n2\n3\n");
});
