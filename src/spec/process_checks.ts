/**
 * What a process must satisfy beyond types, of config.json or of exec's process.json; and what of linux belongs to the
 * process. In runc's words where clients may match them. Pure.
 */
import { CAPABILITIES, RLIMITS } from "../abi/names.ts";
import {
  IOPRIO_CLASSES,
  MEMORY_POLICIES,
  MEMORY_POLICY_FLAGS,
  PERSONALITIES,
  SCHED_FLAGS,
  SCHED_POLICIES,
  valueOf,
} from "../abi/scheduling.ts";
import type { Warn } from "./checks.ts";
import { wrong } from "./errors.ts";
import { parseIdList } from "./id_list.ts";
import type { Linux, Process } from "./schema.ts";
import { checkTexts } from "./text_checks.ts";

/** (uid_t) -1 */
const NO_ID = 0xffffffff;
const UMASK_MAX = 0o777;
const OOM_SCORE_MAX = 1000;
const WINDOW_MAX = 0xffff;
const [NICE_MIN, NICE_MAX] = [-20, 19];
const [RT_PRIORITY_MIN, RT_PRIORITY_MAX] = [1, 99];
const IO_PRIORITY_MAX = 7;
/** What sched_setattr(2) takes as the least runtime: 1024 ns. */
const DEADLINE_RUNTIME_MIN = 1024n;

/**
 * Checks a process.
 * @throws {RunkError} for the first violation, naming the config path
 */
export function checkProcess(process: Process | undefined, warn: Warn): asserts process is Process {
  if (process === undefined) return wrong("process property must not be empty", "/process");
  const { cwd, args, user, oomScoreAdj } = process;
  if (!cwd) wrong("Cwd property must not be empty", "/process/cwd");
  if (!cwd!.startsWith("/")) wrong("Cwd must be an absolute path", "/process/cwd");
  if (args === undefined || args.length === 0) return wrong("args must not be empty", "/process/args");
  checkTexts(process, "/process");
  checkIds(user ?? {});
  if (user?.umask !== undefined && user.umask > UMASK_MAX) {
    wrong(`the umask ${user.umask} is more than 0777 (${UMASK_MAX})`, "/process/user/umask");
  }
  if (oomScoreAdj !== undefined && Math.abs(oomScoreAdj) > OOM_SCORE_MAX) {
    wrong(`oomScoreAdj ${oomScoreAdj} is not in the range from -1000 to 1000`, "/process/oomScoreAdj");
  }
  checkConsoleSize(process);
  checkRlimits(process);
  checkCapabilities(process, warn);
  checkScheduler(process);
  checkIoPriority(process);
  checkAffinity(process);
}

/** To the kernel, the highest number of all means "as it is": such a process would stay root. runc's words. */
function checkIds({ uid, gid, additionalGids = [] }: NonNullable<Process["user"]>): void {
  const all = [
    ["uid", uid],
    ["gid", gid],
    ...additionalGids.map((id, i) => [`additionalGids/${i}`, id] as const),
  ] as const;
  const [place] = all.find(([, id]) => id === NO_ID) ?? [];
  if (place !== undefined) {
    wrong(`unable to setup user: uids and gids must be in range 0-${NO_ID - 1}`, `/process/user/${place}`);
  }
}

/** Without a terminal the size means nothing, and the specification wants it ignored. */
function checkConsoleSize({ terminal, consoleSize }: Process): void {
  if (!terminal || consoleSize === undefined) return;
  for (const key of ["height", "width"] as const) {
    if (consoleSize[key] > WINDOW_MAX) {
      wrong(`a terminal's ${key} is at most ${WINDOW_MAX}, not ${consoleSize[key]}`, `/process/consoleSize/${key}`);
    }
  }
}

function checkRlimits({ rlimits }: Process): void {
  const seen = new Set<string>();
  rlimits?.forEach(({ type, soft, hard }, i) => {
    const path = `/process/rlimits/${i}`;
    if (!RLIMITS.includes(type)) wrong(`wrong rlimit value: ${type}`, path);
    if (seen.has(type)) wrong(`duplicated rlimit ${type}`, path);
    seen.add(type);
    if (BigInt(soft) > BigInt(hard)) {
      wrong(`the soft limit of ${type} (${soft}) is above the hard limit (${hard})`, path);
    }
  });
}

function checkCapabilities({ capabilities }: Process, warn: Warn): void {
  const { bounding, effective, inheritable, permitted, ambient } = capabilities ?? {};
  const unknown = [bounding, effective, inheritable, permitted, ambient].flatMap((names) => names ?? [])
    .filter((name) => name && !CAPABILITIES.includes(name));
  if (unknown.length > 0) warn(`ignoring unknown or unavailable capabilities: [${[...new Set(unknown)].join(" ")}]`);
  const extra = effective?.find((name) => CAPABILITIES.includes(name) && !permitted?.includes(name));
  if (extra === undefined) return;
  wrong(`unable to apply caps: ${extra} is effective and not permitted`, "/process/capabilities/effective");
}

