/** Security modules, seccomp, keyrings, and what else narrows a process. */
import { statfsType } from "../../../ffi/statfs.ts";
import { FS_MAGIC } from "../../abi/flags.ts";
import { findResctrl } from "../../host/probe.ts";
import { isSeccompAction, supportedSeccompFlags } from "../../host/seccomp_support.ts";
import { ACTIONS, FLAGS } from "../../seccomp/names.ts";
import { exists, type Finding, finding, read } from "./finding.ts";

/** What confines processes on this machine. */
export function security(): Finding[] {
  const list = read("/sys/kernel/security/lsm");
  const enforce = read("/sys/fs/selinux/enforce");
  const hasSelinux = statfsType("/sys/fs/selinux") === FS_MAGIC.SELINUX;
  const hasApparmor = exists("/proc/self/attr/apparmor/exec") &&
    (read("/sys/module/apparmor/parameters/enabled") ?? "").startsWith("Y");
  const mountinfo = read("/proc/self/mountinfo") ?? "";
  const resctrl = findResctrl(mountinfo);
  return [
    finding("security", "security.apparmor", hasApparmor, {
      found: hasApparmor ? "enabled" : exists("/proc/self/attr/apparmor") ? "not enabled" : "not in this kernel",
      use: "process.apparmorProfile",
      cure: "boot with lsm=...,apparmor on a kernel that has it",
    }),
    finding("security", "security.selinux", hasSelinux, {
      found: hasSelinux ? (enforce === "1" ? "enforcing" : "permissive") : "not enabled",
      use: "process.selinuxLabel, linux.mountLabel",
      cure: "boot with selinux=1 on a kernel that has it, with a policy",
    }),
    finding("security", "security.lsm", list !== undefined, {
      found: list?.trim() ?? "the list is not to be seen (securityfs is not mounted)",
      use: "knowing which security modules are active",
      cure: "mount -t securityfs securityfs /sys/kernel/security",
    }),
    ...seccomp(),
    finding("security", "security.keyrings", exists("/proc/keys"), {
      found: exists("/proc/keys") ? "there" : "not in this kernel",
      use: "a session keyring of the container's own",
      cure: "a kernel with CONFIG_KEYS",
    }),
    finding("security", "security.resctrl", resctrl !== undefined, {
      found: resctrl === undefined
        ? "no resctrl file system is mounted"
        : `${resctrl.mountpoint}: ${resctrl.resources.join(" ")}`,
      use: "linux.intelRdt: shares of caches and memory bandwidth",
      cure: "mount -t resctrl resctrl /sys/fs/resctrl, on a processor that has it",
    }),
    finding("security", "security.numa", exists("/proc/self/numa_maps"), {
      found: exists("/proc/self/numa_maps")
        ? `memory nodes ${read("/sys/devices/system/node/online")?.trim() ?? "unknown"}`
        : "not in this kernel",
      use: "linux.memoryPolicy",
      cure: "a kernel with CONFIG_NUMA",
    }),
  ];
}

function seccomp(): Finding[] {
  const actions = Object.entries(ACTIONS).filter(([, value]) => isSeccompAction(value)).map(([name]) => name);
  const flags = supportedSeccompFlags();
  const short = (name: string) => name.replace(/^SCMP_ACT_|^SECCOMP_FILTER_FLAG_/, "");
  const missingFlags = Object.keys(FLAGS).map(short).filter((name) => !flags.has(name));
  const [all, known] = [Object.keys(ACTIONS).length, actions.length];
  const isFiltered = /^Seccomp:\s*2$/m.test(read("/proc/self/status") ?? "");
  return [
    finding("security", "security.seccomp", known === all ? true : known > 0 ? "partly" : false, {
      found: known === 0 ? "not in this kernel" : `actions ${actions.map(short).join(" ")}`,
      use: "linux.seccomp",
      cure: "a kernel with CONFIG_SECCOMP_FILTER; a newer one for the missing actions",
    }),
    finding("security", "security.seccompFlags", missingFlags.length === 0 ? true : flags.size > 0 ? "partly" : false, {
      found: missingFlags.length === 0 ? `flags ${[...flags].join(" ")}` : `without ${missingFlags.join(" ")}`,
      use: "flags of linux.seccomp",
      cure: "a newer kernel",
    }),
    finding("security", "security.unfiltered", !isFiltered, {
      found: isFiltered ? "this process is under a seccomp filter itself" : "no filter is on this process",
      use: "calls that a filter forbids here fail for containers, too",
      cure: "start runk outside of the container, or the container with a wider profile",
    }),
  ];
}
