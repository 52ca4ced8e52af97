/**
 * Mounts, devices and restricted paths, side by side with runc: the same bundle under both, and what the container sees
 * of it (mountinfo, types, modes, owners, contents) must be equal.
 */
import assert from "node:assert/strict";
import { Box, type Config, makeRootfs } from "../support/box.ts";
import { add, bind, NEEDS, type Setting, sources, treeWithMount, withoutMode } from "../support/mounts.ts";
import { sh } from "../support/shell.ts";
import { type Need, test } from "../support/test.ts";

/** A container that shows itself. Numbers that differ from run to run (ids of mounts, devices, peer groups) are left out. */
const LOOK = [
  "cat /proc/self/mountinfo",
  "echo ==",
  "cd /dev; for f in * .; do stat -c '%n %F %a %u:%g %t:%T %N' $f; done",
].join("; ");

/** mountinfo without numbers; mounts by place, those on one place in their order. */
function normalize(text: string, config: Config): string {
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const [left, right] = line.split(" - ");
    if (right === undefined) return line;
    const [, , , root, place, options, ...peers] = left!.split(" ");
    const tags = peers.map((tag) => tag.replace(/:\d+/, "")).sort().join(" ");
    // As later runc, runk allows what masks a directory one block and one inode, and shows a mode that was there.
    const shown = withoutMode(config).includes(place!) ? right.replace(/,mode=\d+/, "") : right;
    return `${place} ${root} ${options} [${tags}] ${shown.replace(",size=4k,nr_inodes=1", "")}`;
  }).map((line, index) => ({ line, key: line.split(" ")[0]!, index })).sort((a, b) =>
    a.key < b.key ? -1 : a.key > b.key ? 1 : a.index - b.index
  ).map(({ line }) => line).join("\n");
}

interface Case extends Setting {
  /** Shell lines that show more. */
  readonly look?: string;
  readonly needs?: readonly Need[];
  /** Takes out of runc's answer where runk is right to differ; the case says why. */
  readonly change?: (rest: string) => string;
}
/** Runs a case under both runtimes, each on a new rootfs; the results of runc and runk. */
async function sideBySide({ config, setup, cleanup, look }: Case) {
  await using box = await Box.create();
  let written: Config;
  await box.write((c) => {
    written = c;
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
      results.push({ status, mounts: normalize(mounts, written), rest: rest.join("==\n"), stderr });
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
  test(
    `${name}: the container sees the same as under runc`,
    [...NEEDS, "command:runc", ...(options.needs ?? [])],
    async () => {
      const { runc, runk } = await sideBySide(options);
      assert.equal(runc.status, 0, `runc: ${runc.stderr}${runc.rest}`);
      assert.equal(runk.status, 0, `runk: ${runk.stderr}${runk.rest}`);
      assertSameLines(runk.mounts, runc.mounts);
      assertSameLines(runk.rest, options.change?.(runc.rest) ?? runc.rest);
    },
  );
}

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
same("mounts of every kind beyond dangling symlinks: chains of them, in the middle of a path, out of the root", {
  setup: async (box) => {
    await sources(box);
    await sh(
      `cd ${box.rootfs}; ln -s first chain; ln -s ./second first; ln -s /tmp/third second; ln -s /not/there middle
      ln -s ../../../other climbing; ln -s /proc/../etc/../upper up; ln -s tail/ slash`,
    );
  },
  config: (c, { directory }) => {
    c.root.readonly = false;
    const tmpfs = (destination: string) => ({ destination, type: "tmpfs", source: "tmpfs", options: ["mode=755"] });
    add(
      bind(`${directory}/tree`, "/chain"),
      tmpfs("/middle/sub/tmp"),
      bind(`${directory}/file`, "/middle/file"),
      tmpfs("/climbing/made"),
      bind(`${directory}/file`, "/up"),
      tmpfs("/slash"),
    )(c);
  },
  look:
    "cd /; stat -c '%n %F %a %u:%g %s' * tmp/* not not/* not/there/* not/there/sub/* other/* | grep -v proc; cat /up",
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
