/**
 * Mounts, devices and restricted paths, side by side with runc: the same bundle under both, and what the container sees
 * of it (mountinfo, types, modes, owners, contents) must be equal.
 */
import assert from "node:assert/strict";
import { Box, type Config, makeRootfs } from "../support/box.ts";
import { type Need, test } from "../support/test.ts";

const ROOT: readonly Need[] = ["root", "cgroups", "command:runc"];

/** A container that shows itself. Numbers that differ from run to run (ids of mounts, devices, peer groups) are left out. */
const LOOK = [
  "cat /proc/self/mountinfo",
  "echo ==",
  "cd /dev; for f in * .; do stat -c '%n %F %a %u:%g %t:%T %N' $f; done",
].join("; ");

/** mountinfo without numbers; mounts by place, those on one place in their order. */
function normalize(text: string): string {
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const [left, right] = line.split(" - ");
    if (right === undefined) return line;
    const [, , , root, place, options, ...peers] = left!.split(" ");
    const tags = peers.map((tag) => tag.replace(/:\d+/, "")).sort().join(" ");
    // runk allows what masks a directory one block and one inode, as later runc does.
    return `${place} ${root} ${options} [${tags}] ${right.replace(",size=4k,nr_inodes=1", "")}`;
  }).map((line, index) => ({ line, key: line.split(" ")[0]!, index })).sort((a, b) =>
    a.key < b.key ? -1 : a.key > b.key ? 1 : a.index - b.index
  ).map(({ line }) => line).join("\n");
}

interface Case {
  readonly config: (config: Config, box: Box) => void;
  /** Makes what the config refers to, and changes the rootfs. */
  readonly setup?: (box: Box) => void | Promise<void>;
  /** Undoes what setup did outside of the box's directory. */
  readonly cleanup?: (box: Box) => void | Promise<void>;
  /** Shell lines that show more. */
  readonly look?: string;
  readonly needs?: readonly Need[];
  /** Takes out of runc's answer where runk is right to differ; the case says why. */
  readonly change?: (rest: string) => string;
}

/** Runs a case under both runtimes, each on a new rootfs; the results of runc and runk. */
async function sideBySide({ config, setup, cleanup, look }: Case) {
  await using box = await Box.create();
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["sh", "-c", look === undefined ? LOOK : `${LOOK}; echo ==; ${look}`];
    config(c, box);
  });
  const results = [];
  for (const runtime of ["runc", "runk"]) {
    await Deno.remove(box.rootfs, { recursive: true });
    makeRootfs(box.rootfs);
    try {
      await setup?.(box);
      const args = ["run", box.id];
      const { status, stdout, stderr } = runtime === "runc" ? await box.other("runc", args) : await box.runk(args);
      const [mounts = "", ...rest] = stdout.split("==\n");
      results.push({ status, mounts: normalize(mounts), rest: rest.join("==\n"), stderr });
    } finally {
      await cleanup?.(box);
    }
  }
  return { runc: results[0]!, runk: results[1]! };
}

/** Equal texts; the error shows only the lines that differ. */
function assertSameLines(runk: string, runc: string): void {
  const [ours, theirs] = [runk.split("\n"), runc.split("\n")];
  const only = (mark: string, list: string[], other: string[]) =>
    list.filter((line) => !other.includes(line)).map((line) => `${mark} ${line}`);
  assert.ok(runk === runc, ["", ...only("runk:", ours, theirs), ...only("runc:", theirs, ours)].join("\n"));
}

/** A test that both runtimes make the same container of a config. */
function same(name: string, options: Case): void {
  test(`${name}: the container sees the same as under runc`, [...ROOT, ...(options.needs ?? [])], async () => {
    const { runc, runk } = await sideBySide(options);
    assert.equal(runc.status, 0, `runc: ${runc.stderr}${runc.rest}`);
    assert.equal(runk.status, 0, `runk: ${runk.stderr}${runk.rest}`);
    assertSameLines(runk.mounts, runc.mounts);
    assertSameLines(runk.rest, options.change?.(runc.rest) ?? runc.rest);
  });
}

