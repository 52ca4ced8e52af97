/** Clients that have systemd make the cgroups. Run by `deno task test:vm`, and by itself on any such host. */
import assert from "node:assert/strict";
import { makeRootfs } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { test, until } from "../support/test.ts";
import { NEEDS, ok, property } from "./guest.ts";

/** The busybox root file system, for clients that take one from a directory. */
async function rootfs(): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "runk-client-" });
  makeRootfs(directory);
  return directory;
}

test("Podman runs containers with systemd's cgroups", [...NEEDS, "command:podman"], async () => {
  const directory = await rootfs();
  const name = `runk-test-${Deno.pid}-podman`;
  const podman = (...args: string[]) => ok("podman", "--runtime", RUNK, "--cgroup-manager=systemd", ...args);
  try {
    const options = ["--rm", "--network=host", "--memory=64m", "--pids-limit=50", "--name", name];
    const script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; cat /proc/self/attr/current";
    const out = await podman("run", ...options, "--rootfs", directory, "sh", "-c", script);
    assert.match(out, /^67108864\n50\n/);
    assert.equal((await podman("ps", "--all", "--quiet")).trim(), "");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

test("containerd runs containers with systemd's cgroups", [...NEEDS, "command:containerd", "command:ctr"], async () => {
  const directory = await rootfs();
  const id = `runk-test-${Deno.pid}-ctr`;
  await ok("systemctl", "start", "containerd");
  const ctr = (...args: string[]) => ok("ctr", ...args);
  try {
    await until("containerd answers", async () => (await run("ctr", ["version"])).status === 0);
    const cgroup = ["--runc-binary", RUNK, "--runc-systemd-cgroup", "--cgroup", `system.slice:ctr:${id}`];
    const out = await ctr(
      "run",
      "--rm",
      ...cgroup,
      "--memory-limit",
      "67108864",
      "--rootfs",
      directory,
      id,
      "/bin/cat",
      "/proc/self/cgroup",
    );
    assert.match(out, /0::\//);
    assert.equal(await property(`ctr-${id}.scope`, "LoadState"), "not-found");
  } finally {
    await run("systemctl", ["stop", "containerd"]);
    await Deno.remove(directory, { recursive: true });
  }
});
