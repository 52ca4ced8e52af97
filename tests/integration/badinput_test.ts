/** Bad input of every kind: one error that names the cause, the documented exit status, and nothing left (Box checks). */
import assert from "node:assert/strict";
import { Box, type Config, newId } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;

/** Runs create and run, which both fail with status 1 and one error line that matches; no state is left of either. */
async function refused(box: Box, message: RegExp, commands: readonly string[] = ["create", "run"]): Promise<void> {
  for (const command of commands) {
    const { status, stdout, stderr } = await box.runk([command, box.id]);
    const errors = stderr.split("\n").filter((line) => line.includes("level=error"));
    assert.equal(errors.length, 1, `${command} reports one error: ${stderr}`);
    assert.match(errors[0]!, message);
    assert.equal(status, 1);
    assert.equal(stdout, "");
    assert.ok(!exists(`${box.root}/${box.id}`), `${command} leaves no state`);
  }
}

/** A test over a table: what is wrong -> the message. All in one box, one after the other. */
function refuses(name: string, cases: Readonly<Record<string, readonly [(c: Config, box: Box) => unknown, RegExp]>>) {
  test(name, ROOT, async () => {
    await using box = await Box.create();
    for (const [what, [change, message]] of Object.entries(cases)) {
      await box.write((c) => {
        c.process.terminal = false;
        c.process.args = ["true"];
        change(c, box);
      });
      try {
        await refused(box, message, ["create"]);
      } catch (error) {
        throw new Error(`${what}: ${error instanceof Error ? error.message : error}`);
      }
    }
  });
}

test(
  "a config that is missing, a directory, empty, cut off, no JSON, no UTF-8 or not an object is named",
  ROOT,
  async () => {
    await using box = await Box.create();
    const path = `${box.directory}/config.json`;
    const good = await Deno.readTextFile(path);
    await Deno.remove(path);
    await refused(box, /JSON specification file config.json not found/);
    await Deno.mkdir(path);
    await refused(box, /config\.json is not a regular file/, ["create"]);
    await Deno.remove(path);
    for (
      const [text, message] of [
        ["", /config\.json.*JSON/],
        [good.slice(0, good.length / 2), /config\.json.*JSON/],
        ["no JSON at all", /config\.json.*JSON/],
        ["[]", /config\.json/],
        ["null", /config/],
        ["12", /config/],
        ['"text"', /config/],
        ["{}", /root|process/],
      ] as const
    ) {
      await Deno.writeTextFile(path, text);
      await refused(box, message, ["create"]);
    }
    await Deno.writeFile(path, new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]));
    await refused(box, /config\.json is not UTF-8 text/, ["create"]);
    // A named pipe would be waited at for ever.
    await Deno.remove(path);
    assert.equal((await new Deno.Command("mkfifo", { args: [path] }).output()).code, 0);
    await refused(box, /config\.json is not a regular file/, ["create"]);
  },
);

test("a config of 100 MB is refused before it is read", ROOT, async () => {
  await using box = await Box.create();
  using file = await Deno.open(`${box.directory}/config.json`, { write: true, truncate: true });
  await file.truncate(100_000_000);
  await refused(box, /config\.json has 100000000 bytes; runk reads at most/, ["create"]);
});

test("a large config works: 40,000 variables and arguments", ROOT, async () => {
  await using box = await Box.create({
    script: "echo $# $V39999",
    config: (c) => {
      for (let i = 0; i < 40_000; i++) c.process.env.push(`V${i}=${i}`);
      c.process.args.push("sh", ...Array.from({ length: 40_000 }, (_, i) => String(i)));
    },
  });
  assert.equal((await box.ok(["run", box.id])).stdout, "40000 39999\n");
});

test("deep and wide JSON neither hangs nor breaks the parser", ROOT, async () => {
  await using box = await Box.create();
  await Deno.writeTextFile(`${box.directory}/config.json`, "[".repeat(100_000));
  await refused(box, /config\.json/, ["create"]);
  await Deno.writeTextFile(
    `${box.directory}/config.json`,
    `{"process":${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}}`,
  );
  await refused(box, /config\.json|root/, ["create"]);
});

