/** Log lines in the two formats that clients parse. */
import assert from "node:assert/strict";
import fc from "../support/random.ts";
import { openLog } from "../../src/log.ts";
import { test } from "../support/test.ts";

async function logged(
  format: string,
  write: (log: ReturnType<typeof openLog>) => void,
  debug = false,
): Promise<string> {
  const path = await Deno.makeTempFile();
  try {
    write(openLog({ path, format, debug }));
    return await Deno.readTextFile(path);
  } finally {
    await Deno.remove(path);
  }
}

const TIME = /^time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"/;

test("a text line has time, level and message, quoted as Go quotes", [], async () => {
  const message = async (text: string) => {
    const line = await logged("text", (log) => log.write("error", text));
    assert.match(line, TIME);
    return line.slice(line.indexOf(" ") + 1, -1);
  };
  assert.equal(await message("plain"), "level=error msg=plain");
  assert.equal(await message("a-b.c_d/e@f^g+h"), "level=error msg=a-b.c_d/e@f^g+h");
  assert.equal(await message(""), 'level=error msg=""');
  assert.equal(await message('exec: "sh"'), 'level=error msg="exec: \\"sh\\""');
  assert.equal(await message("a\\b\tc\nd\x07\x01\x7f"), 'level=error msg="a\\\\b\\tc\\nd\\a\\x01\\x7f"');
  assert.equal(await message("größe 🙂\u00a0\u2028\ufeff"), 'level=error msg="größe 🙂\\u00a0\\u2028\\ufeff"');
});

test("a text line is one line, whatever the message", [], async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: "binary" }), async (message) => {
      const line = await logged("text", (log) => log.write("info", message));
      assert.equal(line.indexOf("\n"), line.length - 1);
    }),
    { numRuns: 50 },
  );
});

test("a JSON line is one object with sorted keys, escaped as Go escapes", [], async () => {
  const line = await logged("json", (log) => log.write("error", '<a> & \u2028 "b"'));
  assert.match(line, /^\{"level":"error","msg":"\\u003ca\\u003e \\u0026 \\u2028 \\"b\\"","time":"[^"]+"\}\n$/);
  const { time } = JSON.parse(line);
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/);
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000, "in the local zone, and right");
});

test("lines are added to what is in the file; debug lines only when they are asked for", [], async () => {
  const write = (log: ReturnType<typeof openLog>) => {
    log.write("debug", "one");
    log.write("warning", "two");
  };
  assert.equal((await logged("json", write)).trim().split("\n").length, 1);
  const both = (await logged("json", write, true)).trim().split("\n").map((line) => JSON.parse(line).level);
  assert.deepEqual(both, ["debug", "warning"]);
});

test("a format that does not exist and a file that cannot be opened are refused", [], () => {
  assert.throws(() => openLog({ path: "", format: "xml", debug: false }), {
    message: "invalid log-format: xml: text or json is expected",
  });
  assert.throws(
    () => openLog({ path: "/nowhere/log", format: "json", debug: false }),
    /open \/nowhere\/log: no such file or directory/,
  );
});
