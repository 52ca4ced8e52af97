/** The state reader: records of runk and of runc are read, damaged ones are refused. */
import assert from "node:assert/strict";
import { RunkError } from "../../../src/errors.ts";
import {
  annotations,
  bundleOf,
  hasPrivateNamespace,
  label,
  RECORD_VERSION,
  type StateRecord,
} from "../../../src/state/record.ts";
import { isAlive, processStat, statusOf } from "../../../src/state/status.ts";
import { load, loadIntent } from "../../../src/state/load.ts";
import * as store from "../../../src/state/store.ts";
import { test } from "../../support/test.ts";

const record: StateRecord = {
  id: "box",
  init_process_pid: 4242,
  init_process_start: 1234567,
  created: "2026-01-02T03:04:05.6Z",
  config: {
    rootfs: "/bundle/rootfs",
    namespaces: [{ type: "NEWPID" }, { type: "NEWNET", path: "/run/netns/blue" }],
    cgroups: { path: "/box" },
    labels: ["a=1", "b=x=y", "empty=", "constructor=c", "__proto__=p", "bundle=/elsewhere", "a=2", "bundle=/bundle"],
  },
  cgroup_paths: { memory: "/sys/fs/cgroup/memory/box" },
  runk: { version: RECORD_VERSION },
};