const add = (...mounts: Config[]) => (c: Config) => c.mounts.push(...mounts);
const bind = (source: string, destination: string, ...options: string[]): Config => ({
  destination,
  source,
  type: "none",
  options: ["bind", ...options],
});
/** A directory and a file to mount, and a mount below the directory. */
async function sources({ directory }: Box): Promise<void> {
  await Deno.mkdir(`${directory}/tree/below`, { recursive: true });
  await Deno.writeTextFile(`${directory}/tree/file`, "in the tree\n");
  await Deno.writeTextFile(`${directory}/file`, "a file\n");
}
const sh = async (script: string) => {
  const { code, stderr } = await new Deno.Command("sh", { args: ["-ec", script] }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
};
const treeWithMount: Pick<Case, "setup" | "cleanup"> = {
  setup: async (box) => {
    await sources(box);
    await sh(`mount -t tmpfs -o mode=755 below ${box.directory}/tree/below; touch ${box.directory}/tree/below/x`);
  },
  cleanup: (box) => sh(`umount ${box.directory}/tree/below`),
};

same("the default config", { config: () => {} });
same("bind mounts of a directory and of a file, whose targets are made", {
  setup: sources,
  config: (c, { directory }) => {
    c.root.readonly = false;
    add(bind("tree", "/new/deep/dir"), bind(`${directory}/file`, "/new/file", "ro"))(c);
  },
  look: "ls -ldn /new /new/deep /new/deep/dir /new/file; cat /new/file /new/deep/dir/file",
});
for (
  const options of [
    ["ro"],
    ["rw", "nosuid", "nodev", "noexec"],
    ["noatime"],
    ["strictatime"],
    ["nodiratime", "relatime"],
    ["nosymfollow"],
    ["private"],
    ["rprivate"],
    ["slave"],
    ["rslave"],
    ["shared"],
    ["rshared"],
    ["unbindable"],
  ]
) {
  same(`a bind mount with ${options}`, {
    setup: sources,
    config: (c, { directory }) => add(bind(`${directory}/tree`, "/tmp", ...options))(c),
  });
}
for (
  const options of [
    ["ro"],
    ["rro"],
    ["rnosuid", "rnodev"],
    ["rnoexec", "ro"],
    ["rnoatime"],
    ["rstrictatime"],
    ["rprivate"],
    ["rshared", "ro"],
    ["runbindable"],
  ]
) {
  same(`a recursive bind mount with ${options}`, {
    ...treeWithMount,
    config: (c, { directory }) => add(bind(`${directory}/tree`, "/tmp", "rbind", ...options))(c),
  });
}
same("a bind mount of a shared mount of the host", {
  setup: async (box) => {
    await sources(box);
    await sh(`mount -t tmpfs -o mode=755 shared ${box.directory}/tree; mount --make-shared ${box.directory}/tree`);
  },
  cleanup: (box) => sh(`umount ${box.directory}/tree`),
  config: (c, { directory }) => add(bind(`${directory}/tree`, "/tmp"))(c),
});
same("tmpfs, devpts and mqueue with options", {
  config: (c) => {
    c.root.readonly = false;
    add(
      {
        destination: "/a",
        type: "tmpfs",
        source: "tmpfs",
        options: ["size=1m", "mode=1700", "uid=5", "gid=6", "nosuid"],
      },
      { destination: "/b", type: "tmpfs", source: "swap", options: ["ro", "noexec"] },
      { destination: "/c", type: "tmpfs", source: "tmpfs", options: ["rprivate", "nodev", "noatime"] },
      { destination: "/d", type: "mqueue", source: "mqueue", options: ["nosuid"] },
      { destination: "/e", type: "devpts", source: "devpts", options: ["newinstance", "mode=600"] },
      { destination: "/home/user", type: "tmpfs", source: "tmpfs" },
    )(c);
  },
  setup: (box) => Deno.chmod(`${box.rootfs}/home/user`, 0o751),
  look: "stat -c '%n %a %u:%g' /a /b /c /d /home/user",
});
same("tmpfs with tmpcopyup", {
  config: (c) => add({ destination: "/home", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup", "nosuid"] })(c),
  setup: async ({ rootfs }) => {
    await sh(
      `cd ${rootfs}/home; chmod 750 .; mkdir -p a/b/c; echo one > a/one; echo two > a/b/two; chmod 4711 a/one
      chown 5:6 a/b/two a/b; ln -s /etc/passwd abs; ln -s ../.. up
      for i in $(seq 300); do echo $i > a/b/c/a-file-with-a-long-name-$i; done`,
    );
  },
  look:
    "cd /home; stat -c '%n %F %a %u:%g %s %t:%T %N' . $(find * | sort | grep -v long-name); ls a/b/c | wc -l; cat a/b/c/* | sort -n | tr -d '\\n'; cat a/one a/b/two",
});
same("overlay", {
  setup: ({ directory }) => sh(`cd ${directory}; mkdir -p l1 l2 u w; echo 1 > l1/one; echo 2 > l2/two`),
  cleanup: ({ directory }) => sh(`cd ${directory}; rm -rf u w l1 l2`),
  config: (c, { directory: d }) =>
    add({
      destination: "/tmp",
      type: "overlay",
      source: "overlay",
      options: [`lowerdir=${d}/l1:${d}/l2`, `upperdir=${d}/u`, `workdir=${d}/w`, "nodev"],
    })(c),
  look: "cat /tmp/one /tmp/two; echo 3 > /tmp/three; ls /tmp",
});
same("overlay with 64 lower directories", {
  setup: ({ directory }) => sh(`cd ${directory}; for i in $(seq 64); do mkdir -p l/$i; echo $i > l/$i/$i; done`),
  cleanup: ({ directory }) => sh(`rm -rf ${directory}/l`),
  config: (c, { directory: d }) => {
    const lower = Array.from({ length: 64 }, (_, i) => `${d}/l/${i + 1}`).join(":");
    add({ destination: "/tmp", type: "overlay", source: "overlay", options: [`lowerdir=${lower}`, "ro", "nosuid"] })(c);
  },
  look: "ls /tmp | wc -l; cat /tmp/64 /tmp/1",
});
same("a file system option of more than 255 bytes", {
  config: (c) =>
    add({ destination: "/tmp", type: "tmpfs", source: "s".repeat(300), options: ["size=64k", "nosuid", "mode=755"] })(
      c,
    ),
});
for (const version of ["1", "2"] as const) {
  for (const namespace of [false, true]) {
    for (const option of ["ro", "rw"]) {
      same(`cgroup v${version} ${option} ${namespace ? "with" : "without"} a cgroup namespace`, {
        needs: [`cgroup${version}`],
        config: (c) => {
          c.linux.namespaces = c.linux.namespaces.filter(({ type }: Config) => type !== "cgroup");
          if (namespace) c.linux.namespaces.push({ type: "cgroup" });
          const options = ["nosuid", "noexec", "nodev", "relatime", option];
          c.mounts.find(({ type }: Config) => type === "cgroup").options = options;
        },
        look: "cd /sys/fs/cgroup; stat -c '%n %F %a %u:%g %N' *; cat /proc/self/cgroup",
      });
    }
  }
}
same("devices with modes and owners, below new directories too", {
  config: (c) => {
    c.linux.devices = [
      { path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o666, uid: 0, gid: 0 },
      { path: "/dev/mine", type: "c", major: 1, minor: 3, fileMode: 0o640, uid: 1000, gid: 5 },
      { path: "/dev/blk/deep", type: "b", major: 300, minor: 70000, fileMode: 0o600 },
      { path: "/dev/pipe", type: "p", fileMode: 0o622 },
      { path: "/dev/zero", type: "c", major: 1, minor: 5, fileMode: 0o444, uid: 7 },
      { path: "/dev/un", type: "u", major: 1, minor: 9 },
    ];
  },
  look: "stat -c '%n %F %a %u:%g %t:%T' /dev/blk /dev/blk/deep",
});
same("a user namespace with devices and its own network", {
  // runc makes the ipc namespace with a group that is not mapped yet.
  change: (rest) => rest.replace("mqueue directory 1777 0:65534", "mqueue directory 1777 0:0"),
  config: (c) => {
    c.linux.namespaces.push({ type: "user" });
    c.linux.uidMappings = c.linux.gidMappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
    c.linux.devices = [{ path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o666 }];
    c.mounts = c.mounts.filter(({ type }: Config) => type !== "cgroup");
  },
  setup: ({ rootfs, directory }) => sh(`chown -R 100000:100000 ${rootfs}; chmod 755 ${directory}`),
});
same("masked and read-only paths, missing ones among them", {
  config: (c) => {
    c.linux.maskedPaths = ["/proc/kcore", "/home", "/tmp", "/etc/passwd", "/link", "/not/there", "/sys/firmware"];
    c.linux.readonlyPaths = ["/proc/sys", "/tmp2", "/not/there", "/proc/irq", "/root/file"];
  },
  setup: ({ rootfs }) => sh(`cd ${rootfs}; ln -s /etc/group link; mkdir tmp2; touch root/file home/user/x`),
  look: "ls -ln /home /tmp; cat /etc/passwd /link; touch /tmp2/x || true",
});
same("bind mounts onto dangling symlinks and over symlinks of the rootfs", {
  setup: async (box) => {
    await sources(box);
    await sh(
      `cd ${box.rootfs}; ln -s /etc/real dangling; ln -s ../../../../../tmp climbing; ln -s /nowhere/at/all deep; ln -s etc dirlink`,
    );
  },
  config: (c, { directory }) => {
    c.root.readonly = false;
    add(
      bind(`${directory}/file`, "/dangling"),
      bind(`${directory}/tree`, "/climbing"),
      bind(`${directory}/tree`, "/deep"),
      bind(`${directory}/file`, "/dirlink/made/here"),
    )(c);
  },
  look:
    "cd /; stat -c '%n %F %a %u:%g %s' * etc/* nowhere nowhere/* nowhere/at/* etc/made/* | grep -v proc; cat /dangling",
});
same("a /dev of the config's own", {
  setup: ({ rootfs, directory }) => sh(`mkdir -p ${directory}/dev; mkdir ${rootfs}/dev/pts`),
  config: (c, { directory }) => {
    c.mounts = c.mounts.filter(({ destination }: Config) => !destination.startsWith("/dev/"));
    Object.assign(c.mounts.find(({ destination }: Config) => destination === "/dev"), {
      type: "bind",
      source: "/dev",
      options: ["rbind", "ro"],
    });
    void directory;
  },
});
same("no /dev mount at all", {
  config: (c) => {
    c.root.readonly = false;
    c.mounts = c.mounts.filter(({ destination }: Config) => !destination.startsWith("/dev"));
  },
});
same("remounts", {
  config: (c) => {
    add(
      { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["size=64k"] },
      { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["remount", "size=128k", "nosuid"] },
      { destination: "/sys", type: "sysfs", source: "sysfs", options: ["remount", "rw", "nosuid"] },
    )(c);
  },
});

/** Runs a script in a container of runk's alone; what it printed. */
async function seen(script: string, { config, setup, cleanup }: Omit<Case, "look">, status = 0): Promise<string> {
  await using box = await Box.create({ script });
  try {
    await setup?.(box);
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sh", "-c", script];
      config(c, box);
    });
    const result = await box.runk(["run", box.id]);
    assert.equal(result.status, status, result.stderr);
    return (status === 0 ? result.stdout : result.stderr).replaceAll(box.directory, "BOX");
  } finally {
    await cleanup?.(box);
  }
}
const NEEDS = ["root", "cgroups"] as const;
const withUserNamespace = (c: Config) => {
  c.linux.namespaces.push({ type: "user" });
  c.linux.uidMappings = c.linux.gidMappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
  c.mounts = c.mounts.filter(({ type }: Config) => type !== "cgroup");
};

test(
  "rootfsPropagation decides how the container's root propagates, and reaches all of it with an r",
  NEEDS,
  async () => {
    const propagation = async (value: string) => {
      const script = "for place in / /dev; do grep \" $place [a-z]\" /proc/self/mountinfo | sed 's/ - .*//'; done";
      const lines = (await seen(script, { config: (c) => c.linux.rootfsPropagation = value })).trim().split("\n");
      return lines.map((line) => (/shared|unbindable/.exec(line)?.[0] ?? "-")).join(" ");
    };
    assert.equal(await propagation("shared"), "shared -");
    assert.equal(await propagation("rshared"), "shared shared");
    assert.equal(await propagation("unbindable"), "unbindable -");
    assert.equal(await propagation("runbindable"), "unbindable unbindable");
  },
);

test("what restricts a mount of the host stays in a user namespace, and cannot be lifted by name", NEEDS, async () => {
  const restricted: Pick<Case, "setup" | "cleanup"> = {
    setup: async (box) => {
      await sources(box);
      await sh(`mount -t tmpfs -o mode=755,nosuid,nodev,noexec below ${box.directory}/tree/below`);
    },
    cleanup: treeWithMount.cleanup!,
  };
  const flags = (options: string[], status = 0) =>
    seen("grep ' /tmp ' /proc/self/mountinfo | cut -d' ' -f6", {
      ...restricted,
      config: (c, { directory }) => {
        withUserNamespace(c);
        add(bind(`${directory}/tree/below`, "/tmp", ...options))(c);
      },
    }, status);
  assert.equal(await flags([]), "rw,nosuid,nodev,noexec,relatime\n");
  assert.equal(await flags(["ro"]), "ro,nosuid,nodev,noexec,relatime\n");
  assert.equal(
    await flags(["noatime", "nosymfollow"], 1).then((text) => /mount_setattr.*EPERM.*\/mounts\/6/.test(text)),
    true,
  );
  assert.match(await flags(["exec"], 1), /operation not permitted.*\[config.json \/mounts\/6\]/);
});

/** A directory on a disk: before Linux 6.3 a tmpfs, which /tmp may be, has no mapping of ids. Another is mounted in it. */
async function onDisk(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "runk-test-" });
  try {
    await sh(
      `cd ${directory}; chmod 755 .; mkdir -p tree/below other; touch tree/file other/x; mount --bind other tree/below
      chown 1000:2000 tree tree/file other/x`,
    );
    await body(`${directory}/tree`);
  } finally {
    await sh(`umount ${directory}/tree/below; rm -rf ${directory}`);
  }
}

