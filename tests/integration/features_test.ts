/** What `features` says, against what runk takes, what runc says, and what the kernel has. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { ok, run } from "../support/runk.ts";
import { test } from "../support/test.ts";
import { parseMountOptions } from "../../src/spec/mount_options.ts";

const ROOT = ["root", "cgroups"] as const;
const features = async () => JSON.parse((await ok(["features"])).stdout);

test("features prints one JSON document with runc's keys in runc's order, and nothing else", [], async () => {
  const { stdout, stderr } = await ok(["features"]);
  assert.equal(stderr, "");
  assert.ok(stdout.startsWith('{\n    "ociVersionMin": "1.0.0",\n') && stdout.endsWith("}\n"));
  const all = JSON.parse(stdout);
  const top = "ociVersionMin ociVersionMax hooks mountOptions linux annotations potentiallyUnsafeConfigAnnotations";
  assert.deepEqual(Object.keys(all), top.split(" "));
  const linux =
    "namespaces capabilities cgroup seccomp apparmor selinux intelRdt memoryPolicy mountExtensions netDevices";
  assert.deepEqual(Object.keys(all.linux), linux.split(" "));
  assert.deepEqual(Object.keys(all.linux.cgroup), ["v1", "v2", "systemd", "systemdUser", "rdma"]);
  const seccomp = ["enabled", "actions", "operators", "archs", "knownFlags", "supportedFlags"];
  assert.deepEqual(Object.keys(all.linux.seccomp), seccomp);
  assert.deepEqual(Object.keys(all.linux.intelRdt), ["enabled", "schemata", "monitoring"]);
  assert.deepEqual(all.hooks.length, 6);
  assert.deepEqual(all.linux.namespaces, "cgroup ipc mount network pid time user uts".split(" "));
  assert.match(all.annotations["org.opencontainers.runc.version"], /^1\.\d+\.\d+$/);
});

test("features lists at least what Debian's runc lists", ["file:/usr/sbin/runc"], async () => {
  const { status, stdout } = await run("/usr/sbin/runc", ["features"]);
  assert.equal(status, 0);
  const [ours, theirs] = [await features(), JSON.parse(stdout)];
  const lists: readonly ((all: Config) => string[])[] = [
    (all) => all.hooks,
    (all) => all.mountOptions,
    (all) => all.linux.namespaces,
    (all) => all.linux.capabilities,
    (all) => all.linux.seccomp.actions,
    (all) => all.linux.seccomp.operators,
    (all) => all.linux.seccomp.archs,
  ];
  // No kernel of today knows the flag behind these, and runc has dropped them since.
  const dropped = ["acl", "noacl"];
  for (const list of lists) {
    assert.deepEqual(list(theirs).filter((name) => !list(ours).includes(name) && !dropped.includes(name)), []);
  }
});

test("every mount option that features lists means something", [], async () => {
  const { mountOptions } = await features();
  assert.deepEqual(mountOptions, mountOptions.toSorted());
  for (const option of mountOptions) assert.deepEqual(parseMountOptions([option]).data, [], option);
});

test("capabilities are those of the kernel", ["root"], async () => {
  const last = Number(await Deno.readTextFile("/proc/sys/kernel/cap_last_cap"));
  assert.equal((await features()).linux.capabilities.length, Math.min(last, 40) + 1);
});

test("what features calls enabled is taken, what it does not is refused", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  const { linux, annotations } = await features();
  /** Whether a config is refused for what it asks. */
  const isTaken = async (change: (config: Config) => void, ...flags: string[]) => {
    await box.write(change);
    return (await box.runk([...flags, "plan", "--short", box.id])).status === 0;
  };
  const mappings = [{ containerID: 0, hostID: 1000, size: 1 }];
  const idmapped = {
    destination: "/x",
    source: "/",
    options: ["bind", "idmap"],
    uidMappings: mappings,
    gidMappings: mappings,
  };
  assert.equal(await isTaken((c) => c.mounts.push(idmapped)), linux.mountExtensions.idmap.enabled);
  assert.equal(await isTaken((c) => (c.linux.netDevices = { eth0: {} })), linux.netDevices.enabled);
  const systemd = (config: Config) => (config.linux.cgroupsPath = "system.slice:runk:box");
  assert.equal(await isTaken(systemd, "--systemd-cgroup"), linux.cgroup.systemd);
  for (const mode of linux.memoryPolicy.modes) {
    const nodes = /DEFAULT|LOCAL/.test(mode) ? "" : "0";
    assert.ok(await isTaken((c) => (c.linux.memoryPolicy = { mode, nodes })), mode);
  }
  for (const flag of linux.memoryPolicy.flags) {
    assert.ok(await isTaken((c) => (c.linux.memoryPolicy = { mode: "MPOL_BIND", nodes: "0", flags: [flag] })), flag);
  }
  const seccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    architectures: linux.seccomp.archs,
    flags: linux.seccomp.knownFlags,
  };
  const names = ["getppid"];
  const calls = [
    ...linux.seccomp.actions.filter((action: string) => action !== "SCMP_ACT_ALLOW" && !action.endsWith("NOTIFY"))
      .map((action: string, i: number) => ({ names, action, args: [{ index: 0, value: i, op: "SCMP_CMP_EQ" }] })),
    ...linux.seccomp.operators.map((op: string) => ({
      names: ["getpid"],
      action: "SCMP_ACT_ERRNO",
      args: [{ index: 1, value: 1, valueTwo: 1, op }],
    })),
  ];
  const flags = linux.seccomp.knownFlags.filter((name: string) => !name.endsWith("WAIT_KILLABLE_RECV"));
  assert.ok(await isTaken((c) => (c.linux.seccomp = { ...seccomp, flags, syscalls: calls })));
  const commands = (await ok(["help"])).stdout;
  assert.equal(/^ +checkpoint /m.test(commands), annotations["org.opencontainers.runc.checkpoint.enabled"] === "true");
});