function checkScheduler({ scheduler }: Process): void {
  if (scheduler === undefined) return;
  const at = "/process/scheduler";
  const { policy, nice = 0, priority = 0, flags = [] } = scheduler;
  if (policy === "") wrong("scheduler policy is required", `${at}/policy`);
  if (valueOf(SCHED_POLICIES, policy) === undefined) {
    wrong(`invalid scheduler policy: ${policy}: ${oneOf(SCHED_POLICIES)}`, `${at}/policy`);
  }
  flags.forEach((flag, i) => {
    if (valueOf(SCHED_FLAGS, flag) === undefined) {
      wrong(`invalid scheduler flag: ${flag}: ${oneOf(SCHED_FLAGS)}`, `${at}/flags/${i}`);
    }
  });
  const isNiced = policy === "SCHED_OTHER" || policy === "SCHED_BATCH";
  if (isNiced && (nice < NICE_MIN || nice > NICE_MAX)) {
    wrong(`invalid scheduler.nice: ${nice} when scheduler.policy is ${policy}`, `${at}/nice`);
  }
  const isRealtime = policy === "SCHED_FIFO" || policy === "SCHED_RR";
  if (priority !== 0 && !isRealtime) {
    wrong("scheduler.priority can only be specified for SchedFIFO or SchedRR policy", `${at}/priority`);
  }
  const keeps = flags.includes("SCHED_FLAG_KEEP_PARAMS");
  if (isRealtime && !keeps && (priority < RT_PRIORITY_MIN || priority > RT_PRIORITY_MAX)) {
    wrong(
      `scheduler.priority of ${policy} must be from ${RT_PRIORITY_MIN} to ${RT_PRIORITY_MAX}, not ${priority}`,
      `${at}/priority`,
    );
  }
  const [runtime, deadline, period] = [scheduler.runtime, scheduler.deadline, scheduler.period].map((value) =>
    BigInt(value ?? 0)
  ) as [bigint, bigint, bigint];
  if (policy !== "SCHED_DEADLINE") {
    if (runtime !== 0n || deadline !== 0n || period !== 0n) {
      wrong("scheduler runtime/deadline/period can only be specified for SchedDeadline policy", at);
    }
  } else if (!keeps && (runtime < DEADLINE_RUNTIME_MIN || runtime > deadline || (period !== 0n && deadline > period))) {
    wrong(
      `SCHED_DEADLINE needs 1024 <= runtime <= deadline <= period (nanoseconds), not ${runtime}, ${deadline}, ${period}`,
      at,
    );
  }
}

function checkIoPriority({ ioPriority }: Process): void {
  if (ioPriority === undefined) return;
  const { priority = 0 } = ioPriority;
  if (priority < 0 || priority > IO_PRIORITY_MAX) {
    wrong(`invalid ioPriority.Priority: ${priority}: 0 to 7 are possible`, "/process/ioPriority/priority");
  }
  if (valueOf(IOPRIO_CLASSES, ioPriority.class) === undefined) {
    wrong(
      `invalid ioPriority.Class: ${JSON.stringify(ioPriority.class)}: ${oneOf(IOPRIO_CLASSES)}`,
      "/process/ioPriority/class",
    );
  }
}

function checkAffinity({ execCPUAffinity }: Process): void {
  for (const [key, name] of [["initial", "Initial"], ["final", "Final"]] as const) {
    checkIdList(execCPUAffinity?.[key], `bad CPUAffinity.${name}`, `/process/execCPUAffinity/${key}`);
  }
}

/** The parts of linux that are the process's: memory policy, execution domain, resctrl. */
export function checkProcessDomains(linux: Linux, warn: Warn): void {
  const { memoryPolicy, personality, intelRdt } = linux;
  if (personality !== undefined) {
    if (valueOf(PERSONALITIES, personality.domain) === undefined) {
      wrong(`invalid personality domain ${personality.domain}: ${oneOf(PERSONALITIES)}`, "/linux/personality/domain");
    }
    if ((personality.flags?.length ?? 0) > 0) {
      warn(`ignoring unsupported personality flags: [${personality.flags!.join(" ")}]`);
    }
  }
  if (memoryPolicy !== undefined) checkMemoryPolicy(memoryPolicy);
  const { closID } = intelRdt ?? {};
  if (closID !== undefined && (closID === "." || closID === ".." || (closID.length > 1 && closID.includes("/")))) {
    wrong(`invalid intelRdt.ClosID ${JSON.stringify(closID)}`, "/linux/intelRdt/closID");
  }
}

function checkMemoryPolicy({ mode = "", nodes = "", flags = [] }: NonNullable<Linux["memoryPolicy"]>): void {
  const at = "/linux/memoryPolicy";
  if (valueOf(MEMORY_POLICIES, mode) === undefined) {
    wrong(`invalid memory policy mode ${JSON.stringify(mode)}: ${oneOf(MEMORY_POLICIES)}`, `${at}/mode`);
  }
  flags.forEach((flag, i) => {
    if (valueOf(MEMORY_POLICY_FLAGS, flag) === undefined) {
      wrong(`invalid memory policy flag ${JSON.stringify(flag)}: ${oneOf(MEMORY_POLICY_FLAGS)}`, `${at}/flags/${i}`);
    }
  });
  if (flags.includes("MPOL_F_STATIC_NODES") && flags.includes("MPOL_F_RELATIVE_NODES")) {
    wrong("a memory policy's nodes cannot be both static and relative", `${at}/flags`);
  }
  const count = checkIdList(nodes, `invalid memory policy nodes ${JSON.stringify(nodes)}`, `${at}/nodes`);
  if ((mode === "MPOL_DEFAULT" || mode === "MPOL_LOCAL") && count !== 0) {
    wrong(`memory policy mode requires 0 nodes but got ${count}`, `${at}/nodes`);
  }
  if (!["MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"].includes(mode) && count === 0) {
    wrong("memory policy mode requires at least one node but got 0", `${at}/nodes`);
  }
}

/** How many numbers a list names. */
function checkIdList(list: string | undefined, what: string, path: string): number {
  try {
    return parseIdList(list ?? "").length;
  } catch (error) {
    return wrong(`${what}: ${error instanceof Error ? error.message : error}`, path);
  }
}

const oneOf = (set: Readonly<Record<string, number>>) => `one of ${Object.keys(set).join(", ")} is expected`;
