/** Kubernetes' pods with systemd's cgroups, by containerd's CRI plugin. Run by `deno task test:vm`. */
import assert from "node:assert/strict";
import { DEBIAN } from "../support/containerd_releases.ts";
import { Node } from "../support/pods.ts";
import { exists, test } from "../support/test.ts";
import { NEEDS, ok, property, read, ROOT } from "./guest.ts";

const SLICE = "runktest-pods.slice";
const MEGABYTE = 2 ** 20;

test("CRI: pods run in scopes of systemd's, with limits, statistics and updates, and nothing of them is left", [
  ...NEEDS,
  "command:containerd",
  "command:ctr",
], async () => {
  await using node = await Node.start(DEBIAN, "systemd");
  const pod = await node.pod({ runtime: "runk", cgroupParent: SLICE, name: "pod" });
  try {
    const container = await pod.start("sleep 1000", {
      resources: { memory_limit_in_bytes: 64 * MEGABYTE, cpu_period: 100000, cpu_quota: 50000, cpu_shares: 512 },
    });
    const unit = `cri-containerd-${container.id}.scope`;
    const directory = `${ROOT}/runktest.slice/${SLICE}/${unit}`;
    const limits = () => ["memory.max", "cpu.max", "cpu.weight"].map((file) => read(directory, file));
    assert.deepEqual(limits(), [String(64 * MEGABYTE), "50000 100000", "59"]);
    assert.equal(await property(unit, "MemoryMax"), String(64 * MEGABYTE));
    assert.deepEqual(await container.exec("sh", "-c", "cat /proc/self/cgroup; exit 3"), {
      status: 3,
      stdout: "0::/\n",
      stderr: "",
    });

    const stream = await container.cri.stream("Exec", { container_id: container.id, cmd: ["sh"], tty: true });
    stream.type("tty; exit 4\n");
    const { status, stdout } = await stream.end();
    assert.equal(status, 4);
    assert.match(stdout, /\/dev\/pts\/0/);

    const { stats } = await container.call<{ stats: { memory: { working_set_bytes: { value: string } } } }>(
      "ContainerStats",
    );
    assert.ok(Number(stats.memory.working_set_bytes.value) > 0);
    await container.call("UpdateContainerResources", {
      linux: { memory_limit_in_bytes: 100 * MEGABYTE, cpu_period: 100000, cpu_quota: 70000 },
    });
    assert.deepEqual(limits().slice(0, 2), [String(100 * MEGABYTE), "70000 100000"]);
    await ok("systemctl", "daemon-reload");
    assert.deepEqual(limits().slice(0, 2), [String(100 * MEGABYTE), "70000 100000"]);

    await container.call("StopContainer", { timeout: 0 });
    assert.equal((await container.status()).exit_code, 137);
    await container.call("RemoveContainer");
    assert.ok(!exists(directory));
    assert.equal(await property(unit, "LoadState"), "not-found");
  } finally {
    await pod[Symbol.asyncDispose]();
  }
  const left = [...Deno.readDirSync(`${ROOT}/runktest.slice/${SLICE}`)].filter(({ isDirectory }) => isDirectory);
  assert.deepEqual(left, []);
  await ok("systemctl", "stop", "runktest.slice");
});
