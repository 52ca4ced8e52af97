/** runk plan: for anyone, of anything, without a trace. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { CLIENT_CONFIGS, clientConfigText } from "../support/plans.ts";
import { run, runk } from "../support/runk.ts";
import { exists, test } from "../support/test.ts";
import { programFor } from "../support/user.ts";

const NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];

test(
  "an ordinary user without any capability plans every config that clients write",
  ["root", "command:setpriv"],
  async () => {
    const directory = await Deno.makeTempDir({ prefix: "runk-test-" });
    try {
      await Deno.chmod(directory, 0o755);
      const program = await programFor(directory);
      for (const name of CLIENT_CONFIGS) {
        await Deno.writeTextFile(`${directory}/config.json`, clientConfigText(name));
        const environment = { PATH: "/usr/bin:/bin", NO_COLOR: "1" };
        const args = [...NOBODY, "env", "-i", program, "plan", "--json", "box"];
        const { status, stdout, stderr } = await run("setpriv", args, { cwd: directory, env: environment });
        assert.equal(status, 0, `${name}: ${stderr}`);
        const { steps } = JSON.parse(stdout);
        assert.ok(
          steps.some(({ call, lane }: { call?: string; lane: string }) => call === "execve" && lane === "container"),
        );
      }
      assert.deepEqual(
        [...Deno.readDirSync(directory)].map(({ name }) => name).filter((name) => name === "rootfs"),
        [],
      );
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
);

test("plan prints the steps, their numbers and where they come from, and makes nothing", [], async () => {
  const directory = await Deno.makeTempDir({ prefix: "runk-test-" });
  try {
    await runk(["spec"], { cwd: directory });
    const root = `${directory}/state`;
    const { status, stdout, stderr } = await runk(["--root", root, "plan", "box"], { cwd: directory });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^host lane: /);
    assert.match(stdout, /\n {2}mount proc "proc" on "\/proc" {2}\[\/mounts\/0\]\n/);
    assert.match(stdout, /\n +\d+ fs = fsopen\("proc", cloexec\)\n/);
    assert.match(stdout, /\ncontainer lane: /);
    const short = await runk(["--root", root, "plan", "--short", "box"], { cwd: directory });
    assert.ok(short.stdout.split("\n").length < stdout.split("\n").length / 5);
    assert.ok(!exists(root), "no state directory is made");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

test(
  "what plan shows is what create does: the failing step has the number and words of the plan",
  ["root", "cgroups"],
  async () => {
    await using box = await Box.create({
      config: (config) =>
        config.mounts.push({ destination: "/data", source: "/no/such", type: "bind", options: ["bind"] }),
    });
    const created = await box.runk(["create", box.id]);
    assert.equal(created.status, 1);
    const call = /open_tree\(.*?\)/.exec(created.stderr.replaceAll('\\"', '"'))?.[0];
    assert.ok(call !== undefined, created.stderr);
    const { stdout } = await box.ok(["plan", box.id]);
    assert.ok(stdout.includes(call!), call);
  },
);