refuses("a wrong type is named with its path, however deep", {
  "a number for args": [(c) => c.process.args = 7, /\/process\/args/],
  "a number among args": [(c) => c.process.args = ["sh", 7], /\/process\/args\/1/],
  "text for a uid": [(c) => c.process.user = { uid: "root", gid: 0 }, /\/process\/user\/uid/],
  "a negative uid": [(c) => c.process.user = { uid: -1, gid: 0 }, /\/process\/user\/uid/],
  "the uid that would leave it root": [(c) => c.process.user = { uid: 0xffffffff, gid: 0 }, /\/process\/user\/uid/],
  "the gid that would leave it root's": [(c) => c.process.user = { uid: 0, gid: 0xffffffff }, /\/process\/user\/gid/],
  "a fraction for a gid": [(c) => c.process.user = { uid: 0, gid: 1.5 }, /\/process\/user\/gid/],
  "a list for root": [(c) => c.root = [], /\/root/],
  "text for mounts": [(c) => c.mounts = "none", /\/mounts/],
  "a number for a mount option": [(c) => c.mounts[0].options = [1], /\/mounts\/0\/options\/0/],
  "text for a device's major": [
    (c) => c.linux.devices = [{ path: "/dev/x", type: "c", major: "1", minor: 1 }],
    /\/linux\/devices\/0\/major/,
  ],
  "text for a limit": [(c) => c.linux.resources.memory = { limit: "1g" }, /\/linux\/resources\/memory\/limit/],
  "an object for a namespace's type": [(c) => c.linux.namespaces[0].type = {}, /\/linux\/namespaces\/0\/type/],
  "text for a hook's timeout": [
    (c) => c.hooks = { poststop: [{ path: "/bin/true", timeout: "1s" }] },
    /\/hooks\/poststop\/0\/timeout/,
  ],
  "a limit beyond 64 bits": [
    (c) => c.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 1, hard: 1e30 }],
    /\/process\/rlimits\/0\/hard/,
  ],
  "a list for the host name": [(c) => c.hostname = ["a"], /\/hostname/],
  "a number for an annotation": [(c) => c.annotations = { a: 1 }, /\/annotations\/a/],
});

refuses("every wrong type is reported at once", {
  "three of them": [
    (c) => (c.hostname = 1, c.process.cwd = 2, c.mounts[1].destination = 3),
    /(?=.*\/hostname)(?=.*\/process\/cwd)(?=.*\/mounts\/1\/destination)/,
  ],
});

refuses("a root file system that is missing, a file or a link is named", {
  missing: [(c) => c.root.path = "nowhere", /invalid rootfs: stat .*nowhere: no such file or directory/],
  "a file": [(c) => c.root.path = "config.json", /invalid rootfs: .*config\.json is not a directory/],
  "a link": [
    (c, box) => {
      Deno.symlinkSync("rootfs", `${box.directory}/link`);
      c.root.path = "link";
    },
    /invalid rootfs: not an absolute path, or a symlink/,
  ],
  "behind a link": [
    (c, box) => {
      Deno.symlinkSync(".", `${box.directory}/here`);
      c.root.path = "here/rootfs";
    },
    /invalid rootfs: not an absolute path, or a symlink/,
  ],
  "no root": [(c) => delete c.root, /root/],
});

refuses("a program that cannot be run is create's error", {
  "one that does not exist": [
    (c) => c.process.args = ["/no/such"],
    /exec: .*stat \/no\/such: no such file or directory/,
  ],
  "one that is not executable": [(c) => c.process.args = ["/etc/passwd"], /permission denied/],
  "a dangling link": [
    (c, box) => {
      Deno.symlinkSync("/gone", `${box.rootfs}/bin/dangling`);
      c.process.args = ["dangling"];
    },
    /executable file not found in \$PATH/,
  ],
  "a link to itself": [
    (c, box) => {
      Deno.symlinkSync("loop", `${box.rootfs}/bin/loop`);
      c.process.args = ["/bin/loop"];
    },
    /too many levels of symbolic links/,
  ],
  "an empty name": [(c) => c.process.args = [""], /executable file not found in \$PATH/],
});

refuses("a NUL byte in a text is refused with its place", {
  "the program": [
    (c) => c.process.args = ["a\0b"],
    /contains a nul byte \(\\\\x00\) \[config.json \/process\/args\/0\]/,
  ],
  "an argument": [(c) => c.process.args = ["sh", "a\0b"], /nul byte.*\/process\/args\/1\]/],
  "a variable": [(c) => c.process.env.push("A=\0"), /nul byte.*\/process\/env\/\d\]/],
  "the host name": [(c) => c.hostname = "a\0b", /nul byte.*\/hostname\]/],
  "the cgroups path": [(c) => c.linux.cgroupsPath = "/a\0b", /nul byte.*\/linux\/cgroupsPath\]/],
  "a hook": [(c) => c.hooks = { prestart: [{ path: "/bin/\0" }] }, /nul byte.*\/hooks\/prestart\/0\/path\]/],
  "a mount": [(c) => c.mounts[1].options.push("x=\0"), /nul byte.*\/mounts\/1\/options\/\d\]/],
  "a sysctl": [(c) => c.linux.sysctl = { "net.a\0/b": "1" }, /the name .*nul byte.*\/linux\/sysctl\]/],
});

