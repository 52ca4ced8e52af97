/** AppArmor profiles, on a machine that has it. Run by `deno task test:vm`, and by itself on any such host. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { run } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";
import { NEEDS, ok } from "./guest.ts";

const PROFILE = `profile runk-test flags=(attach_disconnected) {
  file,
  capability,
  signal,
  deny /etc/secret r,
}
`;

test("an AppArmor profile confines the container's processes, those of exec, too", [...NEEDS, "apparmor"], async () => {
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, PROFILE);
  await ok("apparmor_parser", "--replace", "--skip-cache", file);
  await using box = await Box.create({
    script:
      "cat /proc/self/attr/current; cat /etc/secret; cat /etc/passwd >/dev/null && echo open; touch /tmp/x; sleep 100",
    config: (c: Config) => {
      c.root.readonly = false;
      c.process.apparmorProfile = "runk-test";
      c.linux.resources = {};
    },
  });
  await Deno.writeTextFile(`${box.rootfs}/etc/secret`, "secret");
  try {
    const running = box.runk(["run", box.id]);
    await until("it has tried", () => exists(`${box.rootfs}/tmp/x`));
    const entered = await box.ok(["exec", "--apparmor", "runk-test", box.id, "cat", "/proc/self/attr/current"]);
    assert.match(entered.stdout, /^runk-test \(enforce\)/);
    await box.ok(["kill", box.id, "KILL"]);
    const { stdout, stderr } = await running;
    assert.match(stdout, /^runk-test \(enforce\)\nopen/);
    assert.match(stderr, /secret.*Permission denied/);
    await box.write((c) => {
      c.process.terminal = false;
      c.process.apparmorProfile = "runk-test-missing";
    });
    const missing = await box.runk(["run", box.id]);
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /apparmor.*runk-test-missing|runk-test-missing.*apparmor/i);
  } finally {
    await run("apparmor_parser", ["--remove", file]);
    await Deno.remove(file);
  }
});
