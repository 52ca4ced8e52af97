/** The systemd cgroup driver on a machine with v1 hierarchies. Run by `deno task test:vm`, and by itself on such a host. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { exists, test } from "../support/test.ts";
import { changeConfig, ok, property, read, ROOT } from "./guest.ts";

test(
  "a scope spans every v1 hierarchy, with limits as files and properties",
  ["root", "cgroup1", "systemd"],
  async () => {
    await using box = await Box.create({
      script: "sleep 1000",
      config: (c: Config) => {
        c.linux.resources = {
          devices: [{ allow: false, access: "rwm" }],
          memory: { limit: 64 << 20 },
          cpu: { shares: 512 },
          pids: { limit: 33 },
        };
      },
    });
    const unit = `runk-${box.id}.scope`;
    await changeConfig(box, (c) => (c.linux.cgroupsPath = `system.slice:runk:${box.id}`));
    await box.ok(["--systemd-cgroup", "create", "--pid-file", "pid", box.id]);
    const lines = read(`/proc/${read(box.directory, "pid")}`, "cgroup").split("\n");
    for (const line of lines.filter((line) => !/^0::|:(cpuset|misc):/.test(line))) {
      assert.ok(line.endsWith(`/system.slice/${unit}`), line);
    }
    const check = (when: string) => {
      const directory = (controller: string) => `${ROOT}/${controller}/system.slice/${unit}`;
      assert.equal(read(directory("memory"), "memory.limit_in_bytes"), String(64 << 20), when);
      assert.equal(read(directory("cpu"), "cpu.shares"), "512", when);
      assert.equal(read(directory("pids"), "pids.max"), "33", when);
    };
    check("after create");
    assert.equal(await property(unit, "TasksMax"), "33");
    await ok("systemctl", "daemon-reload");
    check("after daemon-reload");
    await box.ok(["delete", "--force", box.id]);
    assert.equal(await property(unit, "LoadState"), "not-found");
    assert.ok(!exists(`${ROOT}/devices/system.slice/${unit}`));
  },
);