test("a program of no format or of another machine ends the container with 255 and says so", ROOT, async () => {
  await using box = await Box.create({ config: (c) => c.process.args = ["/bin/wrong"] });
  const elf = new Uint8Array(64);
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  elf.set([2, 0, 0xf7, 0], 16);
  for (const content of [new TextEncoder().encode("no program\n"), elf]) {
    await Deno.writeFile(`${box.rootfs}/bin/wrong`, content, { mode: 0o755 });
    const { status, stderr } = await box.runk(["run", box.id]);
    assert.equal(status, 255);
    assert.match(stderr, /^exec \/bin\/wrong: exec format error\n$/);
  }
  await Deno.writeTextFile(`${box.rootfs}/bin/wrong`, "#!/no/interpreter\n", { mode: 0o755 });
  const { status, stderr } = await box.runk(["run", box.id]);
  assert.equal(status, 255);
  assert.match(stderr, /^exec \/bin\/wrong: no such file or directory\n$/);
});

test("ids that are no names are refused by every command", ROOT, async () => {
  await using box = await Box.create();
  const commands = ["create", "run", "start", "state", "kill", "delete", "exec"];
  const bad = ["..", ".", "a/b", "../up", "a b", "ä", "a\nb"];
  for (const command of commands) {
    const rest = command === "exec" ? ["true"] : [];
    for (const id of command === "create" ? bad : bad.slice(0, 3)) {
      const { status, stderr } = await box.runk([command, id, ...rest]);
      assert.match(stderr, /invalid container ID format/, `${command} ${id}`);
      assert.equal(status, command === "exec" ? 255 : 1);
    }
    const empty = await box.runk([command, "", ...rest]);
    assert.match(empty.stderr, /container id cannot be empty/, command);
  }
  assert.ok(!exists(box.root), "not even the state root is made");
  const long = await box.runk(["create", "a".repeat(1000)]);
  assert.equal(long.status, 1);
  assert.match(long.stderr, /file name too long/);
  // 255 characters are a name.
  await box.write((c) => (c.process.terminal = false, c.process.args = ["true"]));
  const longest = newId().padEnd(255, "x");
  assert.equal((await box.runk(["run", longest])).status, 0);
});

refuses("mounts that cannot be are refused with the mount's place", {
  "a missing source": [
    (c) => c.mounts.push({ destination: "/tmp", source: "/no/such/source", type: "bind", options: ["bind"] }),
    /error mounting .*\/no\/such\/source.* to rootfs at .*\/tmp.*no such file or directory.*\/mounts\/\d/,
  ],
  "an unknown file system": [
    (c) => c.mounts.push({ destination: "/tmp", source: "x", type: "nosuchfs" }),
    /error mounting .*nosuchfs.*no such device.*\/mounts\/\d/,
  ],
  "an option that a file system does not know": [
    (c) => c.mounts.push({ destination: "/tmp", source: "x", type: "tmpfs", options: ["nosuchoption=1"] }),
    /nosuchoption.*\/mounts\/\d/,
  ],
  "a directory over a file": [
    (c) => c.mounts.push({ destination: "/etc/passwd", source: "/tmp", type: "bind", options: ["bind"] }),
    /error mounting .*\/etc\/passwd.*not a directory.*\/mounts\/\d/,
  ],
  "a destination below a file": [
    (c) => c.mounts.push({ destination: "/etc/passwd/x", source: "x", type: "tmpfs" }),
    /error mounting .*\/etc\/passwd\/x.*not a directory.*\/mounts\/\d/,
  ],
  "the root itself": [
    (c) => c.mounts.push({ destination: "/.", source: "x", type: "tmpfs" }),
    /on the top of rootfs.*\/mounts\/\d/,
  ],
  "no type and no bind": [(c) => c.mounts.push({ destination: "/tmp", source: "x" }), /\/mounts\/\d/],
});

test(
  "a step over a list names the value that it failed on, with a plan made for it and with one kept",
  ROOT,
  async () => {
    await using box = await Box.create({
      config: (c) => c.linux.maskedPaths = ["/proc/kcore", "/etc/passwd/below", "/proc/keys"],
    });
    for (const _ of ["made", "kept"]) {
      const { status, stderr } = await box.runk(["create", box.id]);
      assert.equal(status, 1);
      assert.match(
        stderr,
        /can't mask path \\"\/etc\/passwd\/below\\": openat2\(cwd, \\"\/etc\/passwd\/below\\", .*\(ENOTDIR\) \[config.json \/linux\/maskedPaths\/1\]/,
      );
    }
  },
);

