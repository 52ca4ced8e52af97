/**
 * `deno task test [SUITE...]`: installs what the tests need, builds what they test, runs every suite, and ends with the
 * count over all of them. As root everything runs; without, what needs root is skipped, and says so.
 */
import { exists } from "../files.ts";
import { install } from "./packages.ts";

const SUITES = ["unit", "golden", "init", "integration", "clients", "vm"];

/** Files that run at the same time, on machines with the processors for it. */
const JOBS = Math.min(2, navigator.hardwareConcurrency);
/** Suites whose daemons need the machine for themselves. */
const ALONE = ["clients"];
/** Seconds after which a test file hangs. */
const FILE_PATIENCE = 1200;

/** Programs that tests use -> the Debian packages that have them. */
const PACKAGES: Readonly<Record<string, string>> = {
  "/bin/busybox": "busybox-static",
  "/usr/sbin/runc": "runc",
  "/usr/sbin/criu": "criu",
  "/usr/bin/strace": "strace",
  "/usr/bin/ps": "procps",
  "/usr/bin/containerd": "containerd",
  "/usr/sbin/dockerd": "docker.io",
  "/usr/bin/podman": "podman",
  "/usr/bin/buildah": "buildah",
  "/usr/bin/catatonit": "catatonit",
  "/usr/bin/zsh": "zsh",
  "/usr/bin/fish": "fish",
  "/usr/bin/mandoc": "mandoc",
  "/usr/bin/qemu-aarch64-static": "qemu-user-static",
  "/usr/sbin/debootstrap": "debootstrap",
  "/usr/bin/python3": "python3",
  "/usr/bin/newuidmap": "uidmap",
  "/usr/share/doc/python3-seccomp": "python3-seccomp",
};

interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

async function run(program: string, args: readonly string[]): Promise<number> {
  const child = new Deno.Command(program, { args: [...args], stdin: "null" }).spawn();
  return (await child.status).code;
}

interface FileRun {
  readonly file: string;
  readonly count: Count;
}

/** Runs one test file in a process of its own, and counts its tests from the report that deno test writes. */
async function runFile(file: string, reports: string): Promise<FileRun> {
  const report = `${reports}/${file.replaceAll("/", "-")}-${++reportCount}.xml`;
  const start = Date.now();
  const { code, stdout, stderr } = await new Deno.Command("timeout", {
    args: [
      ...["--kill-after=30", String(FILE_PATIENCE), Deno.execPath()],
      ...["test", "--allow-all", "--no-check", `--junit-path=${report}`, file],
    ],
    stdin: "null",
  }).output();
  const count = exists(report) ? countTests(await Deno.readTextFile(report)) : { passed: 0, failed: 0, skipped: 0 };
  // A file that broke down outside its tests failed, whatever it counted.
  if (code !== 0 && count.failed === 0) count.failed = 1;
  const seconds = Math.round((Date.now() - start) / 1000);
  console.log(`\n-- ${file}: ${format(count)}, in ${seconds} s`);
  for (const output of [stdout, stderr]) await write(output);
  return { file, count };
}
let reportCount = 0;

async function write(bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await Deno.stdout.write(bytes.subarray(done));
}

/**
 * Runs a suite, some files at a time. A file in which something failed is run once more, by itself: what passes then was
 * disturbed by the machine, and is told as unsteady at the end; what fails again has failed.
 */
async function runSuite(name: string, reports: string): Promise<Count> {
  console.log(`\n== ${name}`);
  const files = testFiles(`tests/${name}`);
  const runs: FileRun[] = [];
  const worker = async () => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) runs.push(await runFile(file, reports));
  };
  await Promise.all(Array.from({ length: ALONE.includes(name) ? 1 : JOBS }, worker));
  const total: Count = { passed: 0, failed: 0, skipped: 0 };
  for (const run of runs) {
    let { count } = run;
    if (count.failed > 0) {
      console.log(`\n${run.file} is run once more`);
      ({ count } = await runFile(run.file, reports));
      if (count.failed === 0) unsteady.push(`${run.file} (${run.count.failed} failed at first)`);
    }
    add(total, count);
  }
  return total;
}
const unsteady: string[] = [];

/** The files of a suite, those in folders of it included, in order. */
function testFiles(directory: string): string[] {
  return [...Deno.readDirSync(directory)].sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap(
    ({ name, isDirectory }) => {
      const path = `${directory}/${name}`;
      return isDirectory ? testFiles(path) : name.endsWith("_test.ts") ? [path] : [];
    },
  );
}

function add(total: Count, count: Count): void {
  for (const key of ["passed", "failed", "skipped"] as const) total[key] += count[key];
}

/** The core of the tests in virtual machines, which count by themselves. */
async function runMachines(): Promise<Count> {
  console.log("\n== vm");
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "src/tasks/test_vm.ts", "--core"],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let text = "";
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    Deno.stdout.writeSync(new TextEncoder().encode(chunk));
    text += chunk;
  }
  await child.status;
  const count = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(text.trimEnd().split("\n").at(-1) ?? "");
  const [passed, failed, skipped] = (count ?? ["", "0", "1", "0"]).slice(1).map(Number) as [number, number, number];
  return { passed, failed, skipped };
}

/** Counts the test cases of a JUnit report. */
export function countTests(junit: string): Count {
  const count: Count = { passed: 0, failed: 0, skipped: 0 };
  for (const [, selfClosed, content] of junit.matchAll(/<testcase\b[^>]*?(?:(\/)>|>([\s\S]*?)<\/testcase>)/g)) {
    if (selfClosed === "/") count.passed++;
    else if (/<(failure|error)\b/.test(content!)) count.failed++;
    else if (/<skipped\b/.test(content!)) count.skipped++;
    else count.passed++;
  }
  return count;
}

async function main(): Promise<number> {
  const asked = Deno.args.length === 0 ? SUITES : Deno.args;
  const unknown = asked.find((name) => !SUITES.includes(name));
  if (unknown !== undefined) {
    console.error(`unknown suite ${JSON.stringify(unknown)}: one of ${SUITES.join(" ")} is expected`);
    return 2;
  }
  await install(PACKAGES);
  if (Deno.env.get("RUNK") === undefined && (await run(Deno.execPath(), ["task", "-q", "bundle"])) !== 0) return 1;
  const reports = await Deno.makeTempDir({ prefix: "runk-reports-" });
  const total: Count = { passed: 0, failed: 0, skipped: 0 };
  for (const name of asked.filter((name) => exists(`tests/${name}`))) {
    const count = await (name === "vm" ? runMachines() : runSuite(name, reports));
    console.log(`${name}: ${format(count)}`);
    add(total, count);
  }
  if (unsteady.length > 0) console.log(`\nunsteady: ${unsteady.join(", ")}`);
  await Deno.remove(reports, { recursive: true });
  console.log(format(total));
  return total.failed === 0 ? 0 : 1;
}

const format = ({ passed, failed, skipped }: Count) => `${passed} passed, ${failed} failed, ${skipped} skipped`;

if (import.meta.main) Deno.exit(await main());