/** Owners of /tmp and what is in it, as a container sees them through an id-mapped mount of `tree`. */
const owners = (tree: string, options: string[], mapping: Config, inUserNamespace: boolean) =>
  seen("stat -c '%n %u:%g' /tmp /tmp/file /tmp/below /tmp/below/x; touch /tmp/new && stat -c %u /tmp/new", {
    config: (c) => {
      if (inUserNamespace) withUserNamespace(c);
      for (const set of ["effective", "permitted", "bounding"]) c.process.capabilities[set].push("CAP_DAC_OVERRIDE");
      const entry = bind(tree, "/tmp", ...options);
      if (mapping !== undefined) entry.uidMappings = entry.gidMappings = mapping;
      add(entry)(c);
    },
  });

test(
  "an id-mapped mount shows other owners, of one mount with idmap and of the tree with ridmap",
  NEEDS,
  () =>
    onDisk(async (tree) => {
      const mapping = [{ containerID: 0, hostID: 0, size: 1000 }, { containerID: 1000, hostID: 5000, size: 5000 }];
      const ids = async (...options: string[]) =>
        (await owners(tree, options, mapping, false)).split("\n").slice(0, 4).map((line) => line.split(" ")[1]);
      assert.deepEqual(await ids("rbind", "idmap"), ["5000:6000", "5000:6000", "0:0", "1000:2000"]);
      assert.deepEqual(await ids("rbind", "ridmap"), ["5000:6000", "5000:6000", "0:0", "5000:6000"]);
      assert.deepEqual(await ids("rbind"), ["5000:6000", "5000:6000", "0:0", "1000:2000"], "mappings alone say idmap");
    }),
);

