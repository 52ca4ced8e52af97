/** How the kernel runs the process: CPUs, scheduler, I/O priority, memory policy, execution domain. */
import {
  IOPRIO_CLASS_SHIFT,
  IOPRIO_CLASSES,
  IOPRIO_WHO_PROCESS,
  MEMORY_POLICIES,
  MEMORY_POLICY_FLAGS,
  PERSONALITIES,
  SCHED_ATTR_SIZE,
  SCHED_FLAGS,
  SCHED_POLICIES,
  valueOf,
} from "../../abi/scheduling.ts";
import { E } from "../../abi/errno.ts";
import { idMask, IDS_MAX, parseIdList } from "../../spec/id_list.ts";
import type { Linux, Process } from "../../spec/schema.ts";
import { bytes, type Lane, slot, words } from "../builder.ts";
import type { Operand } from "../types.ts";

const SELF = 0;

/**
 * The caller may be bound to some CPUs; the container is not to be. More CPUs than there are do no harm: the kernel
 * keeps those that it has and that the cpuset allows, and remembers the wish for when the cpuset grows.
 */
export function resetAffinity(lane: Lane): void {
  const size = IDS_MAX / 8;
  lane.task("run on any CPU, whatever CPUs the caller is bound to");
  lane.sys("sched_setaffinity", [SELF, size, bytes(new Uint8Array(size).fill(0xff), "{all}")], {
    tolerate: [E.PERM, E.INVAL],
  });
}

/** Exec's own affinity before it joins the cgroups ("initial"), and after ("final"); checks have seen to the lists. */
export function setAffinity(lane: Lane, process: Process, when: "initial" | "final"): void {
  const list = process.execCPUAffinity?.[when] ?? "";
  const ids = parseIdList(list);
  if (ids.length === 0) return;
  const mask = idMask(ids);
  lane.task(`run on CPUs ${list} (${when === "initial" ? "before" : "from the time"} the cgroups are joined)`, {
    path: `/process/execCPUAffinity/${when}`,
    error: `error setting ${when} CPU affinity`,
  });
  lane.sys("sched_setaffinity", [SELF, 8 * mask.length, words(mask, `{${list}}`)]);
}

/** The process is bound to CPUs of its own. */
export const hasAffinity = ({ execCPUAffinity: { initial = "", final = "" } = {} }: Process): boolean =>
  parseIdList(initial).length + parseIdList(final).length > 0;

/** Host lane: scheduler and I/O priority of the process in slot "pid", which may have no right to them itself. */
export function schedule(host: Lane, process: Process, hasCpuset: boolean): void {
  const { scheduler, ioPriority } = process;
  if (scheduler !== undefined) {
    const { policy, nice = 0, priority = 0, flags = [], runtime = 0, deadline = 0, period = 0 } = scheduler;
    const attributes = new DataView(new ArrayBuffer(SCHED_ATTR_SIZE));
    attributes.setUint32(0, SCHED_ATTR_SIZE, true);
    attributes.setUint32(4, valueOf(SCHED_POLICIES, policy) ?? 0, true);
    attributes.setBigUint64(8, BigInt(flags.reduce((sum, flag) => sum | (valueOf(SCHED_FLAGS, flag) ?? 0), 0)), true);
    attributes.setInt32(16, nice, true);
    attributes.setUint32(20, priority, true);
    [runtime, deadline, period].forEach((value, i) => attributes.setBigUint64(24 + 8 * i, BigInt(value), true));
    const means = [
      policy.toLowerCase(),
      ...(nice === 0 ? [] : [`nice ${nice}`]),
      ...(priority === 0 ? [] : [`priority ${priority}`]),
      ...(runtime === 0 ? [] : [`${runtime} of ${deadline} ns, every ${period} ns`]),
      ...flags.map((flag) => flag.slice("SCHED_FLAG_".length).toLowerCase()),
    ].join(", ");
    const [denied, done] = [host.builder.unique("scheduler denied"), host.builder.unique("scheduled")];
    host.task("set the scheduler", { path: "/process/scheduler", error: "error setting scheduler" });
    const arguments_ = [slot("pid"), bytes(new Uint8Array(attributes.buffer), `{${means}}`), 0];
    host.sys("sched_setattr", arguments_, { tolerate: [E.PERM], to: denied });
    host.jump(done).label(denied).fail(denial(policy, hasCpuset), undefined, E.PERM).label(done);
  }
  if (ioPriority === undefined) return;
  const value = ((valueOf(IOPRIO_CLASSES, ioPriority.class) ?? 0) << IOPRIO_CLASS_SHIFT) | (ioPriority.priority ?? 0);
  host.task("set the I/O priority", { path: "/process/ioPriority", error: "failed to set io priority" });
  host.sys("ioprio_set", [IOPRIO_WHO_PROCESS, slot("pid"), value]);
}

/** What EPERM means here, which is rarely a missing privilege. */
const denial = (policy: string, hasCpuset: boolean) =>
  hasCpuset
    ? "process scheduler can't be used together with AllowedCPUs"
    : policy === "SCHED_FIFO" || policy === "SCHED_RR"
    ? "error setting scheduler (where cgroups share real-time out, linux.resources.cpu.realtimeRuntime is needed)"
    : "error setting scheduler";

/** Container lane: what a process can set for itself only. */
export function setDomains(
  box: Lane,
  { memoryPolicy, personality }: Pick<Linux, "memoryPolicy" | "personality">,
): void {
  if (personality !== undefined) {
    box.task("set the execution domain", { path: "/linux/personality", error: "failed to set personality" });
    box.sys("personality", [valueOf(PERSONALITIES, personality.domain) ?? 0]);
  }
  if (memoryPolicy === undefined) return;
  const { mode = "", nodes = "", flags = [] } = memoryPolicy;
  const ids = parseIdList(nodes);
  const mask = idMask(ids);
  const bits = flags.reduce((sum, flag) => sum | (valueOf(MEMORY_POLICY_FLAGS, flag) ?? 0), 0);
  // The kernel counts one more node than it reads.
  const set: Operand[] = ids.length === 0 ? [0, 0] : [words(mask, `{${nodes}}`), 64 * mask.length + 1];
  box.task("set the memory policy", { path: "/linux/memoryPolicy", error: "set_mempolicy" });
  box.sys("set_mempolicy", [(valueOf(MEMORY_POLICIES, mode) ?? 0) | bits, ...set]);
}