test(
  "what the container's own process fails at has runc's words, what the host's side fails at has not",
  ROOT,
  async () => {
    const fails: [change: (config: Config) => void, words: RegExp][] = [
      [(c) => c.process.args = ["nosuch"], /error during container init: exec: \\"nosuch\\"/],
      [
        (c) => c.mounts.push({ destination: "/tmp", source: "x", type: "nosuchfs" }),
        /error during container init: error mounting/,
      ],
      [
        (c) => c.hooks = { createRuntime: [{ path: "/bin/false" }] },
        /error during container init: error running createRuntime hook #0/,
      ],
      [
        (c) => c.hooks = { createContainer: [{ path: "/bin/false" }] },
        /error during container init: error running createContainer hook #0/,
      ],
      [(c) => c.linux.resources.cpu = { cpus: "9999" }, /container process: failed to write \\"9999\\"/],
    ];
    for (const [change, words] of fails) {
      await using box = await Box.create({ config: change });
      const { status, stderr } = await box.runk(["create", box.id]);
      assert.equal(status, 1);
      assert.match(stderr, words);
    }
  },
);

test("destinations that climb out, and links that lead out, stay inside the root file system", ROOT, async () => {
  await using box = await Box.create({
    script: "cat /etc/made /made/x /tmp/y; echo changed > /made/x",
    config: (c) => {
      c.root.readonly = false;
      const bind = (destination: string) => ({ destination, source: "data", type: "bind", options: ["bind"] });
      c.mounts.push(bind("/../../../../etc/made"));
      c.mounts.push({ ...bind("/away/x"), source: "data" });
      c.mounts.push({ ...bind("/up/tmp/y"), source: "data" });
    },
  });
  const outside = `${box.directory}/outside`;
  await Deno.mkdir(outside);
  await Deno.writeTextFile(`${box.directory}/data`, "data\n");
  await Deno.mkdir(`${box.rootfs}/made`);
  // An absolute link and one that climbs, each to where the same path exists outside.
  await Deno.symlink("/made", `${box.rootfs}/away`);
  await Deno.symlink("../../../../..", `${box.rootfs}/up`);
  assert.equal((await box.ok(["run", box.id])).stdout, "data\ndata\ndata\n");
  assert.ok(!exists("/etc/made") && !exists("/made") && !exists("/tmp/y"));
  assert.deepEqual([...Deno.readDirSync(outside)], []);
});

test(
  "a state root that is full, read-only or no directory is named, and no process or cgroup is left",
  ROOT,
  async () => {
    await using box = await Box.create({ script: "true" });
    const full = `${box.directory}/full`;
    await Deno.mkdir(full);
    const sh = async (script: string) => {
      const { code, stderr } = await new Deno.Command("sh", { args: ["-c", script] }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
    };
    await sh(
      `mount -t tmpfs -o size=16k,nr_inodes=64 tmpfs ${full} && { dd if=/dev/zero of=${full}/ballast bs=4k 2>/dev/null || :; }`,
    );
    try {
      const run = await box.runk(["--root", full, "run", box.id]);
      assert.equal(run.status, 1);
      assert.match(run.stderr, new RegExp(`${full}.*no space left on device`));
      assert.deepEqual([...Deno.readDirSync(full)].map(({ name }) => name), ["ballast"]);
      await sh(`mount -o remount,ro ${full}`);
      const readonly = await box.runk(["--root", full, "create", box.id]);
      assert.equal(readonly.status, 1);
      assert.match(readonly.stderr, /read-only file system/);
    } finally {
      await sh(`umount ${full}`);
    }
    const file = await box.runk(["--root", `${box.directory}/config.json`, "create", box.id]);
    assert.equal(file.status, 1);
    assert.match(file.stderr, /config\.json.*(not a directory|file exists)/);
  },
);

test("a pid file that cannot be written fails the create", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  for (
    const [command, path] of [["create", "/no/such/pid"], ["run", "/no/such/pid"], ["create", "/proc/pid"]] as const
  ) {
    const { status, stderr } = await box.runk([command, "--pid-file", path, box.id]);
    assert.equal(status, 1);
    assert.match(stderr, /pid file .*(no such file or directory|operation not permitted|permission denied)/);
    assert.ok(!exists(`${box.root}/${box.id}`));
  }
});

test("too few descriptors: an error or success, never something left", ROOT, async () => {
  await using box = await Box.create({ script: "echo done", config: (c) => c.process.rlimits = [] });
  let worked = 0;
  for (const limit of [24, 28, 32, 36, 40, 48, 64]) {
    const command = `ulimit -n ${limit}; exec "$@"`;
    const { status, stdout, stderr } = await run("sh", ["-c", command, "sh", RUNK, "--root", box.root, "run", box.id], {
      cwd: box.directory,
    });
    if (status === 0) worked++;
    else assert.notEqual(stderr, "", `a failure at ${limit} says something`);
    assert.equal(stdout, status === 0 ? "done\n" : "");
    assert.ok(!exists(`${box.root}/${box.id}`), `nothing is left at ${limit}`);
  }
  assert.ok(worked >= 1, "48 descriptors are enough");
});