test(
  "an id-mapped mount without mappings takes those of the container's user namespace",
  NEEDS,
  () =>
    onDisk(async (tree) => {
      const lines = (await owners(tree, ["rbind", "ridmap"], undefined, true)).trim().split("\n");
      assert.deepEqual(lines, [
        "/tmp 1000:2000",
        "/tmp/file 1000:2000",
        "/tmp/below 0:0",
        "/tmp/below/x 1000:2000",
        "0",
      ]);
      assert.equal((await Deno.stat(`${tree}/new`)).uid, 0, "root's new file is root's outside, too");
      const plain = await owners(tree, ["rbind"], undefined, true).catch((error) => String(error));
      assert.match(plain, /touch: \/tmp\/new/, "without it the directory is no one's");
    }),
);

test(
  "id-mapped mounts with the same mappings share a user namespace, and no process stays",
  NEEDS,
  () =>
    onDisk(async (tree) => {
      const text = await seen("stat -c %u /a /b /c; ls -d /proc/[0-9]*", {
        config: (c) => {
          c.root.readonly = false;
          for (const [place, size] of [["/a", 5000], ["/b", 5000], ["/c", 6000]] as const) {
            const ids = [{ containerID: 0, hostID: 100000, size }];
            add({ ...bind(tree, place), uidMappings: ids, gidMappings: ids })(c);
          }
        },
      });
      assert.deepEqual(text.trim().split("\n"), ["101000", "101000", "101000", "/proc/1"]);
    }),
);

