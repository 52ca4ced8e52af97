/** Boots a virtual machine in QEMU, waits for its end, and hands out what it wrote to its serial ports. */
import type { System } from "./disks.ts";

export interface Machine {
  readonly name: string;
  /** Arguments of the kernel besides the root disk and the console. */
  readonly kernelArguments: string;
}

export interface Outcome {
  /** The guest switched itself off before the deadline. */
  readonly isComplete: boolean;
  readonly console: string;
  /** What the guest wrote to its second serial port. */
  readonly report: string;
}

const MEMORY = 2048;
const CPUS = 2;
/**
 * An emulator translates code once for every address that it is found at: with addresses at random, the megabytes of
 * Deno anew in every process, which is four fifths of the time of a start. Measures against leaks of CPUs that there
 * are not flush the emulated TLB at every system call.
 */
const FOR_SPEED = "norandmaps mitigations=off";

/** @param deadline seconds after which the machine is switched off the hard way */
export async function boot(
  machine: Machine,
  system: System,
  payload: string,
  directory: string,
  deadline: number,
): Promise<Outcome> {
  const accelerator = Deno.env.get("RUNK_VM_ACCEL");
  const [console, report] = [`${directory}/console`, `${directory}/report`];
  const disk = (name: string, file: string) => [
    ...["-drive", `file=${file},format=raw,if=none,id=${name},snapshot=on,discard=unmap`],
    ...["-device", `nvme-ns,drive=${name}`],
  ];
  const child = new Deno.Command("setpriv", {
    // Should this process be killed, the machine ends, too.
    args: [
      ...["--pdeathsig", "KILL", "qemu-system-x86_64"],
      // Emulated, unless asked for: a /dev/kvm inside a virtual machine need not work. The CPU has what programs expect.
      ...(accelerator === "kvm"
        ? ["-accel", "kvm", "-cpu", "host"]
        : ["-accel", "tcg,thread=multi", "-cpu", "Nehalem"]),
      ...["-name", `runk-${machine.name}`, "-m", String(MEMORY), "-smp", String(CPUS)],
      ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
      ...["-serial", `file:${console}`, "-serial", `file:${report}`, "-monitor", "none"],
      ...["-device", "nvme,serial=runk", ...disk("root", system.root), ...disk("payload", payload)],
      ...["-kernel", system.kernel, "-append"],
      `root=/dev/nvme0n1 rw console=ttyS0 panic=-1 quiet loglevel=4 psi=1 ${FOR_SPEED} ${machine.kernelArguments}`,
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let isComplete = true;
  const timer = setTimeout(() => {
    isComplete = false;
    child.kill("SIGKILL");
  }, deadline * 1000);
  try {
    const { code, stderr } = await child.output();
    const words = new TextDecoder().decode(stderr).trim();
    if (code !== 0 && isComplete) throw new Error(`qemu ended with status ${code}: ${words}`);
  } finally {
    clearTimeout(timer);
  }
  return { isComplete, console: await Deno.readTextFile(console), report: await Deno.readTextFile(report) };
}
