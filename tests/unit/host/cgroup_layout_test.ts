/** Which cgroup hierarchies a host has, from its mountinfo, and where a container's cgroups then are. */
import assert from "node:assert/strict";
import { cgroupDirectories, cgroupPaths, ownDirectory } from "../../../src/cgroup/paths.ts";
import { parseCgroupFile, parseLayout, unescape } from "../../../src/host/cgroup_layout.ts";
import { LAYOUTS } from "../../support/plans.ts";
import { test } from "../../support/test.ts";

const V2 = {
  mountinfo: "35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
  cgroup: "0::/user.slice/user-0.slice/session-1.scope\n",
};
const HYBRID = {
  mountinfo: [
    "30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755",
    "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    "32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
    "36 30 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
    "37 30 0:33 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
    "38 30 0:34 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices",
    "90 30 0:34 / /mnt/devices rw - cgroup cgroup rw,devices",
    "91 30 0:40 / /mnt/with\\040blank rw - cgroup cgroup rw,pids",
  ].join("\n"),
  cgroup: [
    "5:memory:/docker/abc/inner",
    "4:cpu,cpuacct:/system.slice",
    "3:devices:/with:colon",
    "2:pids:/",
    "1:name=systemd:/user.slice",
    "0::/user.slice",
    "",
  ].join("\n"),
};

test("a host with the unified hierarchy at the root is v2", [], () => {
  const layout = parseLayout(V2.mountinfo, V2.cgroup);
  assert.equal(layout.version, "v2");
  assert.equal(layout.root, "/sys/fs/cgroup");
  assert.deepEqual(layout.mounts, [{
    controllers: [""],
    mountpoint: "/sys/fs/cgroup",
    root: "/",
    own: "/user.slice/user-0.slice/session-1.scope",
  }]);
});

test("a hybrid host is v1: every hierarchy once, with its controllers, its root and the caller's own place", [], () => {
  const { version, root, mounts } = parseLayout(HYBRID.mountinfo, HYBRID.cgroup);
  assert.deepEqual([version, root], ["v1", "/sys/fs/cgroup"]);
  assert.deepEqual(mounts.map(({ controllers, mountpoint, own }) => [controllers.join(), mountpoint, own]), [
    ["", "/sys/fs/cgroup/unified", "/user.slice"],
    ["name=systemd", "/sys/fs/cgroup/systemd", "/user.slice"],
    ["cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/system.slice"],
    ["memory", "/sys/fs/cgroup/memory", "/docker/abc/inner"],
    ["devices", "/sys/fs/cgroup/devices", "/with:colon"],
    ["pids", "/mnt/with blank", "/"],
  ]);
  assert.equal(mounts.find(({ controllers }) => controllers[0] === "memory")!.root, "/docker/abc");
});

test("a host without cgroups has none, and garbage is none", [], () => {
  assert.deepEqual(parseLayout("", ""), { version: "none", root: "/sys/fs/cgroup", mounts: [] });
  assert.equal(parseLayout("1 2 3\n - cgroup\nnothing", "::::\nxx\n").version, "none");
});

test("/proc/PID/cgroup is read by controller", [], () => {
  const own = parseCgroupFile(HYBRID.cgroup);
  assert.equal(own.get("cpuacct"), "/system.slice");
  assert.equal(own.get(""), "/user.slice");
  assert.equal(own.get("name=systemd"), "/user.slice");
  assert.equal(own.size, 7);
});

test("mountinfo's octal escapes are undone", [], () => {
  assert.equal(unescape("/a\\040b\\011c\\012d\\134e"), "/a b\tc\nd\\e");
  assert.equal(unescape("/plain"), "/plain");
});

const paths = (layout: "v1" | "v2", cgroupsPath: string | undefined, id = "box") =>
  Object.values(cgroupPaths(cgroupDirectories(LAYOUTS[layout], cgroupsPath, id)));

test("an absolute cgroupsPath lies under every hierarchy, a relative one at the caller's place", [], () => {
  assert.deepEqual(paths("v2", "/a/b"), ["/sys/fs/cgroup/a/b"]);
  assert.deepEqual(paths("v2", "a"), ["/sys/fs/cgroup/user.slice/a"], "beside the caller's own, which has processes");
  assert.deepEqual(paths("v2", undefined), ["/sys/fs/cgroup/user.slice/box"]);
  assert.deepEqual(paths("v2", ""), ["/sys/fs/cgroup/user.slice/box"]);
  const v1 = cgroupPaths(cgroupDirectories(LAYOUTS.v1, "/a/b", "box"));
  assert.equal(v1["cpuacct"], "/sys/fs/cgroup/cpu,cpuacct/a/b");
  assert.equal(v1["name=systemd"], "/sys/fs/cgroup/systemd/a/b");
  assert.equal(v1[""], "/sys/fs/cgroup/unified/a/b");
  const { mounts } = parseLayout(HYBRID.mountinfo, HYBRID.cgroup);
  const own = (controller: string) =>
    ownDirectory(mounts.find(({ controllers }) => controllers.includes(controller))!, "v1");
  assert.equal(own("cpu"), "/sys/fs/cgroup/cpu,cpuacct/system.slice");
  assert.equal(own("memory"), "/sys/fs/cgroup/memory/inner", "seen from the root that is mounted there");
  assert.equal(own("pids"), "/mnt/with blank");
});

test("no cgroupsPath climbs out of its hierarchy or into a cgroup of the host's", [], () => {
  assert.deepEqual(paths("v2", "/../../etc"), ["/sys/fs/cgroup/etc"]);
  assert.deepEqual(paths("v2", "../../../etc"), ["/sys/fs/cgroup/user.slice/etc"]);
  for (const path of ["/", "//", "/.", "/a/..", ".", "..", "a/.."]) {
    assert.throws(
      () => paths("v2", path),
      /leads to a cgroup of the host's own: .*\[config.json \/linux\/cgroupsPath\]/,
      path,
    );
  }
});

test("a v1 host without the devices controller is refused: any device could be opened", [], () => {
  const layout = {
    ...LAYOUTS.v1,
    mounts: LAYOUTS.v1.mounts.filter(({ controllers }) => !controllers.includes("devices")),
  };
  assert.throws(() => cgroupDirectories(layout, undefined, "box"), /the devices cgroup controller is not mounted/);
});
