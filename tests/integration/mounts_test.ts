/** Mounts that runc of Debian does not know, or that show only in what a container can do with them. */
import assert from "node:assert/strict";
import type { Box, Config } from "../support/box.ts";
import { add, bind, NEEDS, seen, type Setting, sources, treeWithMount, withUserNamespace } from "../support/mounts.ts";
import { sh } from "../support/shell.ts";
import { test } from "../support/test.ts";

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
  const restricted: Pick<Setting, "setup" | "cleanup"> = {
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

test(
  "flags of a bind mount are those asked for; in a user namespace those of its source that are locked stay",
  NEEDS,
  async () => {
    const flags = (user: boolean, host: string, options: string[], status = 0) =>
      seen("grep ' /tmp ' /proc/self/mountinfo | cut -d' ' -f6", {
        setup: async (box) => {
          await sources(box);
          await sh(
            `cd ${box.directory}/tree; mount -t tmpfs -o mode=755,strictatime below below
          mount -o remount,bind,${host} ${box.directory}/tree/below`,
          );
        },
        cleanup: treeWithMount.cleanup!,
        config: (c, { directory }) => {
          if (user) withUserNamespace(c);
          add(bind(`${directory}/tree/below`, "/tmp", ...options))(c);
        },
      }, status).then((text) => (status === 0 ? text.trim() : text));
    const host = "ro,noexec,nosymfollow,nodiratime";
    assert.equal(await flags(false, host, []), "ro,noexec,nodiratime,relatime,nosymfollow");
    assert.equal(await flags(false, host, ["dev"]), "rw,nodiratime,relatime");
    assert.equal(await flags(true, host, []), "ro,noexec,nodiratime,relatime,nosymfollow");
    assert.equal(await flags(true, host, ["dev"]), "ro,noexec,nodiratime,relatime", "nothing locks nosymfollow");
    assert.equal(await flags(true, "noatime", ["atime"]), "rw,noatime", "what is not asked for is not changed");
    assert.match(
      await flags(true, "ro,noatime", ["atime"], 1),
      /cannot clear locked flags: operation not permitted .*\/mounts\/6/,
    );
    assert.match(await flags(true, "ro,strictatime", ["nostrictatime"], 1), /cannot clear locked flags/);
    assert.equal(await flags(true, "ro,strictatime", ["norelatime"]), "ro");
    assert.match(await flags(true, "strictatime", ["relatime"], 1), /mount_setattr.*EPERM/);
  },
);

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

test(
  "a tmpfs has the mode of the directory that it covers, and shows it, unless an option says another",
  NEEDS,
  async () => {
    const tmpfs = (destination: string, ...options: string[]) => ({
      destination,
      type: "tmpfs",
      source: "tmpfs",
      options,
    });
    const text = await seen(
      "for d in /a /b /new/c /d; do echo $(stat -c %a $d) $(grep \" $d \" /proc/mounts | tr , '\\n' | grep -o 'mode=[0-9]*' || echo -); done",
      {
        setup: ({ rootfs }) => sh(`cd ${rootfs}; mkdir a b d; chmod 0710 a; chmod 7700 b; chmod 1777 d`),
        config: (c) => {
          for (const mount of [tmpfs("/a", "ro"), tmpfs("/b", "mode=1500"), tmpfs("/new/c"), tmpfs("/d", "nosuid")]) {
            add(mount)(c);
          }
        },
      },
    );
    // 1777 is what a tmpfs has anyway.
    assert.equal(text, "710 mode=710\n1500 mode=1500\n1777 -\n1777 -\n");
    const odd = await seen("stat -c %a /a; grep ' /a ' /proc/mounts | grep -o mode=7251", {
      setup: ({ rootfs }) => sh(`cd ${rootfs}; mkdir a; chmod 7251 a`),
      config: add(tmpfs("/a", "tmpcopyup")),
    });
    assert.equal(odd, "7251\nmode=7251\n");
  },
);

/** A tree of mounts in which later sources are what earlier mounts of the container have made. */
const inOrder = (user: boolean, idmap: boolean): Setting => ({
  setup: async ({ directory }) => {
    await sh(
      `cd ${directory}; for i in a/x b/y c/z; do mkdir -p src/$i; echo from $i > src/$i/file; done
      ln -s b src/link; chmod 700 src; mkdir -p rootfs/mnt rootfs/final`,
    );
  },
  config: (c, { directory, rootfs }) => {
    if (user) withUserNamespace(c);
    const ids = [{ containerID: 0, hostID: 100000, size: 65536 }];
    const entry = (source: string, destination: string) => ({
      ...bind(source, destination, "rbind", "rprivate"),
      ...(idmap && source.startsWith("rootfs") ? { uidMappings: ids, gidMappings: ids } : {}),
    });
    c.root.readonly = false;
    add(
      entry(`${directory}/src/a`, "/mnt"),
      entry("src/link", "/mnt/x"),
      entry(`${directory}/src/c`, "/mnt/x/y"),
      entry("rootfs/mnt/x", `${rootfs}/mnt/x/y/z`),
      entry("rootfs/mnt", `${rootfs}/final`),
    )(c);
  },
});
for (const user of [false, true]) {
  for (const idmap of [false, true]) {
    test(
      `sources that earlier mounts make are found when it is their turn${user ? ", in a user namespace" : ""}${
        idmap ? ", with ids mapped" : ""
      }`,
      NEEDS,
      async () => {
        const script = "cat /final/x/y/z/y/z/file; stat -c %u /final /final/x";
        // Root of the host is id 0, or no one's in a user namespace; the mapped mount alone is 100000's of the host.
        const [plain, mapped] = user ? ["65534", "0"] : ["0", "100000"];
        assert.equal(await seen(script, inOrder(user, idmap)), `from c/z\n${idmap ? mapped : plain}\n${plain}\n`);
      },
    );
  }
}

test("a source inside the rootfs is looked up in there: no symlink of the image leads it out", NEEDS, async () => {
  const text = await seen("cat /tmp/file", {
    setup: async (box) => {
      await sources(box);
      // Where the link leads to is there outside, and not inside.
      await sh(
        `ln -s ${box.directory}/tree ${box.rootfs}/away; ln -s /etc ${box.rootfs}/in; echo etc > ${box.rootfs}/etc/file`,
      );
    },
    config: add(bind("rootfs/in", "/tmp")),
  });
  assert.equal(text, "etc\n");
  const refused = await seen("true", {
    setup: async (box) => {
      await sources(box);
      await sh(`ln -s ${box.directory}/tree ${box.rootfs}/away`);
    },
    config: add(bind("rootfs/away", "/tmp")),
  }, 1);
  assert.match(refused, /error mounting \\"rootfs\/away\\" .*openat2\(rootfs, \\"\/away\\", .*ENOENT.*\/mounts\/7\]/);
});
