/** Runs a bundle under runk and under Debian's runc, and compares what a probe in the container sees. */
import assert from "node:assert/strict";
import { CAPABILITIES } from "../../src/abi/names.ts";
import { Box, type Config } from "./box.ts";
import { removeParents } from "./leftovers.ts";
import { differences, parseProbe, PROBE } from "./probe.ts";
import { withoutMode } from "./mounts.ts";
import type { Result } from "./runk.ts";
import { test } from "./test.ts";

export interface Case {
  /** Changes the config (with the probe as its program). */
  readonly config?: (config: Config, box: Box) => void;
  /** Changes the root file system. */
  readonly rootfs?: (box: Box) => void;
  /** Options of `run`. */
  readonly options?: readonly string[];
  /** Run after the probe, in the same shell. */
  readonly then?: string;
  /** Both fail; what both messages match, or what each does. */
  readonly fails?: RegExp | { readonly runk: RegExp; readonly runc: RegExp };
  readonly env?: Record<string, string>;
  /** Sections with what is changed before they are compared; the case says why. */
  readonly change?: Readonly<Record<string, (text: string) => string>>;
  /** What runk says on standard error of a run that succeeds. */
  readonly says?: RegExp;
}

/** One test for each case, by its name. */
export function sameAsUnderRunc(cases: Readonly<Record<string, Case>>): void {
  for (const [name, entry] of Object.entries(cases)) {
    test(`as under runc: ${name}`, ["root", "cgroup1", "file:/usr/sbin/runc"], () => compare(name, entry));
  }
}

/** What a run may differ in though nothing is wrong: the program's name, the place of an error in the config. */
const plain = (text: string) => text.replaceAll("runc", "runk");

/** Later runc shows the mode that a tmpfs has from the directory it covers; Debian's does not yet. */
function asOlder(mounts: string, theirs: string): string {
  const lines = new Set(theirs.split("\n"));
  return mounts.split("\n").map((line) => (lines.has(line) ? line : line.replace(/( - tmpfs .*),mode=\d+$/, "$1")))
    .join("\n");
}

/** @throws when the two runs differ in what the probe sees, or in their exit status */
export async function compare(
  name: string,
  { config, rootfs, options = [], then = "", fails, env, change = {}, says }: Case,
): Promise<void> {
  await using box = await Box.create();
  rootfs?.(box);
  let modeless: string[] = [];
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["sh", "-c", PROBE + then];
    config?.(c, box);
    modeless = withoutMode(c);
  });
  const run = { ...(env === undefined ? {} : { env }) };
  const ours = await box.runk(["run", ...options, box.id], run);
  const theirs = await box.other("runc", ["run", ...options, box.id], run);
  await removeParents(box.id);
  if (fails !== undefined) {
    for (const [who, { stdout, stderr, status }] of [["runk", ours], ["runc", theirs]] as const) {
      assert.match(stderr, fails instanceof RegExp ? fails : fails[who], `${who} says why: ${name}`);
      assert.equal(stdout, "", `${who} writes nothing to standard output`);
      assert.equal(status, theirs.status, `exit status of ${who}`);
    }
    return;
  }
  const dropMode = (line: string) =>
    modeless.includes(line.split(" ")[1]!) ? line.replace(/(?<= - .*),mode=\d+/, "") : line;
  const parse = ({ stdout }: Result) => {
    const probed = parseProbe(plain(stdout), box.id);
    const seen = { ...probed, mounts: probed["mounts"]?.replace(/.* - tmpfs .*/g, dropMode) ?? "" };
    return Object.fromEntries(Object.entries(seen).map(([name, text]) => [name, change[name]?.(text) ?? text]));
  };
  if (says === undefined) assert.equal(ours.stderr, "", "runk says nothing itself");
  else assert.match(ours.stderr, says);
  assert.equal(ours.status, theirs.status, theirs.stderr);
  assert.notEqual(theirs.stdout, "", theirs.stderr);
  const [our, their] = [parse(ours), parse(theirs)];
  const differing = differences({ ...our, mounts: asOlder(our.mounts ?? "", their.mounts ?? "") }, their);
  assert.equal(differing, "", `runk (-) and runc (+) differ:\n${differing}`);
}

/** The capabilities that the tests themselves have: a machine may keep some back. */
export const ownCapabilities = () => {
  const bits = BigInt("0x" + /^CapBnd:\s*(\w+)$/m.exec(Deno.readTextFileSync("/proc/self/status"))![1]);
  return CAPABILITIES.filter((_, number) => bits & (1n << BigInt(number)));
};
