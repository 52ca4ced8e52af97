/** The clock on the wall may be set while runk waits: it says when something was, and decides nothing. */
import assert from "node:assert/strict";
import { test } from "../support/test.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Log lines, and when a container was made. */
const TELL_TIME = ["src/log.ts", "src/container/new_record.ts"];

function sources(directory: string): string[] {
  return [...Deno.readDirSync(`${ROOT}${directory}`)].flatMap(({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    if (isDirectory) return path === "src/tasks" ? [] : sources(path);
    return name.endsWith(".ts") ? [path] : [];
  });
}

test("nothing but log lines and records reads the clock that can be set; whoever waits reads the other", [], () => {
  const readers = ["ffi", "src"].flatMap(sources).filter((path) =>
    /\bDate\b|CLOCK_REALTIME/.test(Deno.readTextFileSync(`${ROOT}${path}`))
  );
  assert.deepEqual(readers.toSorted(), TELL_TIME.toSorted());
});
