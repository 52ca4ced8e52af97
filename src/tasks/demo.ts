/**
 * `deno task demo`: runs a container whose root file system is made here, shows what its process saw, and how the
 * container was made.
 */
import { arch } from "../../ffi/libc.ts";
import { CAPABILITIES } from "../abi/names.ts";
import { demoProgram, parseSeen } from "./demo_program.ts";

const RUNK = new URL("../../dist/runk.js", import.meta.url).pathname;
const ID = `demo-${Deno.pid}`;
/** Without these no container can be made, whatever else its config asks for. */
const NEEDED = ["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_MKNOD", "CAP_SYS_CHROOT"];

interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function runk(args: readonly string[], cwd: string): Promise<Output> {
  const { code, stdout, stderr } = await new Deno.Command(RUNK, { args: [...args], cwd, stdin: "null" }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr).trim() };
}

/** A bundle with the default config, limits, and a program that says what it sees. */
async function makeBundle(directory: string): Promise<void> {
  for (const name of ["proc", "dev", "sys"]) await Deno.mkdir(`${directory}/rootfs/${name}`, { recursive: true });
  await Deno.writeFile(`${directory}/rootfs/look-around`, demoProgram(arch), { mode: 0o755 });
  const { code, stderr } = await runk(["spec"], directory);
  if (code !== 0) throw new Error(stderr);
  const path = `${directory}/config.json`;
  const config = JSON.parse(await Deno.readTextFile(path));
  config.hostname = "box";
  config.process.terminal = false;
  config.process.args = ["/look-around"];
  config.linux.namespaces.push({ type: "cgroup" });
  config.linux.resources.pids = { limit: 16 };
  await Deno.writeTextFile(path, JSON.stringify(config, undefined, 2));
}

/** What the container's process saw, beside what is outside. */
function report(output: string): string {
  const seen = parseSeen(output);
  const field = (text: string, name: string) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(text)?.[1] ?? "?";
  const outside = (path: string) => Deno.readTextFileSync(path).trim();
  const status = outside("/proc/self/status");
  const lines = (text: string) => text.split("\n").filter((line) => line.trim() !== "");
  const interfaces = (text: string) => lines(text).slice(2).map((line) => line.split(":")[0]!.trim()).join(" ");
  const capabilities = (text: string) => {
    const bits = BigInt("0x" + field(text, "CapEff"));
    return CAPABILITIES.filter((_, i) => (bits >> BigInt(i)) & 1n).length + " capabilities";
  };
  const cgroups = (text: string) => [...new Set(lines(text).map((line) => line.split(":")[2]))].join(" ");
  const rows = [
    ["", "inside", "outside"],
    ["process id", field(seen.status, "Pid"), field(status, "Pid")],
    ["last process id given out", seen.processes, outside("/proc/sys/kernel/ns_last_pid")],
    ["host name", seen.hostname, outside("/proc/sys/kernel/hostname")],
    ["mounts", String(lines(seen.mounts).length), String(lines(outside("/proc/self/mountinfo")).length)],
    ["root file system", ...[seen.mounts, outside("/proc/self/mountinfo")].map(rootMount)],
    ["network interfaces", interfaces(seen.network), interfaces(outside("/proc/net/dev"))],
    ["cgroup", cgroups(seen.cgroup), cgroups(outside("/proc/self/cgroup"))],
    ["may", capabilities(seen.status), capabilities(status)],
    ["no new privileges", ...[seen.status, status].map((text) => (field(text, "NoNewPrivs") === "1" ? "yes" : "no"))],
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]!.length)) + 2);
  return rows.map(([name, inside, outside]) =>
    `  ${name!.padEnd(widths[0]!)}${inside!.padEnd(widths[1]!)}${outside}`.trimEnd()
  ).join("\n");
}

/** "ro on ext4" for the mount at "/". */
function rootMount(mountinfo: string): string {
  const root = mountinfo.split("\n").map((line) => line.split(" ")).findLast((fields) => fields[4] === "/");
  if (root === undefined) return "?";
  return `${root[5]!.split(",")[0]} on ${root[root.indexOf("-") + 1]}`;
}

/** What this process lacks for making containers: one line each. */
function missing(): string[] {
  const bits = BigInt("0x" + (/^CapEff:\s*(.*)$/m.exec(Deno.readTextFileSync("/proc/self/status"))?.[1] ?? "0"));
  const lacks = NEEDED.filter((name) => !((bits >> BigInt(CAPABILITIES.indexOf(name))) & 1n));
  const reasons: string[] = [];
  if (Deno.uid() !== 0) reasons.push(`you are uid ${Deno.uid()}: run it as root (sudo)`);
  if (lacks.length > 0) reasons.push(`without ${lacks.join(", ")} no namespace, mount or device can be made`);
  return reasons;
}

async function demo(): Promise<number> {
  const directory = await Deno.makeTempDir({ prefix: "runk-demo-" });
  await Deno.chmod(directory, 0o755);
  try {
    await makeBundle(directory);
    console.log(`\nA container: runk run ${ID}\n`);
    const result = await runk(["--root", `${directory}/state`, "run", ID], directory);
    if (result.code === 0) console.log(report(result.stdout));
    else {
      console.log("This machine does not let runk make a container here:");
      for (const line of [...missing(), result.stderr]) console.log(`  ${line}`);
    }
    console.log(`\nHow it is made, in short: runk plan --short ${ID}\n`);
    const plan = await runk(["plan", "--short", ID], directory);
    console.log((plan.code === 0 ? plan.stdout : plan.stderr).trimEnd());
    console.log("\nEvery system call of it: `runk plan ID` in a bundle's directory.");
    return plan.code;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await demo());
