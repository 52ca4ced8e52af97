/** What a config must satisfy beyond types: each violation is refused with runc's words or the cure, and its place. */
import assert from "node:assert/strict";
import { RunkError } from "../../../src/errors.ts";
import { checkSpec } from "../../../src/spec/checks.ts";
import type { Spec } from "../../../src/spec/schema.ts";
import { BUNDLES, bundleSpec, CLIENT_CONFIGS, clientConfig } from "../../support/plans.ts";
import { test } from "../../support/test.ts";

type Linux = NonNullable<Spec["linux"]>;
const TYPES = ["pid", "network", "ipc", "uts", "mount"];
const spaces = (...types: string[]) => types.map((type) => ({ type }));
const good: Spec = {
  root: { path: "rootfs" },
  process: { args: ["sh"], cwd: "/" },
  linux: { namespaces: spaces(...TYPES) },
};
const linux = (changes: Partial<Linux>): Partial<Spec> => ({ linux: { ...good.linux, ...changes } });
const without = (...types: string[]) => spaces(...TYPES.filter((type) => !types.includes(type)));
const mount = (change: Partial<NonNullable<Spec["mounts"]>[number]>): Partial<Spec> => ({
  mounts: [{ destination: "/x", type: "tmpfs", source: "tmpfs", ...change }],
});
const ids = [{ containerID: 0, hostID: 1000, size: 10 }];

function check(change: Partial<Spec>, noPivot = false): string[] {
  const warnings: string[] = [];
  checkSpec({ ...good, ...change } as Spec, { noPivot }, (message) => warnings.push(message));
  return warnings;
}

