/** runc's record of a seccomp profile, read back. */
import assert from "node:assert/strict";
import { runcProfile } from "../../../src/container/runc_profile.ts";
import { parseJson } from "../../../src/spec/json.ts";
import type { StateRecord } from "../../../src/state/record.ts";
import { test } from "../../support/test.ts";

const recordOf = (seccomp: string) => parseJson(`{"config":{"seccomp":${seccomp}}}`) as StateRecord;

test("runcProfile() gives what config.json had, with every action, operator and number", [], () => {
  const calls = Array.from({ length: 9 }, (_, i) => `{"name":"call${i}","action":${i + 1},"errnoRet":null,"args":[]}`);
  const args = Array.from(
    { length: 7 },
    (_, i) => `{"index":${i % 6},"value":18446744073709551615,"value_two":3,"op":${i + 1}}`,
  );
  const profile = runcProfile(recordOf(`{"default_action":4,"default_errno_ret":38,"flags":["SECCOMP_FILTER_FLAG_LOG"],
    "architectures":["amd64","x86","x32","arm","arm64","mips64n32","loong64"],"listener_path":"/run/agent",
    "syscalls":[${calls.join(",")},{"name":"more","action":2,"errnoRet":7,"args":[${args.join(",")}]}]}`))!;
  assert.equal(profile.defaultAction, "SCMP_ACT_ALLOW");
  assert.equal(profile.defaultErrnoRet, 38);
  assert.equal(profile.listenerPath, "/run/agent");
  assert.deepEqual(profile.flags, ["SECCOMP_FILTER_FLAG_LOG"]);
  const architectures = "X86_64 X86 X32 ARM AARCH64 MIPS64N32 LOONGARCH64".split(" ").map((name) =>
    `SCMP_ARCH_${name}`
  );
  assert.deepEqual(profile.architectures, architectures);
  const actions = profile.syscalls!.slice(0, 9).map(({ action }) => action.replace("SCMP_ACT_", ""));
  assert.deepEqual(actions, "KILL ERRNO TRAP ALLOW TRACE LOG NOTIFY KILL_THREAD KILL_PROCESS".split(" "));
  const more = profile.syscalls!.at(-1)!;
  assert.equal(more.errnoRet, 7);
  assert.deepEqual(more.args!.map(({ op }) => op.replace("SCMP_CMP_", "")), "EQ NE GT GE LT LE MASKED_EQ".split(" "));
  assert.deepEqual(more.args![0], { index: 0, value: 2n ** 64n - 1n, valueTwo: 3, op: "SCMP_CMP_EQ" });
});

test("runcProfile() gives nothing for a container without, and refuses numbers that it does not know", [], () => {
  assert.equal(runcProfile(recordOf("null")), undefined);
  assert.throws(() => runcProfile(recordOf('{"default_action":77}')), /seccomp profile with SCMP_ACT_77/);
});
