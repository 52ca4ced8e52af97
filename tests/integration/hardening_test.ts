/**
 * Ways out of containers that runtimes have had. Each test fails when the defence that it names is taken out of the
 * sources (tried, one by one).
 */
import assert from "node:assert/strict";
import { Box, type Config, RUNK } from "../support/box.ts";
import { run } from "../support/runk.ts";
import { test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const ALL_SETS = ["bounding", "effective", "permitted"];

async function sh(script: string, cwd = "/") {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-c", script], cwd }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}
const quote = (words: readonly string[]) => words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
const withVolume = (c: Config, { directory }: Box, destination = "/vol") => {
  c.root.readonly = false;
  c.mounts.push({ destination, source: `${directory}/vol`, type: "none", options: ["bind", "rw"] });
};

test(
  "the waiting process's executable is a sealed file in memory, nothing of the host (CVE-2019-5736)",
  ROOT,
  async () => {
    await using box = await Box.create();
    await box.ok(["create", box.id]);
    const { pid } = await box.state();
    assert.match(await Deno.readLink(`/proc/${pid}/exe`), /^\/memfd:runk-init/);
    // A file that is executed cannot be written for another reason: it must hold when nobody executes it any more.
    const { stdout } = await sh(
      `exec 3</proc/${pid}/exe; ${RUNK} --root ${box.root} delete -f ${box.id}; echo x > /proc/self/fd/3 2>/dev/null || echo sealed`,
    );
    assert.equal(stdout, "sealed\n");
  },
);

test("a program that is /proc/self/exe gets nothing of the host's to run (CVE-2019-5736)", ROOT, async () => {
  await using box = await Box.create();
  await Deno.symlink("/proc/self/exe", `${box.rootfs}/evil`);
  await Deno.writeTextFile(`${box.rootfs}/script`, "#!/proc/self/exe\n", { mode: 0o755 });
  const before = await Deno.stat(RUNK);
  for (const program of ["/evil", "/script"]) {
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = [program];
    });
    const result = await box.runk(["run", box.id]);
    assert.notEqual(result.status, 0);
    assert.equal(result.stdout, "");
  }
  const after = await Deno.stat(RUNK);
  assert.deepEqual([after.mtime, after.size], [before.mtime, before.size]);
});

test(
  "a program has no descriptors but its standard ones, whatever runk was started with (CVE-2024-21626)",
  ROOT,
  async () => {
    await using box = await Box.create({ script: "ls /proc/self/fd | tr '\\n' ' '" });
    const command = quote([RUNK, "--root", box.root, "run", box.id]);
    const { stdout } = await sh(`exec 7</etc/passwd 9</; exec ${command}`, box.directory);
    // 3 is ls's own.
    assert.equal(stdout, "0 1 2 3 ");
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sleep", "100"];
    });
    await box.ok(["run", "-d", box.id]);
    const exec = quote([RUNK, "--root", box.root, "exec", box.id, "ls", "/proc/self/fd"]);
    const inside = await sh(`exec 7</etc/passwd 9</; exec ${exec}`, box.directory);
    assert.equal(inside.stdout, "0\n1\n2\n3\n", inside.stderr);
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
    c.process.args = ["sleep", "100"];
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

test(
  "/proc and /sys that are symlinks of the image are not mounted on (CVE-2019-19921, CVE-2023-27561)",
  ROOT,
  async () => {
    for (const [name, type] of [["proc", "proc"], ["sys", "sysfs"]]) {
      await using box = await Box.create({ script: "true" });
      await Deno.mkdir(`${box.rootfs}/fake`);
      await Deno.remove(`${box.rootfs}/${name}`);
      await Deno.symlink("/fake", `${box.rootfs}/${name}`);
      const { status, stderr } = await box.runk(["run", box.id]);
      assert.equal(status, 1);
      assert.match(
        stderr,
        new RegExp(`error mounting \\\\"${type}\\\\" to rootfs at \\\\"/${name}\\\\".*\\[config.json`),
      );
    }
  },
);

test("nothing is mounted on files of procfs, by any name (CVE-2019-19921)", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  await Deno.symlink("/proc/self", `${box.rootfs}/innocent`);
  for (const destination of ["/proc/self/attr", "/innocent/attr", "/proc/../proc/sys", "/proc/self/environ"]) {
    await box.write((c) => {
      c.process.terminal = false;
      c.mounts.push({ destination, source: "/tmp", type: "none", options: ["bind"] });
    });
    const { status, stderr } = await box.runk(["run", box.id]);
    assert.equal(status, 1, destination);
    assert.match(stderr, /cannot be mounted because it is inside \/proc/, destination);
  }
});

