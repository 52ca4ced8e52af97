/** Completions and manual pages, as shells and man take them. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { ok, run, RUNK } from "../support/runk.ts";
import { test } from "../support/test.ts";

/** What bash offers for a command line; the last word is the one to complete. */
async function offered(words: readonly string[], directory = "/"): Promise<string[]> {
  const script = `eval "$(${RUNK} completion bash)"; runk() { ${RUNK} "$@"; }
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _runk; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { status, stdout, stderr } = await run("bash", ["-c", script, "bash", "runk", ...words], { cwd: directory });
  assert.equal(status, 0, stderr);
  return stdout.split("\n").filter((word) => word !== "");
}

test("bash completes commands, options, values, files and signals", [], async () => {
  assert.deepEqual(await offered(["cre"]), ["create"]);
  assert.deepEqual(await offered(["--log-f"]), ["--log-format"]);
  assert.deepEqual(await offered(["--log-format", "j"]), ["json"]);
  assert.deepEqual(await offered(["--root", "/x", "create", "--conf"]), ["--config"]);
  assert.deepEqual(await offered(["create", "--bundle", "/et"]), ["/etc"]);
  assert.deepEqual(
    await offered(["exec", "--process", "/etc/passw"]).then((words) => words.includes("/etc/passwd")),
    true,
  );
  assert.deepEqual(await offered(["kill", "box", "US"]), ["USR1", "USR2"]);
  assert.deepEqual(await offered(["completion", ""]), ["bash", "zsh", "fish"]);
  assert.deepEqual(await offered(["create", "--no-pivot", ""]), []);
  assert.deepEqual(await offered(["mounts", ""]), ["add", "remove"]);
  assert.deepEqual(
    await offered(["mounts", "add", "box", "/etc/passw"]).then((words) => words.includes("/etc/passwd")),
    true,
  );
  assert.deepEqual(await offered(["exec", "box", "s"]), []);
});

test("bash completes ids of containers under the root that the line names", ["root"], async () => {
  await using box = await Box.create({ script: "sleep 1000" });
  await box.ok(["create", box.id]);
  assert.deepEqual(await offered(["--root", box.root, "state", "runk-"]), [box.id]);
  assert.deepEqual(await offered(["--root", box.root, "mounts", "add", "runk-"]), [box.id]);
  assert.deepEqual(await offered(["--root", box.root, "create", "runk-"]), []);
});

for (const [shell, check] of [["zsh", ["-n"]], ["fish", ["--no-execute"]]] as const) {
  test(`${shell} reads its completions`, [`command:${shell}`], async () => {
    const { stdout } = await ok(["completion", shell]);
    const file = await Deno.makeTempFile();
    await Deno.writeTextFile(file, stdout);
    const { status, stderr } = await run(shell, [...check, file]);
    await Deno.remove(file);
    assert.deepEqual({ status, stderr }, { status: 0, stderr: "" });
    for (const word of ["create", "pid-file", "cgroup-manager"]) assert.match(stdout, new RegExp(word));
  });
}

test("manual pages are well-formed and name every command and option", ["command:mandoc"], async () => {
  const directory = await Deno.makeTempDir();
  await ok(["man", "--output", directory]);
  const pages = [...Deno.readDirSync(directory)].map(({ name }) => `${directory}/${name}`);
  assert.ok(pages.length > 15, `${pages.length} pages`);
  const lint = await run("mandoc", ["-T", "lint", "-W", "error", ...pages]);
  assert.equal(lint.stdout, "");
  const text = async (page: string) =>
    (await run("mandoc", ["-T", "ascii", `${directory}/${page}`])).stdout.replace(/.[\b]/g, "");
  assert.match(await text("runk.8"), /runk-create\(8\)/);
  const create = await text("runk-create.8");
  for (const option of ["--bundle", "--pid-file", "--no-pivot", "--config"]) assert.ok(create.includes(option), create);
  assert.match(await text("runk-exec.8"), /EXAMPLE\n\s+# runk exec --tty box sh/);
  assert.equal((await ok(["man", "kill"])).stdout, await Deno.readTextFile(`${directory}/runk-kill.8`));
  await Deno.remove(directory, { recursive: true });
});
