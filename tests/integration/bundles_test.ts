/** The examples under bundles/ do what their README says. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { BUNDLES } from "../support/plans.ts";
import { test } from "../support/test.ts";

const SOURCE = new URL("../../bundles/", import.meta.url).pathname;

/** What each says on its standard output; those that need more than a root file system are not run here. */
const SAYS: Readonly<Record<string, RegExp>> = {
  hello: /^hello from a container\n$/,
  hooks: /^hello after the hooks\n$/,
  limits: /(^|\s)67108864\n/,
  mounts: /^hello from the host\n[\s\S]* on \/merged type overlay/,
  namespaces: /^box\n/,
  readonly: /uid=1000.*\nonly \/tmp can be written to\n$/,
  seccomp: /mkdir is not permitted\n$/,
  userns: /uid=0.*\n\s+0\s+100000\s+65536\n$/,
};
const NOT_RUN = ["network", "rootless", "tty"];

test("every example is run here, or known not to be", [], () => {
  assert.deepEqual([...Object.keys(SAYS), ...NOT_RUN].sort(), [...BUNDLES]);
});

for (const [name, says] of Object.entries(SAYS)) {
  test(`the example ${name} runs as its README says`, ["root", "cgroups"], async () => {
    await using box = await Box.create();
    await Deno.copyFile(`${SOURCE}${name}/config.json`, `${box.directory}/config.json`);
    if (name === "mounts") {
      await Deno.mkdir(`${box.directory}/data`);
      await Deno.copyFile(`${SOURCE}mounts/data/greeting`, `${box.directory}/data/greeting`);
    }
    const { status, stdout, stderr } = await box.runk(["run", box.id]);
    assert.equal(status, 0, stderr);
    assert.match(stdout, says);
  });
}