async function withRoot(body: (root: string) => void | Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${root}/box`);
    await body(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const loadText = async (text: string): Promise<StateRecord> => {
  let result: StateRecord | undefined;
  await withRoot((root) => {
    Deno.writeTextFileSync(`${root}/box/state.json`, text);
    result = load(root, "box");
  });
  return result!;
};

test("what is saved is loaded", [], async () => {
  await withRoot((root) => {
    store.save(root, record);
    assert.deepEqual(load(root, "box"), record);
    assert.deepEqual([...Deno.readDirSync(`${root}/box`)].map(({ name }) => name), ["state.json"], "no draft is left");
    assert.equal(Deno.statSync(`${root}/box/state.json`).mode! & 0o777, 0o600);
  });
});

test("a container without a record does not exist, one whose directory is a file neither", [], async () => {
  await withRoot((root) => {
    assert.throws(() => load(root, "box"), { message: "container does not exist" });
    assert.throws(() => load(root, "other"), { message: "container does not exist" });
    Deno.writeTextFileSync(`${root}/file`, "");
    assert.throws(() => load(root, "file"), { message: "container does not exist" });
  });
});

test("a record of runc's is read: members that are null, no part of runk's own", [], async () => {
  const { runk: _, ...runc } = record;
  const config = { ...record.config, Hooks: null, rlimits: null, mounts: [] };
  const read = await loadText(
    JSON.stringify({ ...runc, rootless: false, config, intel_rdt_path: "", cgroup_paths: null }),
  );
  assert.equal(read.id, "box");
  assert.equal(read.cgroup_paths, undefined);
  assert.equal(read.config.Hooks, undefined);
});

test("damaged records are refused by name, with the way out", [], async () => {
  const damaged: [string, unknown][] = [
    ["cut short", '{"id":"box"'],
    ["empty", ""],
    ["null", "null"],
    ["a list", "[]"],
    ["another container's", { ...record, id: "../box" }],
    ["without a pid", { ...record, init_process_pid: undefined }],
    ["with a pid that is none", { ...record, init_process_pid: -1 }],
    ["with half a pid", { ...record, init_process_pid: 1.5 }],
    ["without a config", { ...record, config: undefined }],
    ["with odd labels", { ...record, config: { ...record.config, labels: [1] } }],
    ["with labels that are no list", { ...record, config: { ...record.config, labels: "bundle=/x" } }],
    ["with odd namespaces", { ...record, config: { ...record.config, namespaces: [null] } }],
    ["with odd cgroups", { ...record, cgroup_paths: { memory: 5 } }],
    ["with no version", { ...record, runk: {} }],
  ];
  for (const [what, content] of damaged) {
    const text = typeof content === "string" ? content : JSON.stringify(content);
    await assert.rejects(loadText(text), (error) => {
      assert.ok(error instanceof RunkError, what);
      assert.match(error.message, /state\.json is not .*`delete --force` removes the container/, what);
      return true;
    });
  }
  await assert.rejects(
    loadText(JSON.stringify({ ...record, runk: { version: RECORD_VERSION + 1 } })),
    /written by a newer runk/,
  );
});

test("ids are runc's: letters, digits and _+-. but no path", [], () => {
  for (const id of ["a", "A-b_c+d.e", "..a", "a..", "0", "x".repeat(200)]) store.checkId(id);
  for (const id of [".", "..", "a/b", "/", "a b", "ü", "a\0", "a\n", "*"]) {
    assert.throws(() => store.checkId(id), { message: /^invalid container ID format: / }, id);
  }
  assert.throws(() => store.checkId(""), { message: "container id cannot be empty" });
});

test("of labels the first counts, and annotations are all but the bundle, whatever their names", [], () => {
  assert.equal(label(record, "a"), "1");
  assert.equal(label(record, "b"), "x=y");
  assert.equal(label(record, "empty"), "");
  assert.equal(bundleOf(record), "/bundle", "an annotation of that name does not stand for the bundle");
  assert.equal(label(record, "none"), undefined);
  assert.deepEqual(Object.entries(annotations(record)), [
    ["a", "1"],
    ["b", "x=y"],
    ["empty", ""],
    ["constructor", "c"],
    ["__proto__", "p"],
  ]);
});

test("a namespace is the container's own when it has no path", [], () => {
  assert.ok(hasPrivateNamespace(record, "NEWPID"));
  assert.ok(!hasPrivateNamespace(record, "NEWNET"));
  assert.ok(!hasPrivateNamespace(record, "NEWUTS"));
});

test("a process is known by its pid and the time it started, and a zombie is dead", [], async () => {
  const own = processStat(Deno.pid)!;
  const alive = (changes: Partial<StateRecord>) => isAlive({ ...record, ...changes });
  assert.ok(alive({ init_process_pid: Deno.pid, init_process_start: own.start }));
  assert.ok(!alive({ init_process_pid: Deno.pid, init_process_start: own.start + 1 }), "another has the pid");
  assert.ok(!alive({ init_process_pid: 0 }));
  assert.ok(!alive({ init_process_pid: 2 ** 22 + 1 }), "no pid is that high");
  // A name with a parenthesis and blanks in it must not confuse anyone.
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/a) R 1 (b`;
    await Deno.copyFile("/bin/sleep", path);
    const child = new Deno.Command(path, { args: ["100"] }).spawn();
    const stat = () => processStat(child.pid);
    assert.ok(stat()!.start >= own.start);
    assert.match(stat()!.state, /^[SRD]$/);
    child.kill("SIGKILL");
    await child.status;
    assert.equal(stat(), undefined);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

test("the status is stopped without a process, created with a start gate, else running", [], async () => {
  await withRoot((root) => {
    const { start } = processStat(Deno.pid)!;
    const mine = { ...record, init_process_pid: Deno.pid, init_process_start: start, cgroup_paths: {} };
    assert.equal(statusOf(root, mine), "running");
    Deno.writeTextFileSync(`${root}/box/exec.fifo`, "");
    assert.equal(statusOf(root, mine), "created");
    assert.equal(statusOf(root, { ...mine, init_process_start: start + 1 }), "stopped");
    // Frozen wins, even over a process that has ended.
    Deno.writeTextFileSync(`${root}/freezer.state`, "FROZEN\n");
    assert.equal(statusOf(root, { ...record, cgroup_paths: { freezer: root } }), "paused");
  });
});

test("what an interrupted create was about to make is read back, unless it is damaged", [], async () => {
  await withRoot((root) => {
    store.saveIntent(root, { id: "box", cgroup_paths: { memory: "/x" } });
    assert.deepEqual(loadIntent(root, "box"), { id: "box", cgroup_paths: { memory: "/x" } });
    const [name] = [...Deno.readDirSync(`${root}/box`)].map(({ name }) => name);
    for (const text of ["", "null", "[]", '{"id":"other"}', '{"id":"box","cgroup_paths":[1]}', '{"id":"box","cgr']) {
      Deno.writeTextFileSync(`${root}/box/${name}`, text);
      assert.equal(loadIntent(root, "box"), undefined, text);
    }
  });
});
