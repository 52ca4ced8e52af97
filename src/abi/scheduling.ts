/**
 * How a process is scheduled and where its memory comes from: names that config.json uses, with the kernel's numbers,
 * the same on both machines.
 * Source: include/uapi/linux/{sched,sched/types,ioprio,mempolicy,personality}.h of Linux 6.18.
 */

/** Policies of sched_setattr(2). SCHED_ISO has a number and no implementation. */
export const SCHED_POLICIES = {
  SCHED_OTHER: 0,
  SCHED_FIFO: 1,
  SCHED_RR: 2,
  SCHED_BATCH: 3,
  SCHED_ISO: 4,
  SCHED_IDLE: 5,
  SCHED_DEADLINE: 6,
} as const;

export const SCHED_FLAGS = {
  SCHED_FLAG_RESET_ON_FORK: 1,
  SCHED_FLAG_RECLAIM: 2,
  SCHED_FLAG_DL_OVERRUN: 4,
  SCHED_FLAG_KEEP_POLICY: 8,
  SCHED_FLAG_KEEP_PARAMS: 16,
  SCHED_FLAG_UTIL_CLAMP_MIN: 32,
  SCHED_FLAG_UTIL_CLAMP_MAX: 64,
} as const;

/** struct sched_attr: size, policy (32 bits); flags (64); nice, priority (32); runtime, deadline, period (64); clamps. */
export const SCHED_ATTR_SIZE = 56;

/** ioprio_set(2): the class stands above 13 bits of priority. */
export const IOPRIO_CLASSES = { IOPRIO_CLASS_RT: 1, IOPRIO_CLASS_BE: 2, IOPRIO_CLASS_IDLE: 3 } as const;
export const IOPRIO_CLASS_SHIFT = 13;
export const IOPRIO_WHO_PROCESS = 1;

/** Modes and their flags, of set_mempolicy(2). */
export const MEMORY_POLICIES = {
  MPOL_DEFAULT: 0,
  MPOL_PREFERRED: 1,
  MPOL_BIND: 2,
  MPOL_INTERLEAVE: 3,
  MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5,
  MPOL_WEIGHTED_INTERLEAVE: 6,
} as const;
export const MEMORY_POLICY_FLAGS = {
  MPOL_F_NUMA_BALANCING: 0x2000,
  MPOL_F_RELATIVE_NODES: 0x4000,
  MPOL_F_STATIC_NODES: 0x8000,
} as const;

/** Execution domains of personality(2) that the runtime specification has. */
export const PERSONALITIES = { LINUX: 0, LINUX32: 8 } as const;

/** The value of a name in one of the sets above; undefined for one that is not in it. */
export const valueOf = (set: Readonly<Record<string, number>>, name: string): number | undefined =>
  Object.hasOwn(set, name) ? set[name] : undefined;
