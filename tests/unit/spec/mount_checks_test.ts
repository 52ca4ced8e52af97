/** Wrong values of mounts, devices, restricted paths, sysctls and network devices: each is refused by name. */
import assert from "node:assert/strict";
import { checkSpec } from "../../../src/spec/checks.ts";
import type { Linux, Mount, Spec } from "../../../src/spec/schema.ts";
import { test } from "../../support/test.ts";

const NAMESPACES = ["mount", "pid", "network", "ipc", "uts"].map((type) => ({ type }));
const nobody = (message: string) => {
  throw new Error(`unexpected warning: ${message}`);
};

function check(change: { mount?: Mount; linux?: Partial<Linux> }, warn: (message: string) => void = nobody): void {
  const spec: Spec = {
    root: { path: "rootfs" },
    process: { cwd: "/", args: ["sh"] },
    ...(change.mount === undefined ? {} : { mounts: [change.mount] }),
    linux: { namespaces: NAMESPACES, ...change.linux },
  };
  checkSpec(spec, { noPivot: false }, warn);
}

const bind = (more: Partial<Mount>): Mount => ({ destination: "/a", source: "/b", options: ["bind"], ...more });
const range = (containerID: number, hostID: number, size: number) => ({ containerID, hostID, size });
const one = [range(0, 1, 1)];

const MOUNTS: readonly [mount: Mount, path: string, words: RegExp][] = [
  [{ destination: "/", type: "tmpfs" }, "/mounts/0/destination", /on the top of rootfs/],
  [{ destination: "/a/../..", type: "tmpfs" }, "/mounts/0/destination", /on the top of rootfs/],
  [{ destination: "/a\0b", type: "tmpfs" }, "/mounts/0/destination", /nul byte/],
  [bind({ source: "/a\0" }), "/mounts/0/source", /nul byte/],
  [{ destination: "/a", type: "tm\0pfs" }, "/mounts/0/type", /nul byte/],
  [{ destination: "/a", type: "tmpfs", options: ["ro", "x=\0"] }, "/mounts/0/options/1", /nul byte/],
  [{ destination: "/a" }, "/mounts/0/type", /needs a type, or the option bind/],
  [{ destination: "/a", options: ["bind"] }, "/mounts/0/source", /needs a source/],
  [
    bind({ options: ["bind", "size=1m", "x"] }),
    "/mounts/0/options",
    /filesystem-specific options applied: "size=1m", "x"/,
  ],
  [
    { destination: "/proc/self", type: "tmpfs" },
    "/mounts/0",
    /"\/proc\/self" cannot be mounted because it is inside \/proc/,
  ],
  [bind({ destination: "/proc/./sys//kernel" }), "/mounts/0", /inside \/proc/],
  [bind({ destination: "/x/../proc/1" }), "/mounts/0", /inside \/proc/],
  [{ destination: "/proc", type: "tmpfs" }, "/mounts/0", /not of type proc/],
  [
    { destination: "/a", type: "tmpfs", options: ["copy-symlink"] },
    "/mounts/0/options",
    /copy-symlink is for bind mounts/,
  ],
  [
    { destination: "/a", type: "tmpfs", options: ["src-nofollow"] },
    "/mounts/0/options",
    /src-nofollow is for bind mounts/,
  ],
  [{ destination: "/a", type: "tmpfs", uidMappings: one }, "/mounts/0", /only supported for bind-mounts/],
  [{ destination: "/a", type: "tmpfs", options: ["idmap"] }, "/mounts/0", /only supported for bind-mounts/],
  [bind({ uidMappings: one }), "/mounts/0/gidMappings", /both uid and gid mappings/],
  [bind({ gidMappings: one }), "/mounts/0/uidMappings", /both uid and gid mappings/],
  [bind({ options: ["bind", "ridmap"] }), "/mounts/0/uidMappings", /both uid and gid mappings/],
  [bind({ uidMappings: [range(0, 1, 0)], gidMappings: one }), "/mounts/0/uidMappings/0", /range of ids is empty/],
  [bind({ options: ["bind", "idmap=uids=0-1-1"] }), "/mounts/0/options", /both uid and gid mappings/],
  [bind({ options: ["bind", "idmap=uids=0-1-0;gids=0-1-1"] }), "/mounts/0/options", /range of ids is empty/],
  [{ destination: "/a", type: "tmpfs", options: ["idmap=uids=0-0-1"] }, "/mounts/0", /only supported for bind-mounts/],
  [bind({ uidMappings: one, gidMappings: [range(1, 2 ** 32 - 1, 2)] }), "/mounts/0/gidMappings/0", /too long/],
  [
    bind({ uidMappings: [range(0, 0, 9), range(5, 20, 1)], gidMappings: one }),
    "/mounts/0/uidMappings/1",
    /ranges 0 and 1/,
  ],
  [bind({ uidMappings: [range(0, 0, 9), range(9, 8, 1)], gidMappings: one }), "/mounts/0/uidMappings/1", /hostIDs/],
  [
    bind({ uidMappings: Array.from({ length: 341 }, (_, i) => range(i, i, 1)), gidMappings: one }),
    "/mounts/0/uidMappings",
    /341 ranges of ids: the kernel takes 340/,
  ],
];

