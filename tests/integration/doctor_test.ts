/** What `doctor` says of this machine, against the machine, and against `features`. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { ok, run, RUNK } from "../support/runk.ts";
import { exists, test } from "../support/test.ts";

interface Finding {
  readonly group: string;
  readonly name: string;
  readonly state: "yes" | "partly" | "no";
  readonly found: string;
  readonly use: string;
  readonly required: boolean;
  readonly cure?: string;
}

async function findings(): Promise<Map<string, Finding>> {
  const { version, ready, findings } = JSON.parse((await ok(["doctor", "--json"])).stdout);
  assert.equal(version, 1);
  assert.equal(ready, true);
  return new Map((findings as Finding[]).map((finding) => [finding.name, finding]));
}

test("doctor names a use for everything, and a cure for what is missing", ["root"], async () => {
  const all = await findings();
  for (const [name, finding] of all) {
    assert.match(name, /^[a-z]+\.\w+$/);
    assert.ok(name.startsWith(finding.group + "."), name);
    assert.ok(finding.found !== "" && finding.use !== "", name);
    assert.ok(["yes", "partly", "no"].includes(finding.state), name);
    if (finding.state === "no") assert.ok(finding.cure, name);
    if (finding.state === "yes") assert.equal(finding.cure, undefined, name);
  }
  const text = (await ok(["doctor"])).stdout;
  for (const { found, cure } of all.values()) {
    assert.ok(text.includes(found), found);
    if (cure !== undefined) assert.ok(text.includes(`cure: ${cure}`), cure);
  }
  assert.match(text, /\nContainers can be made on this machine\.\n$/);
});

test("what doctor finds is what containers get", ["root", "cgroups"], async () => {
  const all = await findings();
  const isThere = (name: string) => all.get(name)!.state === "yes";
  await using box = await Box.create({
    script: "ls /sys/fs/cgroup; cat /proc/self/mountinfo",
    config: (config) => {
      config.linux.namespaces = ["mount", "pid", "network", "ipc", "uts", "cgroup", "time"]
        .filter((type) => isThere(`namespaces.${type}`)).map((type) => ({ type }));
      config.linux.resources.cpu = { shares: 512 };
    },
  });
  const { stdout } = await box.ok(["run", box.id]);
  for (const type of ["proc", "sysfs", "tmpfs", "devpts", "mqueue"]) {
    assert.equal(stdout.includes(` - ${type} `), isThere(`mounts.${type}`), type);
  }
  for (const name of ["cpu", "memory", "pids", "devices", "freezer"]) {
    assert.equal(exists(`/sys/fs/cgroup/${name}/cgroup.procs`), isThere(`cgroups.${name}`), name);
  }
  assert.equal(isThere("security.apparmor"), exists("/sys/kernel/security/apparmor"));
  assert.equal(isThere("security.selinux"), exists("/sys/fs/selinux/enforce"));
  for (
    const [name, change] of [["apparmor", { apparmorProfile: "x" }], ["selinux", { selinuxLabel: "a:b:c" }]] as const
  ) {
    if (isThere(`security.${name}`)) continue;
    await box.write((config) => Object.assign(config.process, { terminal: false, args: ["true"] }, change));
    assert.equal((await box.runk(["run", box.id])).status, 1, name);
  }
  if (!isThere("mounts.idmap")) return;
  await box.write((config) => {
    config.process.terminal = false;
    config.process.args = ["stat", "-c", "%u", "/mapped"];
    const mappings = [{ containerID: 0, hostID: 4321, size: 1 }];
    const options = ["bind", "idmap"];
    config.mounts.push({ destination: "/mapped", source: "/", options, uidMappings: mappings, gidMappings: mappings });
  });
  assert.equal((await box.ok(["run", box.id])).stdout, "4321\n");
});

test("doctor and features agree on capabilities and seccomp", ["root"], async () => {
  const all = await findings();
  const { linux } = JSON.parse((await ok(["features"])).stdout);
  const words = all.get("security.seccompFlags")!.found.split(" ");
  const isComplete = all.get("security.seccompFlags")!.state === "yes";
  const missing = isComplete ? [] : words.slice(1);
  const known: string[] = linux.seccomp.knownFlags;
  assert.deepEqual(
    linux.seccomp.supportedFlags,
    known.filter((name) => !missing.includes(name.replace("SECCOMP_FILTER_FLAG_", ""))),
  );
  if (all.get("security.seccomp")!.state !== "yes") return;
  const actions = all.get("security.seccomp")!.found.split(" ").slice(1);
  assert.deepEqual(actions.map((name) => `SCMP_ACT_${name}`), linux.seccomp.actions);
});

test("doctor says when no container can be made, and why", ["root", "command:unshare"], async () => {
  // In a user namespace of its own, which may have no mount namespaces.
  const script = 'echo 0 > /proc/sys/user/max_mnt_namespaces && exec "$@" doctor';
  const { status, stdout, stderr } = await run("unshare", ["-U", "-r", "sh", "-c", script, "sh", RUNK]);
  if (/unshare failed/.test(stderr)) return console.log(`not tested: ${stderr.trim()}`);
  assert.equal(status, 1, stdout + stderr);
  assert.match(
    stdout,
    /- +mount +no space left on device, at most 0\n +required for: .*\n +cure: sysctl user\.max_mnt_name/,
  );
  assert.match(stdout, /\nNo containers can be made on this machine: namespaces\.mount/);
});
