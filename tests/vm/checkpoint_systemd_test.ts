/** checkpoint and restore where systemd makes the cgroups, and by Podman. Run by `deno task test:vm`. */
import assert from "node:assert/strict";
import { Box, type Config, makeRootfs } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { test, until } from "../support/test.ts";
import { NEEDS, ok, property } from "./guest.ts";

test("a container that is restored is in a scope of systemd's again", [...NEEDS, "criu"], async () => {
  await using box = await Box.create({
    script: "exec sleep 1000 </dev/null >/dev/null 2>&1",
    config: (c: Config) => {
      c.linux.resources = { pids: { limit: 55 } };
    },
  });
  const scope = `runc-${box.id}.scope`;
  const systemd = (...args: string[]) => box.ok(["--systemd-cgroup", ...args]);
  await systemd("run", "--detach", box.id);
  await systemd("checkpoint", box.id);
  assert.equal(await property(scope, "LoadState"), "not-found");
  await systemd("restore", "--detach", box.id);
  const { pid } = await box.state();
  assert.equal(await property(scope, "ActiveState"), "active");
  assert.equal(await property(scope, "TasksMax"), "55");
  const own = (await Deno.readTextFile(`/proc/${pid}/cgroup`)).trim();
  assert.equal(own.slice("0::".length), await property(scope, "ControlGroup"));
  await box.ok(["delete", "--force", box.id]);
  await until("the scope is gone", async () => await property(scope, "LoadState") === "not-found");
});

test("Podman saves and restores a container", [...NEEDS, "criu", "command:podman"], async () => {
  const directory = await Deno.makeTempDir({ prefix: "runk-client-" });
  makeRootfs(directory);
  const name = `runk-test-${Deno.pid}-saved`;
  const podman = (...args: string[]) => ok("podman", "--runtime", RUNK, "--cgroup-manager=systemd", ...args);
  const count = async () => Number((await podman("logs", "--tail", "1", name)).trim());
  try {
    const options = ["--detach", "--network=host", "--log-driver=k8s-file", "--name", name];
    const script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.5; done";
    await podman("run", ...options, "--rootfs", directory, "sh", "-c", script);
    await until("it counts", async () => await count() > 1);
    await podman("container", "checkpoint", name);
    const state = JSON.parse(await podman("inspect", name))[0].State;
    assert.deepEqual([state.Running, state.Checkpointed], [false, true]);
    const saved = await count();
    await podman("container", "restore", name);
    assert.equal(JSON.parse(await podman("inspect", name))[0].State.Status, "running");
    await until("it counts on", async () => await count() > saved);
    const numbers = (await podman("logs", name)).split("\n").map(Number);
    assert.deepEqual(numbers, numbers.map((_, i) => i + 1), "from where it was saved");
  } finally {
    await run("podman", ["--runtime", RUNK, "--cgroup-manager=systemd", "rm", "--force", "--time=0", name]);
    await Deno.remove(directory, { recursive: true });
  }
});
