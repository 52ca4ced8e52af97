/** Help is made from the same tables as the parser. */
import assert from "node:assert/strict";
import { appHelp, commandHelp } from "../../../src/commands/help.ts";
import { COMMANDS } from "../../../src/commands/table.ts";
import { VERSION } from "../../../src/commands/version.ts";
import { test } from "../../support/test.ts";

test("the version that is printed is that of deno.json", [], () => {
  const text = Deno.readTextFileSync(new URL("../../../deno.json", import.meta.url));
  assert.equal(JSON.parse(text).version, VERSION);
});

test("the help of the program begins as runc's and lists every command in order", [], () => {
  const text = appHelp("runk", "runk version 1.2.3\n", [{
    name: "root",
    kind: "string",
    default: "/run/runk",
    help: "where",
  }]);
  assert.match(text, /^NAME:\n {3}runk - Open Container Initiative runtime\n/);
  assert.match(text, /VERSION:\n {3}1\.2\.3\n/);
  const listed = text.slice(text.indexOf("COMMANDS:"), text.indexOf("GLOBAL")).split("\n").map((line) =>
    line.trim().split(/\s/)[0]
  );
  const names = COMMANDS.map(({ name }) => name);
  assert.deepEqual(listed.filter((name) => names.includes(name!)), names);
  assert.match(text, /--root value +where \(default: "\/run\/runk"\)/);
  assert.match(text, /--help, -h/);
});

for (const { name, summary, load } of COMMANDS) {
  test(`the help of ${name} names every option of its table that is not hidden, once`, [], async () => {
    const { command } = await load();
    const text = commandHelp("runk", name, summary, command);
    assert.ok(text.startsWith(`NAME:\n   runk ${name} - ${summary}\n`));
    for (const { name: flag, short, hidden, help } of command.flags) {
      const lines = text.split("\n").filter((line) => new RegExp(`^ {3}--${flag}( value)?(,|  )`).test(line));
      assert.equal(lines.length, hidden ? 0 : 1, `--${flag}`);
      if (short !== undefined && !hidden) assert.match(lines[0]!, new RegExp(`, -${short}( value)?  `));
      assert.ok(help.length > 0, `--${flag} is described`);
    }
    const names = command.flags.flatMap(({ name, short }) => [name, ...(short === undefined ? [] : [short])]);
    assert.equal(new Set(names).size, names.length, "no name stands for two options");
    assert.ok(!names.includes("help") && !names.includes("h"));
  });
}