test(
  "what masks a file is the null device itself, not what the container calls so (CVE-2025-31133)",
  ROOT,
  async () => {
    const fakes = {
      "a symlink": "ln -s /etc/passwd null",
      "a file": "echo secret > null",
      "another device": "mknod -m 666 null c 1 5",
      "a directory": "mkdir null",
      "a symlink to procfs": "ln -s /proc/sys/kernel/core_pattern null",
    };
    for (const [name, fake] of Object.entries(fakes)) {
      await using box = await Box.create({ script: "true" });
      await sh(`mkdir vol && cd vol && mkdir pts shm mqueue && ${fake}`, box.directory);
      await box.write((c) => {
        c.process.terminal = false;
        c.process.args = ["/bin/true"];
        c.mounts = c.mounts.filter(({ destination }: Config) => destination !== "/dev");
        c.mounts.splice(1, 0, { destination: "/dev", source: `${box.directory}/vol`, type: "none", options: ["bind"] });
      });
      const { status, stderr } = await box.runk(["run", box.id]);
      assert.equal(status, 1, name);
      assert.match(stderr, /the container's \/dev\/null is not the null device/, name);
    }
  },
);

test("the terminal goes onto /dev/console itself, not where it leads to (CVE-2025-52565)", ROOT, async () => {
  await using box = await Box.create();
  await sh("mkdir vol && cd vol && mkdir pts && ln -s /target console && mknod -m 666 null c 1 3", box.directory);
  await Deno.writeTextFile(`${box.rootfs}/target`, "not a terminal\n");
  await box.write((c, script = "grep -c target /proc/self/mountinfo; cat /target; sleep 100") => {
    c.process.args = ["sh", "-c", script];
    c.mounts = c.mounts.filter(({ destination }: Config) => !/^\/dev(\/shm|\/mqueue)?$/.test(destination));
    c.mounts.unshift({ destination: "/dev", source: `${box.directory}/vol`, type: "none", options: ["bind"] });
  });
  using listener = Deno.listen({ transport: "unix", path: `${box.directory}/console` });
  const accepted = listener.accept();
  await box.ok(["run", "-d", "--console-socket", "console", box.id]);
  (await accepted).close();
  const { pid } = await box.state();
  const mounts = await Deno.readTextFile(`/proc/${pid}/mountinfo`);
  assert.doesNotMatch(mounts, / \/target /);
  assert.match(mounts, / \/dev\/console .* devpts /);
  assert.equal(await Deno.readTextFile(`/proc/${pid}/root/target`), "not a terminal\n");
});

test("standard streams are not opened anew on what an image calls /dev/null", ROOT, async () => {
  const fakes = {
    "a symlink": "ln -s /etc/passwd null",
    "a file": "echo secret > null",
    "a pipe": "mkfifo null",
    "another device": "mknod -m 666 null c 1 5",
  };
  for (const [name, fake] of Object.entries(fakes)) {
    await using box = await Box.create();
    await sh(fake, `${box.rootfs}/dev`);
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sh", "-c", "stat -L -c '%F %t:%T' /proc/self/fd/0 > /out"];
      c.root.readonly = false;
      c.linux.maskedPaths = [];
      // The image's own /dev.
      c.mounts = c.mounts.filter(({ destination }: Config) => !destination.startsWith("/dev"));
    });
    await box.ok(["run", "-d", box.id]);
    await until("the container ends", async () => (await box.state()).status === "stopped");
    assert.equal(await Deno.readTextFile(`${box.rootfs}/out`), "character special file 1:3\n", name);
  }
});

test(
  "sysctls go to the kernel, not into files that the container has in its place (CVE-2025-52881)",
  ROOT,
  async () => {
    await using box = await Box.create({
      script: "cat /elsewhere/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_forward",
    });
    await sh("mkdir -p vol/sys/net/ipv4 && echo fake > vol/sys/net/ipv4/ip_forward", box.directory);
    await Deno.mkdir(`${box.rootfs}/elsewhere`);
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sh", "-c", "cat /elsewhere/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_forward"];
      c.linux.sysctl = { "net.ipv4.ip_forward": "1" };
      c.linux.maskedPaths = c.linux.readonlyPaths = [];
      // The image's own /proc, with a file of that name, and procfs somewhere else.
      c.mounts.find(({ type }: Config) => type === "proc").destination = "/elsewhere";
    });
    await sh(`cp -r vol/. rootfs/proc/`, box.directory);
    const { stdout } = await box.ok(["run", box.id]);
    assert.equal(stdout, "1\nfake\n");
  },
);

