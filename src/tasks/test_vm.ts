/**
 * `deno task test:vm [--core] [--filter TEXT] [MACHINE...] [FILE...]`: the tests that need a kernel of their own, in
 * virtual machines: with cgroup v2 alone, run by systemd, with AppArmor, with systemd and v1; or the test files that are
 * named. The program under test is $RUNK, else the bundle, and where it was built the executable in the core tests, too.
 * The last line is the count over all.
 */
import { countTests } from "./test.ts";
import { exists } from "../files.ts";
import { install } from "./packages.ts";
import { boot, type Machine } from "./vm/boot.ts";
import { cacheDirectory, type Payload, payloadDisk, type System, systemDisk } from "./vm/disks.ts";

const PACKAGES = {
  "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
  "/usr/sbin/debootstrap": "debootstrap",
  "/sbin/mke2fs": "e2fsprogs",
};

interface Guest extends Machine {
  /** Test files, of the short run and of the whole one. */
  readonly core: readonly string[];
  readonly all: readonly string[];
}

const integration = (...names: string[]) => names.map((name) => `tests/integration/${name}_test.ts`);
const PLAIN_V2 = "cgroup_no_v1=all init=/sbin/plain-init";

const GUESTS: readonly Guest[] = [
  {
    name: "cgroup2",
    kernelArguments: PLAIN_V2,
    core: ["tests/vm/cgroup2_test.ts", ...integration("cgroup_writes", "cgroup_limits", "cgroups")],
    all: [
      "tests/vm/cgroup2_test.ts",
      "tests/vm/clock_test.ts",
      "tests/vm/subgroups_test.ts",
      ...integration(
        "cgroup_writes",
        "cgroup_limits",
        "cgroups",
        "update",
        "pause",
        "events",
        "ps",
        "crash",
        "many",
        "nested",
      ),
    ],
  },
  {
    // What does not depend on cgroups, under the same kernel.
    name: "kernel",
    kernelArguments: PLAIN_V2,
    core: [],
    all: integration("hardening_process", "hardening_rootfs", "lifecycle", "process", "mounts", "seccomp"),
  },
  {
    name: "criu",
    kernelArguments: PLAIN_V2,
    core: ["tests/vm/checkpoint_test.ts"],
    all: ["tests/vm/checkpoint_test.ts"],
  },
  {
    name: "systemd",
    kernelArguments: "cgroup_no_v1=all apparmor=1 security=apparmor systemd.show_status=false systemd.getty_auto=0",
    core: ["tests/vm/systemd_test.ts", "tests/vm/apparmor_test.ts"],
    all: [
      "tests/vm/systemd_test.ts",
      "tests/vm/apparmor_test.ts",
      "tests/vm/rootless_test.ts",
      "tests/vm/clients_test.ts",
      "tests/vm/cri_test.ts",
      "tests/vm/units_test.ts",
      "tests/vm/checkpoint_systemd_test.ts",
      "tests/vm/subgroups_test.ts",
    ],
  },
  {
    name: "systemd-v1",
    kernelArguments: "systemd.unified_cgroup_hierarchy=0 systemd.show_status=false systemd.getty_auto=0",
    core: [],
    all: ["tests/vm/systemd_v1_test.ts", "tests/vm/checkpoint_test.ts"],
  },
];

const [BUNDLE, EXECUTABLE] = ["dist/runk.js", "dist/runk"];

/** Seconds for a machine to come up, run its tests and go down, on a slow host without KVM. */
const DEADLINE = { core: 1200, all: 1200, named: 3600 };

async function main(): Promise<number> {
  const { isCore, filter, guests, files } = options([...Deno.args]);
  await install(PACKAGES);
  const missing = Object.keys(PACKAGES).find((path) => !exists(path));
  if (Deno.uid() !== 0 || Deno.build.arch !== "x86_64" || missing !== undefined) {
    console.log(`skipped: the virtual machines: they take root on x86_64, and ${missing ?? "qemu and debootstrap"}`);
    console.log("0 passed, 0 failed, 1 skipped");
    return 0;
  }
  const system = await systemDisk(cacheDirectory());
  const total = { passed: 0, failed: 0, skipped: 0 };
  const runAll = async (program: string, isCore: boolean) => {
    const deadline = files.length > 0 ? DEADLINE.named : isCore ? DEADLINE.core : DEADLINE.all;
    // Side by side: a machine rarely keeps more than one CPU busy.
    await Promise.all(guests.map(async (guest) => {
      const tests = (files.length > 0 ? files : isCore ? guest.core : guest.all).filter(exists);
      if (tests.length === 0) return;
      const start = Date.now();
      const count = await runGuest(guest, system, { tests, program, filter }, deadline);
      console.log(`vm ${guest.name}: ${program}: ${format(count)} in ${Math.round((Date.now() - start) / 1000)} s`);
      for (const key of ["passed", "failed", "skipped"] as const) total[key] += count[key];
    }));
  };
  const program = Deno.env.get("RUNK");
  await runAll(program ?? BUNDLE, isCore);
  if (program === undefined && !isCore && files.length === 0) {
    if (exists(EXECUTABLE)) await runAll(EXECUTABLE, true);
    else console.log(`skipped: the executable's core tests: ${EXECUTABLE} is not there (deno task build)`);
  }
  console.log(format(total));
  return total.failed === 0 ? 0 : 1;
}

/** Boots a machine and counts its tests; one that does not come to its end has failed, and its console says how. */
async function runGuest(guest: Guest, system: System, payload: Payload, deadline: number) {
  const directory = await Deno.makeTempDir({ prefix: "runk-vm-" });
  try {
    const outcome = await boot(guest, system, await payloadDisk(payload, directory), directory, deadline);
    const count = countTests(outcome.report);
    console.log(`\n== vm ${guest.name}\n${outcome.console.replaceAll("\r", "")}`);
    if (!outcome.report.includes("</testsuites>")) {
      console.log(`vm ${guest.name} ${outcome.isComplete ? "ended without a report" : "was not done in time"}`);
      count.failed++;
    }
    return count;
  } catch (error) {
    console.log(error instanceof Error ? error.message : error);
    return { passed: 0, failed: 1, skipped: 0 };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

interface Options {
  readonly isCore: boolean;
  readonly filter: string | undefined;
  readonly guests: readonly Guest[];
  /** Test files in place of the guests' own. */
  readonly files: readonly string[];
}

function options(args: string[]): Options {
  let [isCore, filter] = [false, undefined as string | undefined];
  const [names, files]: [string[], string[]] = [[], []];
  for (let arg = args.shift(); arg !== undefined; arg = args.shift()) {
    if (arg === "--core") isCore = true;
    else if (arg === "--filter") filter = args.shift();
    else (arg.endsWith("_test.ts") ? files : names).push(arg);
  }
  const unknown = names.find((name) => !GUESTS.some((guest) => guest.name === name));
  if (unknown !== undefined) {
    throw new Error(`unknown machine ${unknown}: ${GUESTS.map(({ name }) => name).join(" or ")}`);
  }
  const guests = names.length === 0 ? GUESTS : GUESTS.filter(({ name }) => names.includes(name));
  return { isCore, filter, guests, files };
}

const format = ({ passed, failed, skipped }: { passed: number; failed: number; skipped: number }) =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`;

if (import.meta.main) Deno.exit(await main());
