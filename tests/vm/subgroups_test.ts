/** Cgroups below a container's own, as annotations of crun ask for them. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { exists, test, until } from "../support/test.ts";
import { NEEDS, property, read, ROOT } from "./guest.ts";

const annotate = (c: Config, annotations: Record<string, string>) =>
  c.annotations = Object.fromEntries(Object.entries(annotations).map(([name, value]) => [`run.oci.${name}`, value]));

/** Cgroups of its own that the container's root may write to. */
const ownsCgroups = (c: Config) => {
  c.root.readonly = false;
  c.linux.namespaces.push({ type: "user" });
  c.linux.uidMappings = c.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
  const cgroups = c.mounts.find(({ type }: Config) => type === "cgroup");
  cgroups.options = cgroups.options.filter((option: string) => option !== "ro");
};

/** What root of a container with delegated cgroups does: sees where it is, makes cgroups, moves into one. */
const SCRIPT =
  "cat /proc/self/cgroup; cd /sys/fs/cgroup/own; mkdir a && echo $$ > a/cgroup.procs && cat /proc/self/cgroup;" +
  "echo 5 > ../pids.max 2>/dev/null || echo denied";

const saysAll = (box: Box) => exists(`${box.rootfs}/out`) && read(box.rootfs, "out").endsWith("denied");

test("delegate-cgroup gives the process a cgroup of its own below the limits", ["root", "cgroup2"], async () => {
  await using box = await Box.create({
    script: `{ ${SCRIPT}; } > /out; exec sleep 1000`,
    config: (c: Config) => {
      ownsCgroups(c);
      annotate(c, { "delegate-cgroup": "own" });
      c.linux.cgroupsPath = `/runk-test-parent/box`;
      c.linux.resources = { pids: { limit: 30 } };
    },
  });
  await Deno.chown(box.rootfs, 100_000, 100_000);
  const directory = `${ROOT}/runk-test-parent/box`;
  try {
    await box.ok(["create", "--pid-file", "pid", box.id]);
    const pid = read(box.directory, "pid");
    assert.equal(read(`/proc/${pid}`, "cgroup"), "0::/runk-test-parent/box/own");
    assert.equal(read(directory, "pids.max"), "30");
    assert.equal(read(`${directory}/own`, "pids.max"), "max");
    const owner = (path: string) => Deno.statSync(`${directory}/${path}`).uid;
    assert.deepEqual(["own", "own/cgroup.procs", "pids.max"].map(owner), [100_000, 100_000, 0]);
    await box.ok(["start", box.id]);
    await until("it has moved", () => saysAll(box));
    // Where the first process is, no controller can keep it out.
    await box.ok(["exec", "--pid-file", "second", "--detach", box.id, "sleep", "100"]);
    assert.match(read(`/proc/${read(box.directory, "second")}`, "cgroup"), /^0::\/runk-test-parent\/box\/own\/a$/);
    assert.equal(read(box.rootfs, "out"), "0::/own\n0::/own/a\ndenied");
    await box.ok(["pause", box.id]);
    await box.ok(["resume", box.id]);
    assert.equal(JSON.parse((await box.ok(["ps", "--format", "json", box.id])).stdout).length, 2);
    await box.ok(["delete", "--force", box.id]);
    assert.ok(!exists(directory));
    await box.write((c) => {
      c.process.terminal = false;
      annotate(c, { "delegate-cgroup": "../other" });
    });
    const refused = await box.runk(["create", box.id]);
    assert.match(
      refused.stderr,
      /names no cgroup below another \[config.json \/annotations\/run.oci.delegate-cgroup\]/,
    );
  } finally {
    await Deno.remove(`${ROOT}/runk-test-parent`).catch(() => {});
  }
});

test(
  "systemd.subgroup is the container's cgroup below its unit's, and a delegated one is below that",
  NEEDS,
  async () => {
    await using box = await Box.create({
      script: `{ ${SCRIPT}; } > /out; exec sleep 1000`,
      config: (c: Config) => {
        ownsCgroups(c);
        annotate(c, { "systemd.subgroup": "container", "delegate-cgroup": "own" });
        c.linux.resources = { pids: { limit: 30 }, memory: { limit: 64 << 20 } };
      },
    });
    await Deno.chown(box.rootfs, 100_000, 100_000);
    const unit = `runc-${box.id}.scope`;
    const directory = `${ROOT}/system.slice/${unit}`;
    await box.ok(["--systemd-cgroup", "create", "--pid-file", "pid", box.id]);
    assert.equal(read(`/proc/${read(box.directory, "pid")}`, "cgroup"), `0::/system.slice/${unit}/container/own`);
    assert.equal(await property(unit, "TasksMax"), "30");
    for (const path of [directory, `${directory}/container`]) {
      assert.deepEqual([read(path, "pids.max"), read(path, "memory.max")], ["30", String(64 << 20)], path);
    }
    await box.ok(["start", box.id]);
    await box.ok(["update", "--pids-limit", "20", box.id]);
    assert.deepEqual([directory, `${directory}/container`].map((path) => read(path, "pids.max")), ["20", "20"]);
    assert.equal(read(box.rootfs, "out"), "0::/own\n0::/own/a\ndenied");
    await box.ok(["delete", "--force", box.id]);
    assert.ok(!exists(directory));
    assert.equal(await property(unit, "LoadState"), "not-found");
    // One that fails leaves no unit.
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["/nothing"];
      annotate(c, { "systemd.subgroup": "container" });
    });
    assert.equal((await box.runk(["--systemd-cgroup", "create", box.id])).status, 1);
    assert.ok(!exists(directory));
  },
);
