/** What counts as absent, and what is an error. */
import assert from "node:assert/strict";
import { E } from "../../src/abi/errno.ts";
import { SysError } from "../../src/errors.ts";
import { exists, readIfThere } from "../../src/files.ts";
import { test } from "../support/test.ts";

const TOO_LONG = `/tmp/${"x".repeat(300)}`;
const isSysError = (code: string) => (error: unknown) => error instanceof SysError && error.code === code;

test("a name that nothing has, in a directory or below a file, is absent", [], () => {
  for (const path of ["/no/such/file", "/etc/passwd/x", "/proc/0/stat"]) {
    assert.equal(exists(path), false, path);
    assert.equal(readIfThere(path), undefined, path);
  }
});

test("a link that leads nowhere has a name, and no text", [], () => {
  const directory = Deno.makeTempDirSync();
  Deno.symlinkSync("/no/such/file", `${directory}/link`);
  assert.equal(exists(`${directory}/link`), true);
  assert.equal(readIfThere(`${directory}/link`), undefined);
  Deno.removeSync(directory, { recursive: true });
});

test("any other answer of the kernel is an error that names the path", [], () => {
  assert.throws(() => exists(TOO_LONG), isSysError("ENAMETOOLONG"));
  assert.throws(() => readIfThere(TOO_LONG), { message: `read ${TOO_LONG}: file name too long` });
  assert.throws(() => readIfThere("/etc"), isSysError("EISDIR"));
  assert.equal(readIfThere("/etc", [E.ISDIR]), undefined);
  assert.throws(() => readIfThere("/etc", [E.INVAL]), isSysError("EISDIR"));
});
