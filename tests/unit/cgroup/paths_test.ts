/** Where cgroups are, from what /proc says. */
import assert from "node:assert/strict";
import { parseLayout } from "../../../src/host/cgroup_layout.ts";
import { cgroupDirectories, cgroupPaths, controllerDirectory, versionOf } from "../../../src/cgroup/paths.ts";
import { cleanPath } from "../../../src/spec/clean_path.ts";
import { test } from "../../support/test.ts";

const HYBRID = parseLayout(
  `30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 /docker/abc /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
35 30 0:31 / /mnt/with\\040blank rw - cgroup cgroup rw,freezer`,
  "5:freezer:/\n4:devices:/docker/abc/below\n3:cpu,cpuacct:/a/b\n1:name=systemd:/user.slice\n0::/user.slice",
);
const V2 = parseLayout("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "0::/user.slice/session.scope");

test(
  "an absolute cgroupsPath lies under each hierarchy's mount point, controllers mounted together share a directory",
  [],
  () => {
    assert.deepEqual(cgroupPaths(cgroupDirectories(HYBRID, "/x/y", "id")), {
      "": "/sys/fs/cgroup/unified/x/y",
      "name=systemd": "/sys/fs/cgroup/systemd/x/y",
      cpu: "/sys/fs/cgroup/cpu,cpuacct/x/y",
      cpuacct: "/sys/fs/cgroup/cpu,cpuacct/x/y",
      devices: "/sys/fs/cgroup/devices/x/y",
      freezer: "/mnt/with blank/x/y",
    });
  },
);

test("a relative one, or the id, lies under the caller's own cgroup on v1, and beside it on v2", [], () => {
  const own = cgroupPaths(cgroupDirectories(HYBRID, undefined, "id"));
  assert.equal(own["cpu"], "/sys/fs/cgroup/cpu,cpuacct/a/b/id");
  assert.equal(own["devices"], "/sys/fs/cgroup/devices/below/id", "of what the mount shows");
  assert.equal(cgroupPaths(cgroupDirectories(HYBRID, "p/q", "id"))["cpu"], "/sys/fs/cgroup/cpu,cpuacct/a/b/p/q");
  assert.equal(cgroupPaths(cgroupDirectories(V2, undefined, "id"))[""], "/sys/fs/cgroup/user.slice/id");
  assert.equal(cgroupPaths(cgroupDirectories(V2, "/x", "id"))[""], "/sys/fs/cgroup/x");
});

test("a path cannot climb above where it begins", [], () => {
  assert.equal(cleanPath("/a/../../b"), "/b");
  assert.equal(cleanPath("../../b/./c"), "b/c");
  assert.equal(
    cgroupPaths(cgroupDirectories(HYBRID, "../../../etc", "id"))["cpu"],
    "/sys/fs/cgroup/cpu,cpuacct/a/b/etc",
  );
  for (const path of ["/", ".", "..", "a/.."]) {
    assert.throws(() => cgroupDirectories(HYBRID, path, "id"), /leads to a cgroup of the host's own/);
  }
});

test("a v1 host without the devices controller is refused", [], () => {
  const bare = parseLayout("33 30 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", "3:cpu:/");
  assert.throws(() => cgroupDirectories(bare, undefined, "id"), /devices cgroup controller is not mounted/);
});

test("the version of a container's cgroups shows in its record", [], () => {
  assert.equal(versionOf({}), "none");
  assert.equal(versionOf({ "": "/c" }), "v2");
  assert.equal(versionOf({ "": "/u", memory: "/m" }), "v1");
  assert.equal(controllerDirectory({ "": "/c" }, "memory"), "/c");
  assert.equal(controllerDirectory({ "": "/u", memory: "/m" }, "memory"), "/m");
  assert.equal(controllerDirectory({ "": "/u", memory: "/m" }, "pids"), undefined);
});