test("no name of a sysctl leads out of its namespace's directory", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  const pattern = await Deno.readTextFile("/proc/sys/kernel/core_pattern");
  for (
    const key of ["net/../kernel/core_pattern", "net.//.kernel.core_pattern", "net/./../kernel/core_pattern", "net."]
  ) {
    await box.write((c) => {
      c.process.terminal = false;
      c.linux.sysctl = { [key]: pattern.trim() };
    });
    const { status, stderr } = await box.runk(["run", box.id]);
    assert.equal(status, 1, key);
    assert.match(stderr, /\[config.json \/linux\/sysctl\//, key);
  }
});

test("sysctls of a network that is joined by path are not the host's", [...ROOT, "command:unshare"], async () => {
  await using box = await Box.create();
  const write = (path: string) =>
    box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["cat", "/proc/sys/net/ipv4/ip_default_ttl"];
      c.linux.sysctl = { "net.ipv4.ip_default_ttl": "77" };
      c.linux.namespaces.find(({ type }: Config) => type === "network").path = path;
    });
  await write("/proc/self/ns/net");
  const { status, stderr } = await box.runk(["run", box.id]);
  assert.equal(status, 1);
  assert.match(
    stderr,
    /not allowed in host network namespace.*\[config.json \/linux\/sysctl\/net.ipv4.ip_default_ttl\]/,
  );
  const holder = new Deno.Command("unshare", { args: ["--net", "sleep", "100"] }).spawn();
  try {
    const network = `/proc/${holder.pid}/ns/net`;
    await until(
      "there is another network",
      () => Deno.readLinkSync(network) !== Deno.readLinkSync("/proc/self/ns/net"),
    );
    await write(network);
    assert.equal((await box.ok(["run", box.id])).stdout, "77\n");
  } finally {
    holder.kill("SIGKILL");
    await holder.status;
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
    // Same user, same capabilities: only that the process hides itself keeps the others away.
    await using box = await Box.create();
    const watch = `while [ ! -e /stop ]; do
    for p in /proc/[0-9]*; do
      exe=$(readlink $p/exe) && case $exe in /bin/busybox|"") ;; *) echo "exe $exe" >> /seen;; esac
      ls $p/fd >/dev/null 2>&1 && for f in $p/fd/*; do l=$(readlink $f); case $l in *memfd*|*socket*|/proc*|anon*) echo "fd $l" >> /seen;; esac; done
    done; done`;
    await box.write((c) => {
      c.process.terminal = false;
      c.root.readonly = false;
      c.process.args = ["sh", "-c", watch];
    });
    await box.ok(["run", "-d", box.id]);
    for (let i = 0; i < 25; i++) await box.ok(["exec", box.id, "/bin/true"]);
    await Deno.writeTextFile(`${box.rootfs}/stop`, "");
    await until("the watcher ends", async () => (await box.state()).status === "stopped");
    const found = await Deno.readTextFile(`${box.rootfs}/seen`).catch(() => "");
    assert.equal(found, "");
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
    const { code } = await sh(
      `script -qec ${quote([command.join(" && ")])} /dev/null </dev/null >/dev/null`,
      box.directory,
    );
    assert.equal(code, 0);
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
], async () => {
  await using box = await Box.create({ script: "sleep 100" });
  const args = ["setpriv", "--pdeathsig", "KILL", RUNK, "--root", box.root, "run", "-d", box.id];
  const { status } = await run(args[0]!, args.slice(1), { cwd: box.directory });
  assert.equal(status, 0);
  assert.equal((await box.state()).status, "running");
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

test(
  "a bind mount of the host's that is shared does not take mounts of the container back to the host",
  ROOT,
  async () => {
    await using box = await Box.create();
    await sh(`mkdir vol && mount -t tmpfs none vol && mount --make-shared vol && mkdir vol/inner`, box.directory);
    try {
      await box.write((c) => {
        withVolume(c, box);
        c.process.terminal = false;
        for (const set of ALL_SETS) c.process.capabilities[set].push("CAP_SYS_ADMIN");
        c.process.args = ["sh", "-c", "mount -t tmpfs secret /vol/inner && sleep 100"];
      });
      await box.ok(["run", "-d", box.id]);
      const { pid } = await box.state();
      await until(
        "it is mounted inside",
        async () => (await Deno.readTextFile(`/proc/${pid}/mountinfo`)).includes("/vol/inner"),
      );
      assert.ok(!(await Deno.readTextFile("/proc/self/mountinfo")).includes(`${box.directory}/vol/inner`));
    } finally {
      await box.runk(["delete", "-f", box.id]);
      await sh("umount -R vol", box.directory);
    }
  },
);