const device = { path: "/dev/x", type: "c", major: 1, minor: 3 };
const LINUX: readonly [linux: Partial<Linux>, path: string, words: RegExp][] = [
  [{ devices: [{ ...device, type: "x" }] }, "/linux/devices/0/type", /^invalid device type "x"/],
  [{ devices: [device, { ...device, path: "dev/x" }] }, "/linux/devices/1/path", /is not absolute/],
  [{ devices: [{ ...device, path: "/dev/x\0y" }] }, "/linux/devices/0/path", /nul byte/],
  [{ devices: [{ ...device, path: "/dev/.." }] }, "/linux/devices/0/path", /is the root/],
  [{ devices: [{ ...device, uid: 0xffffffff }] }, "/linux/devices/0/uid", /^4294967295 is no id/],
  [{ devices: [{ ...device, gid: 0xffffffff }] }, "/linux/devices/0/gid", /^4294967295 is no id/],
  [{ devices: [{ ...device, major: -1 }] }, "/linux/devices/0/major", /-1 is no major number.*0 to 4095/],
  [{ devices: [{ ...device, major: 4096 }] }, "/linux/devices/0/major", /4096 is no major number/],
  [{ devices: [{ ...device, minor: 2 ** 20 }] }, "/linux/devices/0/minor", /1048576 is no minor number/],
  [{ devices: [{ ...device, minor: 2n ** 62n }] }, "/linux/devices/0/minor", /is no minor number/],
  [{ maskedPaths: ["/a", "/b\0"] }, "/linux/maskedPaths/1", /nul byte/],
  [{ readonlyPaths: ["/a\0"] }, "/linux/readonlyPaths/0", /nul byte/],
  [{ sysctl: { "": "1" } }, "/linux/sysctl/", /empty part/],
  [{ sysctl: { "net/../kernel/core_pattern": "x" } }, "/linux/sysctl/net~1..~1kernel~1core_pattern", /empty part/],
  [{ sysctl: { "net.//.kernel.core_pattern": "x" } }, "/linux/sysctl/net.~1~1.kernel.core_pattern", /empty part/],
  [{ sysctl: { "net.ipv4.": "1" } }, "/linux/sysctl/net.ipv4.", /empty part/],
  [{ sysctl: { "net.ipv4.ip_forward": "1\0" } }, "/linux/sysctl/net.ipv4.ip_forward", /nul byte/],
  [
    { sysctl: { "kernel.core_pattern": "x" } },
    "/linux/sysctl/kernel.core_pattern",
    /not in a separate kernel namespace/,
  ],
  [{ sysctl: { "kernel.hostname": "x" } }, "/linux/sysctl/kernel.hostname", /conflicts with the OCI "hostname"/],
  [
    { sysctl: { "user.max_user_namespaces": "1" } },
    "/linux/sysctl/user.max_user_namespaces",
    /without a user namespace/,
  ],
  [{ netDevices: { "": {} } }, "/linux/netDevices/", /invalid network device name ""/],
  [{ netDevices: { "a/b": {} } }, "/linux/netDevices/a~1b", /invalid network device name "a\/b"/],
  [{ netDevices: { "..": {} } }, "/linux/netDevices/..", /invalid network device name/],
  [{ netDevices: { "a-name-of-16-char": {} } }, "/linux/netDevices/a-name-of-16-char", /invalid network device name/],
  [{ netDevices: { eth0: { name: "a b" } } }, "/linux/netDevices/eth0/name", /invalid network device name "a b"/],
  [{ netDevices: { eth0: { name: "lo" } } }, "/linux/netDevices/eth0/name", /invalid network device name "lo"/],
  [
    { netDevices: { eth0: { name: "x" }, eth1: { name: "x" } } },
    "/linux/netDevices/eth1/name",
    /eth0 is to have the name "x"/,
  ],
  [
    { netDevices: { eth0: {} }, namespaces: [{ type: "mount" }] },
    "/linux/netDevices/eth0",
    /without a private NET namespace/,
  ],
  [{ rootfsPropagation: "nosuch" }, "/linux/rootfsPropagation", /rootfsPropagation=nosuch is not supported/],
];

