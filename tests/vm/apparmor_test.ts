/** AppArmor profiles: what a container's process, and exec's, may do under them. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { run } from "../support/runk.ts";
import { test } from "../support/test.ts";

const NEEDS = ["root", "cgroups", "apparmor", "command:apparmor_parser"] as const;
const PROFILE = "runk-test-profile";
/** Everything but one file. */
const POLICY = `
profile ${PROFILE} flags=(attach_disconnected,mediate_deleted) {
  capability, network, file, unix, signal, ptrace, dbus, mount, umount, pivot_root,
  deny /tmp/secret rw,
}
`;

/** Loads the profile, for as long as the box lives. */
async function withProfile(config: (config: Config) => void, body: (box: Box) => Promise<void>): Promise<void> {
  await using box = await Box.create({ script: "sleep 1000", config });
  await Deno.writeTextFile(`${box.rootfs}/tmp/secret`, "secret\n");
  await Deno.writeTextFile(`${box.directory}/policy`, POLICY);
  const loaded = await run("apparmor_parser", ["--replace", `${box.directory}/policy`]);
  assert.equal(loaded.status, 0, loaded.stderr);
  try {
    await body(box);
  } finally {
    for (const id of [box.id]) await box.runk(["delete", "--force", id]);
    await run("apparmor_parser", ["--remove", `${box.directory}/policy`]);
  }
}

const LOOK = ["sh", "-c", "cat /proc/self/attr/current; cat /tmp/secret"];

test(
  "a container's program runs under the profile of its config, with new privileges forbidden or not",
  NEEDS,
  async () => {
    await withProfile(() => {}, async (box) => {
      for (const noNewPrivileges of [true, false]) {
        for (const inUserNamespace of [false, true]) {
          await box.write((config) => {
            config.process = {
              ...config.process,
              terminal: false,
              args: LOOK,
              apparmorProfile: PROFILE,
              noNewPrivileges,
            };
            if (!inUserNamespace) return;
            config.linux.namespaces.push({ type: "user" });
            config.linux.uidMappings = config.linux.gidMappings = [{ containerID: 0, hostID: 0, size: 65536 }];
          });
          const { stdout, stderr } = await box.runk(["run", box.id]);
          assert.equal(stdout, `${PROFILE} (enforce)\n`, stderr);
          assert.match(stderr, /\/tmp\/secret'?: Permission denied/);
        }
      }
      await box.write((config) => Object.assign(config.process, { terminal: false, args: LOOK }));
      assert.match((await box.ok(["run", box.id])).stdout, /^unconfined\nsecret\n$/);
    });
  },
);

test("exec runs under the config's profile, a given one, or none where a file names none", NEEDS, async () => {
  await withProfile((config) => (config.process.apparmorProfile = PROFILE), async (box) => {
    await box.ok(["run", "--detach", box.id]);
    const current = async (...args: string[]) => (await box.runk(["exec", ...args])).stdout;
    assert.equal(await current(box.id, ...LOOK), `${PROFILE} (enforce)\n`);
    const process = { cwd: "/", args: LOOK, env: ["PATH=/bin"] };
    const file = async (changes: Config) => {
      await Deno.writeTextFile(`${box.directory}/process.json`, JSON.stringify({ ...process, ...changes }));
      return await current("--process", "process.json", box.id);
    };
    assert.equal(await file({ apparmorProfile: PROFILE }), `${PROFILE} (enforce)\n`);
    assert.equal(await file({}), "unconfined\nsecret\n");
  });
  await withProfile(() => {}, async (box) => {
    await box.ok(["run", "--detach", box.id]);
    const { stdout } = await box.runk(["exec", "--apparmor", PROFILE, box.id, ...LOOK]);
    assert.equal(stdout, `${PROFILE} (enforce)\n`);
  });
});

test("hooks do not run under the container's profile", NEEDS, async () => {
  await withProfile((config) => {
    config.process.apparmorProfile = PROFILE;
    config.process.args = ["true"];
  }, async (box) => {
    const hook = { path: "/bin/sh", args: ["sh", "-c", `cat /proc/self/attr/current >> ${box.directory}/hooks`] };
    await box.write((config) => {
      config.process = { ...config.process, terminal: false, args: ["true"], apparmorProfile: PROFILE };
      config.hooks = { prestart: [hook], createRuntime: [hook], createContainer: [hook], poststop: [hook] };
    });
    await box.ok(["run", box.id]);
    assert.equal(await Deno.readTextFile(`${box.directory}/hooks`), "unconfined\n".repeat(4));
  });
});

test("a profile that is not loaded fails, and says so", NEEDS, async () => {
  await using box = await Box.create({
    script: "true",
    config: (config) => (config.process.apparmorProfile = "runk-test-no-such-profile"),
  });
  const { status, stderr } = await box.runk(["run", box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /unable to apply apparmor profile: apparmor failed to apply profile: .*is not loaded/);
});