test("a mount whose file system cannot map ids fails with the place in the config", NEEDS, async () => {
  const ids = [{ containerID: 0, hostID: 1, size: 1 }];
  const text = await seen("true", {
    config: (c) => add({ ...bind("/proc", "/tmp"), uidMappings: ids, gidMappings: ids })(c),
  }, 1);
  assert.match(text, /failed to set MOUNT_ATTR_IDMAP \(maybe the filesystem.*\[config.json \/mounts\/7\]/);
});

test(
  "sysfs in a user namespace without a network of its own is the host's, with the flags asked for",
  NEEDS,
  async () => {
    const text = await seen("grep ' /sys ' /proc/self/mountinfo; mkdir /sys/x 2>/dev/null || echo read-only", {
      config: (c) => {
        withUserNamespace(c);
        c.linux.namespaces = c.linux.namespaces.filter(({ type }: Config) => type !== "network");
      },
    });
    assert.match(text, / \/sys ro,nosuid,nodev,noexec,relatime( \S+)* - sysfs sysfs[^]*read-only/);
  },
);

test("an overlay of 200 layers, whose names fill more than a page, has all of them", NEEDS, async () => {
  const layers = Array.from({ length: 200 }, (_, i) => `layer:with,a-name-that-is-long-enough-${i}`);
  const text = await seen("cat /tmp/0 /tmp/199; ls /tmp | wc -l; echo new > /tmp/5; cat /tmp/5", {
    setup: async ({ directory }) => {
      for (const [i, name] of layers.entries()) {
        await Deno.mkdir(`${directory}/l/${name}`, { recursive: true });
        await Deno.writeTextFile(`${directory}/l/${name}/${i}`, `${i}\n`);
      }
      await sh(`cd ${directory}; mkdir u w`);
    },
    config: (c, { directory }) => {
      const lower = layers.map((name) => `${directory}/l/${name}`.replaceAll(":", "\\:").replaceAll(",", "\\,")).join(
        ":",
      );
      const options = [`lowerdir=${lower}`, `upperdir=${directory}/u`, `workdir=${directory}/w`, "nosuid"];
      add({ destination: "/tmp", type: "overlay", source: "overlay", options })(c);
    },
  });
  assert.equal(text, "0\n199\n200\nnew\n");
});

test("options of other file systems that are longer than a page are refused with their place", NEEDS, async () => {
  const text = await seen("true", {
    config: (c) => add({ destination: "/tmp", type: "tmpfs", source: "tmpfs", options: [`x=${"y".repeat(5000)}`] })(c),
  }, 1);
  assert.match(text, /5002 bytes of options: the kernel takes 4095 \[config.json \/mounts\/7\/options\]/);
});

test("tmpcopyup copies owners, modes, devices, pipes and deep directories, and follows no symlink", NEEDS, async () => {
  const text = await seen(
    "cd /home; stat -c '%n %F %a %u:%g %t:%T %N' . link null pipe set; p=; for i in $(seq 60); do p=$p/d; done; cat .$p/deep; cat big | wc -c",
    {
      setup: ({ rootfs }) =>
        sh(
          `cd ${rootfs}/home; rm -rf *; chown 7:8 .; chmod 3755 .; ln -s /etc/shadow link; mknod null c 1 3; mknod -m 600 pipe p
          touch set; chown 9:9 set; chmod 6711 set; dd if=/dev/zero of=big bs=1M count=3 2>/dev/null
          p=.; for i in $(seq 60); do p=$p/d; done; mkdir -p $p; echo deep > $p/deep`,
        ),
      config: (c) =>
        add({ destination: "/home", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup", "size=8m", "ro"] })(c),
    },
  );
  assert.deepEqual(text.split("\n"), [
    ". directory 3755 7:8 0:0 .",
    "link symbolic link 777 0:8 0:0 'link' -> '/etc/shadow'",
    "null character special file 644 0:8 1:3 null",
    "pipe fifo 600 0:8 0:0 pipe",
    "set regular empty file 6711 9:9 0:0 set",
    "deep",
    "3145728",
    "",
  ]);
});

test("tmpcopyup into a tmpfs that is too small fails with the place in the config", NEEDS, async () => {
  const text = await seen("true", {
    setup: ({ rootfs }) => sh(`dd if=/dev/zero of=${rootfs}/home/big bs=1M count=1 2>/dev/null`),
    config: (c) => add({ destination: "/home", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup", "size=64k"] })(c),
  }, 1);
  assert.match(text, /no space left on device.*\[config.json \/mounts\/7\]/);
});

test(
  "src-nofollow mounts a symlink itself, dest-nofollow mounts on one, copy-symlink makes it anew",
  NEEDS,
  async () => {
    const options = {
      setup: async (box: Box) => {
        await sources(box);
        await sh(
          `cd ${box.directory}; ln -sf /nowhere/to/go link; ln -s /etc/passwd rootfs/there; ln -s /nowhere/to/go rootfs/same`,
        );
      },
      config: (c: Config) => {
        c.root.readonly = false;
        add(
          bind("file", "/there", "dest-nofollow"),
          bind("link", "/made", "copy-symlink"),
          bind("link", "/same", "copy-symlink"),
          bind("file", "/plain", "copy-symlink"),
          bind("link", "/itself", "src-nofollow", "dest-nofollow"),
        )(c);
      },
    };
    const text = await seen(
      "cat /there; head -c 4 /etc/passwd; echo; readlink /made; readlink /same; cat /plain; readlink /itself; grep -c itself /proc/self/mountinfo",
      options,
    );
    assert.equal(text, "a file\nroot\n/nowhere/to/go\n/nowhere/to/go\na file\n/nowhere/to/go\n1\n");
    const other = await seen("true", {
      ...options,
      config: (c) => {
        c.root.readonly = false;
        add(bind("link", "/etc/passwd", "copy-symlink"))(c);
      },
    }, 1);
    assert.match(other, /something else is there already.*\[config.json \/mounts\/7\]/);
  },
);

/** What only the kernel, or the bundle's files, can refuse: where, and in which words. */
const REFUSED: readonly [name: string, config: (c: Config, box: Box) => void, path: string, words: RegExp][] = [
  [
    "an unknown file system",
    add({ destination: "/tmp", type: "nosuchfs", source: "x" }),
    "/mounts/7",
    /fsopen\(.*nosuchfs.*no such device/,
  ],
  [
    "an option that the file system does not know",
    add({ destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["nosuch=1"] }),
    "/mounts/7",
    /tmpfs: Unknown parameter 'nosuch'/,
  ],
  [
    "a value that the file system does not take",
    add({ destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["size=wide"] }),
    "/mounts/7",
    /tmpfs: Bad value for 'size'/,
  ],
  [
    "an overlay of a directory that is not there",
    add({ destination: "/tmp", type: "overlay", source: "overlay", options: ["lowerdir=/no/such/dir"] }),
    "/mounts/7",
    /error mounting .*overlay.*no such file or directory/,
  ],
  ["a source that is not there", add(bind("no-such", "/tmp")), "/mounts/7", /error mounting .*no-such.*no such file/],
  ["a destination below a file", add(bind("tree", "/etc/passwd/x")), "/mounts/7", /not a directory/],
  ["a directory on a file", add(bind("tree", "/etc/passwd")), "/mounts/7", /error mounting .*tree.*not a directory/],
  ["a file on a directory", add(bind("file", "/etc")), "/mounts/7", /error mounting .*file.*not a directory/],
  ["a destination in a loop of links", add(bind("tree", "/loop/x")), "/mounts/7", /too many levels of symbolic links/],
  [
    "a destination that is missing on a read-only mount",
    add(bind("tree", "/tmp", "ro"), bind("file", "/tmp/new")),
    "/mounts/8/destination",
    /make mountpoint .*\/tmp\/new.*read-only file system/,
  ],
  [
    "a device below a file",
    (c) => c.linux.devices = [{ path: "/etc/passwd/x", type: "c", major: 1, minor: 3 }],
    "/linux/devices/0",
    /error creating device nodes in .*\/etc\/passwd.*not a directory/,
  ],
  [
    "a masked path in a loop of links",
    (c) => c.linux.maskedPaths.push("/loop"),
    "/linux/maskedPaths/10",
    /mask path.*too many levels/,
  ],
  [
    "a read-only path in a loop of links",
    (c) => c.linux.readonlyPaths.push("/loop/x"),
    "/linux/readonlyPaths/5",
    /read-only.*too many levels/,
  ],
  [
    "a sysctl that the kernel does not have",
    (c) => c.linux.sysctl = { "net.no.such": "1" },
    "/linux/sysctl/net.no.such",
    /cannot set sysctl net.no.such=1.*no such file/,
  ],
  [
    "a value that a sysctl does not take",
    (c) => c.linux.sysctl = { "net.ipv4.ip_default_ttl": "many" },
    "/linux/sysctl/net.ipv4.ip_default_ttl",
    /cannot set sysctl.*invalid argument/,
  ],
  [
    "a host name that is too long",
    (c) => c.hostname = "h".repeat(65),
    "/hostname",
    /set the host name.*invalid argument/,
  ],
  ["a rootfs that is not there", (c) => c.root.path = "no-such", "/root/path", /no such file or directory/],
  ["a rootfs that is a file", (c) => c.root.path = "file", "/root/path", /not a directory/],
];

test(
  "what the kernel refuses of mounts, devices and paths fails with its words and the place, and leaves nothing",
  NEEDS,
  async () => {
    const failures: string[] = [];
    for (const [name, config, path, words] of REFUSED) {
      await using box = await Box.create();
      await sources(box);
      await sh(`ln -s loop ${box.rootfs}/loop`);
      await box.write((c) => {
        c.process.terminal = false;
        c.process.args = ["true"];
        c.root.readonly = false;
        config(c, box);
      });
      const { status, stderr } = await box.runk(["run", box.id]);
      if (status !== 1 || !words.test(stderr) || !stderr.includes(`[config.json ${path}]`)) {
        failures.push(
          `${name}: ${status} ${stderr}`,
        );
      }
    }
    assert.equal(failures.join("\n"), "");
  },
);