/** Refused, with the words, and the place at the end. */
function refused(body: () => void, path: string, words: RegExp): void {
  assert.throws(body, (error: Error) => {
    assert.match(error.message, words);
    assert.ok(error.message.endsWith(` [config.json ${path}]`), error.message);
    return true;
  }, `nothing is wrong at ${path}: ${words}`);
}

test("every wrong mount is refused in words that name its place", [], () => {
  for (const [mount, path, words] of MOUNTS) refused(() => check({ mount }), path, words);
});

test("every wrong device, path, sysctl and network device is refused in words that name its place", [], () => {
  for (const [linux, path, words] of LINUX) refused(() => check({ linux }), path, words);
});

test("the ends of every range, and what merely looks odd, are taken", [], () => {
  check({ mount: bind({ destination: "/proc/uptime" }) });
  check({ mount: bind({ destination: "/proc" }) });
  check({ mount: bind({ destination: "/process/self" }) });
  check({ mount: { destination: "/proc", type: "proc" } });
  check({ mount: bind({ uidMappings: [range(0, 0, 2 ** 32 - 1)], gidMappings: [range(5, 0, 5), range(0, 5, 5)] }) });
  check({ linux: { devices: [{ ...device, major: 4095, minor: 2 ** 20 - 1, fileMode: 0o20666 }] } });
  check({ linux: { devices: [{ path: "/p", type: "p", major: -1, minor: -1 }] } });
  check({
    linux: {
      sysctl: {
        "net.ipv4.conf.eth0/1.forwarding": "1",
        "net/ipv4/conf/eth0.1/forwarding": "1",
        "fs.mqueue.msg_max": "5",
      },
    },
  });
  check({ linux: { netDevices: { "exactly-15-char": {}, eth0: { name: "eth1" }, eth1: { name: "eth0" } } } });
});

test("what means nothing is warned of", [], () => {
  const warnings = (change: Parameters<typeof check>[0]) => {
    const messages: string[] = [];
    check(change, (message) => messages.push(message));
    return messages.join("\n");
  };
  const warned = (mount: Mount) => warnings({ mount });
  assert.match(warned({ destination: "a", type: "tmpfs" }), /mount destination a is not absolute.*\/mounts\/0/);
  assert.match(warned(bind({ options: ["bind", "tmpcopyup"] })), /tmpcopyup is for tmpfs only.*\/mounts\/0\/options/);
  const rule = (access: string) => ({ resources: { devices: [{ allow: false, access }] } });
  assert.match(warnings({ linux: rule("rwa") }), /"rwa".*\/linux\/resources\/devices\/0\/access/);
  assert.equal(warnings({ linux: rule("mwr") }), "");
});
