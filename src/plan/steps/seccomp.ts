/**
 * The seccomp filter: when it is loaded, and that what is left to do then gets through it.
 *
 * With no_new_privs anyone may load a filter: it comes last, and only execve needs to pass; but before startContainer
 * hooks, whose programs may be the container's. Without, it takes
 * CAP_SYS_ADMIN, which the process keeps beyond its own capabilities until then. An agent has to get its descriptor
 * while the starter is still there.
 */
import type { Arch } from "../../abi/arch.ts";
import { PR, SECCOMP } from "../../abi/flags.ts";
import { CAPABILITIES } from "../../abi/names.ts";
import { type SyscallName, syscallNumber } from "../../abi/syscalls.ts";
import { RunkError } from "../../errors.ts";
import type { HostFacts } from "../../host/facts.ts";
import { compileProfile, type Filter, isOn } from "../../seccomp/compile.ts";
import { describeReturn, interpret } from "../../seccomp/interpret.ts";
import { actionOf, ACTIONS, AUDIT_ARCH } from "../../seccomp/names.ts";
import type { Process, Seccomp } from "../../spec/schema.ts";
import { bytes, words } from "../builder.ts";
import type { Plan, Step } from "../types.ts";
import type { Lanes } from "./lanes.ts";
import { type AgentState, introduceToAgent } from "./seccomp_agent.ts";

const PATH = "/linux/seccomp";
const SYS_ADMIN = 1n << BigInt(CAPABILITIES.indexOf("CAP_SYS_ADMIN"));

export interface Confinement {
  readonly profile: Seccomp;
  readonly filter: Filter;
  readonly loaded: "with privilege" | "with the starter" | "behind the gate" | "last";
  readonly arch: Arch;
  /** The starter is no root: it may take a descriptor out of the process only while that lets itself be traced. */
  readonly isRootless: boolean;
}

/**
 * What a profile means for a process; undefined when it asks for no filter.
 * @throws {RunkError} naming the place in the profile
 */
export function confinementOf(
  profile: Seccomp | undefined,
  process: Process,
  facts: HostFacts,
  hasStartHooks = false,
): Confinement | undefined {
  if (!isOn(profile)) return undefined;
  const { arch } = facts;
  const filter = compileProfile(profile, arch);
  const loaded = !process.noNewPrivileges
    ? "with privilege"
    : filter.notifies
    ? "with the starter"
    : hasStartHooks
    ? "behind the gate"
    : "last";
  return { profile, filter, loaded, arch, isRootless: facts.uid !== 0 };
}

/** What the process may do beyond its capabilities until its filter is loaded. */
export const sparedCapabilities = (confinement: Confinement | undefined): bigint =>
  confinement?.loaded === "with privilege" ? SYS_ADMIN : 0n;

/** Loads the filter, if this is when. */
export function loadFilter(
  lanes: Lanes,
  confinement: Confinement | undefined,
  when: Confinement["loaded"],
  state: AgentState,
): void {
  if (confinement?.loaded !== when) return;
  const { filter, profile } = confinement;
  const count = filter.instructions.length;
  const means = `{filter of ${count} instructions, default ${describeReturn(filter.defaultReturn)}}`;
  const known = profile.flags?.length ? `: does this kernel know ${profile.flags.join(" and ")}?` : "";
  // No process of a new container is there yet that could make use of it; in one that runs there is, and it stays hidden.
  const isTraceable = filter.notifies && confinement.isRootless && state.status === "creating";
  const traceable = (isTraceable: 0 | 1) => lanes.box.sys("prctl", [PR.SET_DUMPABLE, isTraceable, 0, 0, 0]);
  if (isTraceable) {
    lanes.box.task("let the host lane take a descriptor from this process, as long as no one else is there", {
      path: PATH,
    });
    traceable(1);
  }
  lanes.box.task("load the seccomp filter", { path: PATH, error: `error loading seccomp filter into kernel${known}` });
  const args = [SECCOMP.SET_MODE_FILTER, filter.flags, words([count, bytes(filter.bytes, means)], means)];
  lanes.box.sys("seccomp", args, filter.notifies ? { out: "notifications" } : {});
  if (filter.notifies) introduceToAgent(lanes, profile, state);
  if (isTraceable) {
    lanes.box.task("let no process of the container trace this one (CVE-2016-9962)");
    traceable(0);
  }
}

const LETS_THROUGH: readonly number[] = [
  ...[ACTIONS.SCMP_ACT_ALLOW, ACTIONS.SCMP_ACT_LOG, ACTIONS.SCMP_ACT_NOTIFY, ACTIONS.SCMP_ACT_TRACE],
];

/** Whether a filter stops a call whatever its arguments, as far as they are not known: what it answers then. */
export function refusal(
  confinement: Confinement | undefined,
  call: SyscallName,
  args: Step["args"] = [],
): number | undefined {
  if (confinement === undefined) return undefined;
  const { arch, filter } = confinement;
  const answers = [0n, ADDRESS].map((unknown) => {
    const values = args.map((arg) => (typeof arg === "object" ? unknown : BigInt.asUintN(64, BigInt(arg))));
    return interpret(filter.instructions, { number: syscallNumber(arch, call), arch: AUDIT_ARCH[arch], args: values })
      .value;
  });
  const [answer] = answers;
  return answers.every((answer) => !LETS_THROUGH.includes(actionOf(answer))) ? answer : undefined;
}
/** Somewhere in memory. */
const ADDRESS = 0x10000000n;

/**
 * What is left to do when the filter is loaded must get through it. Returns the plan itself.
 * @throws {RunkError} for a profile that would stop its own container from coming up
 */
export function checkConfinement(plan: Plan, confinement: Confinement | undefined): Plan {
  if (confinement === undefined) return plan;
  const { steps } = plan;
  const from = steps.findIndex(({ call }) => call === "seccomp");
  const to = steps.findIndex(({ call, lane }) => call === "execve" && lane === "container");
  for (const { op, call, args, tolerate, task, lane } of steps.slice(from + 1, to + 1)) {
    if (op !== "syscall" || lane !== "container") continue;
    const answer = refusal(confinement, call!, args);
    if (answer === undefined) continue;
    // What execve tolerates, it only puts into words of its own.
    const isFine = call !== "execve" && actionOf(answer) === ACTIONS.SCMP_ACT_ERRNO;
    if (isFine && tolerate?.includes(answer & 0xffff)) continue;
    const cure = confinement.loaded === "last" || call === "execve"
      ? "allow it"
      : "allow it, or set noNewPrivileges, with which less is called behind the filter";
    throw new RunkError(
      `the seccomp profile answers ${call} with ${describeReturn(answer)}, but it is needed behind the filter to ` +
        `${task.why}: ${cure} [config.json ${PATH}/syscalls]`,
    );
  }
  return plan;
}
