/** The kernel itself, and what runk's own process needs. */
import { CAPABILITIES } from "../../abi/names.ts";
import { E, errnoText } from "../../abi/errno.ts";
import type { SyscallName } from "../../abi/syscalls.ts";
import { SysError } from "../../errors.ts";
import { tryCall } from "../../../ffi/call.ts";
import { libcVersion } from "../../../ffi/libc_version.ts";
import { memfdExecutable } from "../../../ffi/process.ts";
import type { HostFacts } from "../../host/facts.ts";
import { type Finding, finding, read } from "./finding.ts";

const KERNEL_MIN = [5, 14] as const;
const GLIBC_MIN = [2, 27] as const;

/** The newer calls that every plan needs, each with arguments that a kernel which has it refuses. */
const CALLS: readonly SyscallName[] = [
  ...["clone3", "openat2", "open_tree", "move_mount", "fsopen", "fsmount", "mount_setattr", "close_range"] as const,
  ...["pidfd_open", "faccessat2"] as const,
];

/** To these, EPERM may be for want of a mount namespace of one's own. */
const NEED_RIGHTS: readonly SyscallName[] = ["move_mount", "fsopen", "fsmount"];

const isAtLeast = (version: string, [major, minor]: readonly [number, number]) => {
  const [a = 0, b = 0] = version.split(".").map((part) => parseInt(part));
  return a > major || (a === major && b >= minor);
};

/** What the kernel and the C library offer. */
export function kernel(facts: HostFacts): Finding[] {
  const release = Deno.osRelease();
  const libc = libcVersion();
  // Bad arguments: ENOSYS where there is no such call, EPERM where a filter (a container's, mostly) forbids it.
  const answers = CALLS.map((name) => [name, tryCall(name, -1, 0, 0, 0, 0)] as const);
  const missing = answers.filter(([name, answer]) =>
    answer === -E.NOSYS || (answer === -E.PERM && !NEED_RIGHTS.includes(name))
  );
  const memfd = tryMemfd();
  return [
    finding("kernel", "kernel.version", isAtLeast(release, KERNEL_MIN), {
      found: `Linux ${release} on ${facts.arch}`,
      use: `${KERNEL_MIN.join(".")} or newer has every system call that a plan is made of`,
      required: true,
      cure: "run a newer kernel",
    }),
    finding("kernel", "kernel.calls", missing.length === 0, {
      found: missing.length === 0
        ? `${CALLS.length} newer calls are there`
        : missing.map(([name, answer]) => `${name}: ${errnoText(-answer)}`).join(", "),
      use: "making containers",
      required: true,
      cure: "allow these calls: inside a container its seccomp profile may forbid them",
    }),
    finding("kernel", "kernel.libc", libc !== undefined && isAtLeast(libc, GLIBC_MIN), {
      found: libc === undefined ? "no GNU libc" : `glibc ${libc}`,
      use: `${GLIBC_MIN.join(".")} or newer runs the executable`,
      required: true,
      cure: "use a distribution with glibc",
    }),
    finding("kernel", "kernel.memfd", memfd === undefined ? true : "partly", {
      found: `${memfd ?? "programs run from memory"} (vm.memfd_noexec = ${
        read("/proc/sys/vm/memfd_noexec")?.trim() ?? "unknown"
      })`,
      use: "the executor without a file; where that is forbidden a file in the state directory takes its place",
      cure: "sysctl vm.memfd_noexec=0, or keep the state root on a file system that is not mounted noexec",
    }),
    capabilities(facts),
  ];
}

/** Why nothing can be run from memory; undefined when it can. */
function tryMemfd(): string | undefined {
  try {
    using _fd = memfdExecutable("runk-doctor", new Uint8Array(1));
    return undefined;
  } catch (error) {
    return error instanceof SysError ? errnoText(error.errno) : String(error);
  }
}

/** Root without all rights is root in a container, or under a service manager's restrictions. */
function capabilities({ uid, lastCapability }: HostFacts): Finding {
  const mask = BigInt("0x" + (/^CapEff:\s*(\w+)$/m.exec(read("/proc/self/status") ?? "")?.[1] ?? "0"));
  const missing = CAPABILITIES.slice(0, lastCapability + 1).filter((_, i) => ((mask >> BigInt(i)) & 1n) === 0n);
  const found = uid !== 0
    ? `uid ${uid}: an ordinary user`
    : missing.length === 0
    ? "root with every capability"
    : `root without ${missing.join(", ")}`;
  return finding("kernel", "kernel.capabilities", uid !== 0 || missing.length > 0 ? "partly" : true, {
    found,
    use: "what the caller may not do, no container can be given (CAP_SYS_RESOURCE: hard limits above its own)",
    ...(uid !== 0 ? {} : { cure: "run runk with all capabilities where containers need them" }),
  });
}
