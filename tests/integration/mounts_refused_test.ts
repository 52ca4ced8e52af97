/** Mounts, devices, paths and sysctls that only the kernel, or the bundle's files, can refuse: in which words, and where. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { add, bind, NEEDS, seen, sources } from "../support/mounts.ts";
import { sh } from "../support/shell.ts";
import { test } from "../support/test.ts";

/** What is refused: the config, the place and the words. */
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

test("a mount whose file system cannot map ids fails with the place in the config", NEEDS, async () => {
  const ids = [{ containerID: 0, hostID: 1, size: 1 }];
  const text = await seen("true", {
    config: (c) => add({ ...bind("/proc", "/tmp"), uidMappings: ids, gidMappings: ids })(c),
  }, 1);
  assert.match(text, /failed to set MOUNT_ATTR_IDMAP \(maybe the filesystem.*\[config.json \/mounts\/7\]/);
});

test("options of other file systems that are longer than a page are refused with their place", NEEDS, async () => {
  const text = await seen("true", {
    config: (c) => add({ destination: "/tmp", type: "tmpfs", source: "tmpfs", options: [`x=${"y".repeat(5000)}`] })(c),
  }, 1);
  assert.match(text, /5002 bytes of options: the kernel takes 4095 \[config.json \/mounts\/7\/options\]/);
});

test("tmpcopyup into a tmpfs that is too small fails with the place in the config", NEEDS, async () => {
  const text = await seen("true", {
    setup: ({ rootfs }) => sh(`dd if=/dev/zero of=${rootfs}/home/big bs=1M count=1 2>/dev/null`),
    config: (c) => add({ destination: "/home", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup", "size=64k"] })(c),
  }, 1);
  assert.match(text, /no space left on device.*\[config.json \/mounts\/7\]/);
});
