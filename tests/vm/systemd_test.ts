/**
 * The systemd cgroup driver, on a machine that systemd runs with cgroup v2. Run by `deno task test:vm`, and by itself on
 * any such host.
 */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { exists, test, until } from "../support/test.ts";
import { assertLimits, changeConfig, LIMIT_FILES, LIMITS, NEEDS, ok, property, read, ROOT } from "./guest.ts";

test(
  "a scope has the limits and annotations as properties, and loading systemd's configuration anew loses none",
  NEEDS,
  async () => {
    const script = `cat /proc/self/cgroup >/tmp/cgroup; while ! test -e /tmp/go; do sleep 0.2; done
    head -c 1 /dev/urandom >/dev/null && echo read; head -c 1 /tmp/mem >/dev/null 2>&1 || echo denied`;
    await using box = await Box.create({
      script: `mknod /tmp/mem c 1 1; (${script}) >/tmp/out; sleep 1000`,
      config: (c: Config) => {
        c.root.readonly = false;
        for (const set of ["bounding", "effective", "permitted"]) {
          c.process.capabilities[set].push("CAP_MKNOD", "CAP_SYS_RAWIO");
        }
        c.annotations = {
          "org.systemd.property.TimeoutStopSec": "uint64 77",
          "org.systemd.property.CollectMode": "'inactive-or-failed'",
        };
        c.linux.resources = { devices: [{ allow: false, access: "rwm" }], ...LIMITS };
      },
    });
    await changeConfig(box, (c) => (c.linux.cgroupsPath = `system.slice:runk:${box.id}`));
    const unit = `runk-${box.id}.scope`;
    const directory = `${ROOT}/system.slice/${unit}`;
    const values = { ...LIMIT_FILES };
    const check = (when: string) => assertLimits(directory, values, when);
    await box.ok(["--systemd-cgroup", "create", "--pid-file", "pid", box.id]);
    check("after create");
    assert.equal(await property(unit, "TimeoutStopUSec"), "1min 17s");
    assert.equal(await property(unit, "Delegate"), "yes");
    assert.equal(await property(unit, "MemoryMax"), String(64 << 20));
    assert.equal(await property(unit, "TasksMax"), "33");
    await ok("systemctl", "daemon-reload");
    check("after daemon-reload");

    await box.ok(["start", box.id]);
    await until(
      "it says where it is",
      () => exists(`${box.rootfs}/tmp/cgroup`) && read(box.rootfs, "tmp/cgroup") !== "",
    );
    assert.equal(read(box.rootfs, "tmp/cgroup"), "0::/");
    const pid = read(box.directory, "pid");
    assert.equal(read(`/proc/${pid}`, "cgroup"), `0::/system.slice/${unit}`);
    // Later commands know the driver by themselves.
    const changes = ["--memory", "50331648", "--memory-swap", "-1", "--pids-limit", "20", "--cpu-quota", "20100"];
    await box.ok(["update", ...changes, box.id]);
    // systemd knows quotas in whole percents of a CPU, and the file has what systemd would write.
    const changed = { "memory.max": "50331648", "memory.swap.max": "max", "pids.max": "20", "cpu.max": "20500 50000" };
    Object.assign(values, changed);
    check("after update");
    await ok("systemctl", "daemon-reload");
    check("after update and daemon-reload");
    assert.equal(await property(unit, "MemoryMax"), "50331648");

    await Deno.writeTextFile(`${box.rootfs}/tmp/go`, "");
    await until(
      "it tries its devices",
      () => exists(`${box.rootfs}/tmp/out`) && /denied/.test(read(box.rootfs, "tmp/out")),
    );
    assert.equal(read(box.rootfs, "tmp/out"), "read\ndenied");
    await box.ok(["exec", "--detach", "--pid-file", "exec", box.id, "sleep", "100"]);
    assert.equal(read(`/proc/${read(box.directory, "exec")}`, "cgroup"), `0::/system.slice/${unit}`);

    await box.ok(["delete", "--force", box.id]);
    assert.ok(!exists(directory));
    assert.equal(await property(unit, "LoadState"), "not-found");
  },
);

test("slice:prefix:name chooses the slice and the names; a create that fails leaves no unit", NEEDS, async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  await changeConfig(box, (c) => (c.linux.cgroupsPath = `runktest-inner.slice:box:${box.id}`));
  await box.ok(["--systemd-cgroup", "run", "--detach", box.id]);
  const directory = `${ROOT}/runktest.slice/runktest-inner.slice/box-${box.id}.scope`;
  assert.ok(exists(directory));
  const { pid } = await box.state();
  assert.equal(read(directory, "cgroup.procs"), String(pid));
  await box.ok(["delete", "--force", box.id]);
  assert.ok(!exists(directory));

  await changeConfig(box, (c) => {
    c.linux.cgroupsPath = `system.slice:box:${box.id}`;
    c.linux.resources = { unified: { "memory.max": "plenty" } };
  });
  const refused = await box.runk(["--systemd-cgroup", "create", box.id]);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /plenty/);
  assert.equal(await property(`box-${box.id}.scope`, "LoadState"), "not-found");

  await changeConfig(box, (c) => (c.linux.cgroupsPath = "/plain/path"));
  const wrong = await box.runk(["--systemd-cgroup", "create", box.id]);
  assert.match(wrong.stderr, /expected cgroupsPath to be of format \\"slice:prefix:name\\" for systemd cgroups, got/);
});

test("a name that is a slice makes the slice, with the container in it", NEEDS, async () => {
  await using box = await Box.create({
    script: "sleep 1000",
    config: (c: Config) => {
      c.linux.cgroupsPath = "runktest.slice:x:runktest-own.slice";
      c.linux.resources = { pids: { limit: 12 } };
    },
  });
  const directory = `${ROOT}/runktest.slice/runktest-own.slice`;
  await box.ok(["--systemd-cgroup", "create", "--pid-file", "pid", box.id]);
  assert.equal(read(directory, "cgroup.procs"), read(box.directory, "pid"));
  assert.equal(read(directory, "pids.max"), "12");
  await box.ok(["delete", "--force", box.id]);
  assert.ok(!exists(directory));
});