const WRONG: readonly [change: Partial<Spec>, path: string, words: RegExp][] = [
  [{ root: undefined as never }, "/root", /^root must be specified/],
  [{ process: undefined as never }, "/process", /^process property must not be empty/],
  [linux({ namespaces: spaces("mount", "nosuch") }), "/linux/namespaces/1", /^namespace "nosuch" does not exist/],
  [linux({ namespaces: spaces("mount", "toString") }), "/linux/namespaces/1", /^namespace "toString" does not exist/],
  [linux({ namespaces: spaces("mount", "pid", "pid") }), "/linux/namespaces/2", /duplicated ns "pid"/],
  [linux({ namespaces: spaces(...TYPES, "user") }), "/linux/uidMappings", /no namespace path to join nor mappings/],
  [
    linux({ namespaces: spaces(...TYPES, "user"), uidMappings: ids }),
    "/linux/gidMappings",
    /both uid and gid mappings/,
  ],
  [linux({ timeOffsets: { boottime: { secs: 1 } } }), "/linux/timeOffsets", /time namespace isn't enabled/],
  [
    linux({
      namespaces: [...spaces(...TYPES), { type: "time", path: "/proc/1/ns/time" }],
      timeOffsets: { boottime: {} },
    }),
    "/linux/timeOffsets",
    /you may only provide one/,
  ],
  [
    linux({ namespaces: spaces(...TYPES, "time"), timeOffsets: { realtime: { secs: 1 } } }),
    "/linux/timeOffsets/realtime",
    /monotonic or boottime is expected/,
  ],
  [linux({ namespaces: without("mount") }), "/linux/namespaces", /a mount namespace of its own/],
  [{ hostname: "x", ...linux({ namespaces: without("uts") }) }, "/hostname", /unable to set hostname without/],
  [{ domainname: "x", ...linux({ namespaces: without("uts") }) }, "/domainname", /unable to set domainname without/],
  [
    linux({ sysctl: { "net.x": "1" }, namespaces: without("network") }),
    "/linux/sysctl/net.x",
    /not allowed in host network/,
  ],
  [
    linux({ sysctl: { "kernel.sem": "1" }, namespaces: without("ipc") }),
    "/linux/sysctl/kernel.sem",
    /hosts ipc namespace/,
  ],
  [linux({ sysctl: { "kernel.hostname": "x" } }), "/linux/sysctl/kernel.hostname", /conflicts with the OCI "hostname"/],
  [linux({ sysctl: { "vm.swappiness": "1" } }), "/linux/sysctl/vm.swappiness", /not in a separate kernel namespace/],
  [linux({ sysctl: { "user.max": "1" } }), "/linux/sysctl/user.max", /without a user namespace/],
  [linux({ sysctl: { "net/../kernel/x": "1" } }), "/linux/sysctl/net~1..~1kernel~1x", /empty part in its name/],
  [linux({ maskedPaths: ["/a\0"] }), "/linux/maskedPaths/0", /nul byte/],
  [linux({ rootfsPropagation: "upwards" }), "/linux/rootfsPropagation", /rootfsPropagation=upwards is not supported/],
  [linux({ rootfsPropagation: "constructor" }), "/linux/rootfsPropagation", /is not supported/],
  [linux({ devices: [{ path: "/dev/x", type: "q" }] }), "/linux/devices/0/type", /invalid device type "q"/],
  [linux({ devices: [{ path: "dev/x", type: "c" }] }), "/linux/devices/0/path", /is not absolute/],
  [linux({ devices: [{ path: "/dev/x", type: "c", major: -1 }] }), "/linux/devices/0/major", /no major number/],
  [mount({ destination: "/" }), "/mounts/0/destination", /on the top of rootfs/],
  [mount({ destination: "/a/.." }), "/mounts/0/destination", /on the top of rootfs/],
  [mount({ source: "a\0b" }), "/mounts/0/source", /nul byte/],
  [
    mount({ type: "none", options: ["bind", "mode=700"] }),
    "/mounts/0/options",
    /bind mounts cannot have any filesystem-specific/,
  ],
  [mount({ source: "", options: ["bind"] }), "/mounts/0/source", /a bind mount needs a source/],
  [mount({ type: "" }), "/mounts/0/type", /a mount needs a type/],
  [mount({ destination: "/proc/1" }), "/mounts/0", /inside \/proc/],
  [mount({ destination: "/proc" }), "/mounts/0", /not of type proc/],
  [mount({ uidMappings: ids, gidMappings: ids }), "/mounts/0", /only supported for bind-mounts/],
  [mount({ options: ["bind"], uidMappings: ids }), "/mounts/0/gidMappings", /both uid and gid mappings/],
  [{ hooks: { prestart: [{ path: "bin/x" }] } }, "/hooks/prestart/0/path", /is not absolute/],
  [{ hooks: { poststop: [{ path: "/x", timeout: -1 }] } }, "/hooks/poststop/0/timeout", /must not be negative/],
];

test("every violation is refused, with its words and its place", [], () => {
  for (const [change, path, words] of WRONG) {
    assert.throws(() => check(change), (error) => {
      assert.ok(error instanceof RunkError, `${path}: ${error}`);
      assert.match(error.message, words);
      assert.ok(error.message.endsWith(`[config.json ${path}]`), `${path}: ${error.message}`);
      return true;
    });
  }
  assert.throws(() => check(linux({ rootfsPropagation: "private" }), true), /not safe without pivot_root/);
});

test("what is allowed but probably not meant is warned of", [], () => {
  assert.deepEqual(check({}), []);
  assert.match(check(mount({ destination: "x" }))[0]!, /is not absolute: using it as relative to \/ is deprecated/);
  assert.match(check(linux({ uidMappings: ids, gidMappings: ids }))[0]!, /user namespace isn't enabled/);
});

test("examples and what clients write pass", [], () => {
  for (const spec of [...BUNDLES.map(bundleSpec), ...CLIENT_CONFIGS.map(clientConfig)]) {
    checkSpec(spec, { noPivot: false }, () => {});
  }
});

test("sysctls of namespaces that the container has pass, written with dots or slashes", [], () => {
  const sysctl = {
    "net.ipv4.ip_forward": "1",
    "net/ipv4/conf/eth0.1/x": "1",
    "kernel.msgmax": "1",
    "fs.mqueue.x": "1",
  };
  assert.deepEqual(check(linux({ sysctl: { ...sysctl, "kernel.domainname": "x" } })), []);
});

test("members that no one knows are ignored wherever they stand", [], () => {
  const odd = { added: -1, constructor: [{}] } as Record<string, unknown>;
  const hooks = { ...odd, prestart: [{ path: "/x", ...odd }] } as NonNullable<Spec["hooks"]>;
  const process = {
    ...good.process,
    ...odd,
    capabilities: { ...odd, bounding: ["CAP_KILL"] },
    user: { ...odd, uid: 1 },
  };
  assert.deepEqual(check({ hooks, process, ...linux({ ...odd, resources: { ...odd } }) } as Partial<Spec>), []);
});
