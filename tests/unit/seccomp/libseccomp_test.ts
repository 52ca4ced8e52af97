/** Our filters beside libseccomp's, over the profiles of real clients: the same verdicts, for no more instructions. */
import assert from "node:assert/strict";
import { compileProfile } from "../../../src/seccomp/compile.ts";
import { describeReturn, interpret } from "../../../src/seccomp/interpret.ts";
import { AUDIT_ARCH, type CallArch } from "../../../src/seccomp/names.ts";
import { syscallTable, X32_BIT } from "../../../src/seccomp/syscalls.ts";
import { parseJson } from "../../../src/spec/json.ts";
import type { Seccomp, Spec } from "../../../src/spec/schema.ts";
import { type Job, libseccompFilters, NEEDS } from "../../support/libseccomp.ts";
import { test } from "../../support/test.ts";

const CONFIGS = new URL("../../fixtures/configs/", import.meta.url);
const ENOSYS = 0x00050026;
const ARM_PRIVATE = 0xf0000;
/** Values around everything that the profiles compare with, and the borders of words. */
const VALUES = [
  ...[0n, 1n, 2n, 8n, 9n, 16n, 40n, 0x20000n, 0x20008n, 0x7e020000n, 0x10000000n, 0x40000000n, 0x80000000n],
  ...[0xfffffffen, 0xffffffffn, 0x100000000n, 0x100000008n, 0x1000000ffn, 0x7fffffffffffffffn, 0xffffffffffffffffn],
];
const NUMBERS = [
  ...Array.from({ length: 560 }, (_, i) => i),
  ...Array.from({ length: 560 }, (_, i) => X32_BIT + i),
  ...[0x3fffffff, 0x7fffffff, 0x80000000, 0x80000001, 0xbfffffff, 0xc0000000, 0xfffffffe, 0xffffffff],
  ...Array.from({ length: 8 }, (_, i) => ARM_PRIVATE + i),
];

/** The distinct profiles of the clients' configs, by the name of one that has it. */
function profiles(): [string, Seccomp][] {
  const result = new Map<string, [string, Seccomp]>();
  for (const { name } of [...Deno.readDirSync(CONFIGS)].sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (!name.endsWith(".json")) continue;
    const { linux } = parseJson(Deno.readTextFileSync(new URL(name, CONFIGS))) as Spec;
    const text = JSON.stringify(linux?.seccomp);
    if (text !== undefined && !result.has(text)) result.set(text, [name.replace(".json", ""), linux!.seccomp!]);
  }
  return [...result.values()];
}

/** The architectures that a machine tells apart, as far as a profile names them. */
function sections({ native, profile }: Job): CallArch[] {
  const all: CallArch[] = native === "x86_64" ? ["x86_64", "x86", "x32"] : ["aarch64", "arm"];
  return all.filter((arch) => arch === native || profile.architectures?.includes(`SCMP_ARCH_${arch.toUpperCase()}`));
}

const auditArch = (arch: CallArch) => AUDIT_ARCH[arch === "x32" ? "x86_64" : arch];

/** runc's rule, which libseccomp does not have: calls newer than all that the profile names do not exist. */
function isNewer(job: Job, arch: number, number: number): boolean {
  const isX32 = arch === AUDIT_ARCH.x86_64 && (number & X32_BIT) !== 0;
  const section = sections(job).find((name) => auditArch(name) === arch && (name === "x32") === isX32);
  if (section === undefined) return false;
  const numbers = job.profile.syscalls!.flatMap(({ names }) =>
    names.map((name) => syscallTable(section).get(name) ?? 0)
  );
  const newest = Math.max(...numbers.filter((number) => (number & ~X32_BIT) < ARM_PRIVATE));
  return newest > 0 && number > newest && !numbers.includes(number);
}

for (const native of ["x86_64", "aarch64"] as const) {
  test(
    `clients' profiles mean on ${native} what libseccomp makes of them, for no more instructions`,
    NEEDS,
    async () => {
      const jobs: (Job & { name: string })[] = profiles().map(([name, clients]) => {
        const architectures = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
        const profile = native === "x86_64" ? clients : { ...clients, architectures };
        return { name, native, profile, optimize: true };
      });
      assert.ok(jobs.length >= 4, "Docker's, containerd's and Podman's");
      const theirs = await libseccompFilters(jobs);
      for (const [i, job] of jobs.entries()) {
        const their = theirs[i]!;
        assert.ok(typeof their !== "string", `${job.name}: ${their}`);
        const { instructions } = compileProfile(job.profile, native);
        const arches = [...Object.values(AUDIT_ARCH), 0, 0xc00000f3];
        for (const arch of arches) {
          for (const number of NUMBERS) {
            const isNew = isNewer(job, arch, number);
            const calls = VALUES.flatMap((value) => [[value], [0n, value], [value, 0n, value]]).map((args) => ({
              arch,
              number,
              args,
            }));
            for (const call of isNew ? calls.slice(0, 1) : calls) {
              const expected: number = isNew ? ENOSYS : interpret(their, call).value;
              const { value } = interpret(instructions, call);
              if (value === expected) continue;
              const shown = `call ${number} of ${arch.toString(16)} with ${call.args}`;
              assert.fail(`${job.name}: ${shown}: ${describeReturn(value)}, not ${describeReturn(expected)}`);
            }
          }
        }
        for (const arch of sections(job)) {
          const calls = [...syscallTable(arch).values()].map((number) => ({ number, arch: auditArch(arch) }));
          const mean = (program: typeof instructions) =>
            calls.reduce((sum, call) => sum + interpret(program, call).steps, 0) / calls.length;
          const [ours, others] = [mean(instructions), mean(their)];
          const length = `${instructions.length} instructions (${their.length})`;
          console.log(
            `${job.name} ${arch}: ${ours.toFixed(1)} a call (libseccomp ${others.toFixed(1)}), ${length}`,
          );
          assert.ok(ours <= others, `${job.name}, ${arch}: ${ours} instructions a call, libseccomp has ${others}`);
        }
      }
    },
  );
}
