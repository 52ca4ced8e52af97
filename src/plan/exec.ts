/**
 * The recipe for a process in a container that exists: what create.ts does for the first process, without making
 * anything. Nothing inside is trusted: no path is looked up and no program started before the process is confined.
 */
import { NAMESPACES, type NamespaceType } from "../abi/flags.ts";
import type { HostFacts } from "../host/facts.ts";
import type { Linux, Process, Seccomp } from "../spec/schema.ts";
import { type Lane, PlanBuilder, slot } from "./builder.ts";
import { checkPlan } from "./check.ts";
import { PIDFD_SOCKET, type Stdio } from "./recipe.ts";
import { joinCgroups, openCgroups, UNIFIED } from "./steps/cgroups.ts";
import { connectStdio, ownStdio } from "./steps/console.ts";
import {
  becomeUser,
  dropSpareCapabilities,
  forbidNewPrivileges,
  hideFromContainer,
  setCapabilities,
} from "./steps/credentials.ts";
import { becomeRoot } from "./steps/id_maps.ts";
import { joinKeyring } from "./steps/kernel.ts";
import { labelKeys, requireSelinux, setExecLabels } from "./steps/labels.ts";
import {
  beginContainerLane,
  cloneProcess,
  endJoiner,
  keepOwnEnd,
  type Lanes,
  makeMeetingPlace,
  meet,
  ownProcess,
  startJoiner,
} from "./steps/lanes.ts";
import { limitOtherUser, limitReady, setLimits, setUmask } from "./steps/limits.ts";
import { cleanSlate } from "./steps/prologue.ts";
import { closeAll, environmentOf, findHome, findProgram, runProgram } from "./steps/program.ts";
import { checkConfinement, confinementOf, loadFilter, sparedCapabilities } from "./steps/seccomp.ts";
import type { AgentState } from "./steps/seccomp_agent.ts";
import { joinGroups } from "./steps/resctrl.ts";
import { hasAffinity, resetAffinity, setAffinity, setDomains } from "./steps/scheduling.ts";
import { closeReports, sendPidfd, writePidFile } from "./steps/start_gate.ts";
import type { Plan } from "./types.ts";

export interface ExecRequest {
  readonly id: string;
  /** Namespaces of the container that are not the caller's. */
  readonly namespaces: readonly NamespaceType[];
  /** Tasks files of the container's v1 cgroups. */
  readonly tasksFiles: readonly string[];
  /** Directory of the container's unified cgroup. */
  readonly unifiedCgroup: string | undefined;
  readonly stdio: Stdio;
  readonly noNewKeyring: boolean;
  readonly preserveFds: number;
  readonly pidfdSocket: boolean;
  /** The supplementary groups of the caller stay. */
  readonly keepsGroups?: boolean;
  readonly pidFile: string | undefined;
  /** Memory policy and execution domain of the container's processes. */
  readonly domains: Pick<Linux, "memoryPolicy" | "personality">;
  /** Tasks files of the container's resctrl groups. */
  readonly resctrlFiles: readonly string[];
  readonly program: string;
  /** The container's profile. */
  readonly seccomp?: Seccomp | undefined;
  /** What a seccomp agent is told of the container; only with a listenerPath. */
  readonly container?: Pick<AgentState, "bundle" | "annotations" | "pid"> | undefined;
}

/** The plan that runs a process in a container; input "init" is a pidfd of the container's first process. */
export function planExec(process: Process, facts: HostFacts, request: ExecRequest): Plan {
  const b = new PlanBuilder(facts.arch);
  const { host, container: box } = b;
  const lanes: Lanes = { b, host, box };
  const environment = environmentOf(process);
  const uid = process.user?.uid ?? 0;
  const namespaces = new Map(request.namespaces.map((type) => [type, { type, path: "", configPath: "" }]));
  const confinement = confinementOf(request.seccomp, process, facts);
  const spare = sparedCapabilities(confinement);
  const state: AgentState = { id: request.id, status: "running", bundle: "", annotations: {}, ...request.container };
  b.input("init", "a pidfd of the container's first process");
  if (request.stdio === "pipes") {
    for (const name of ["stdin", "stdout", "stderr"]) b.input(name, `the process's ${name}`);
  }
  if (request.stdio === "terminal") b.input("console", "the socket that takes the terminal's master");
  if (request.pidfdSocket) b.input(PIDFD_SOCKET, "the socket that takes a pidfd of the process");

  cleanSlate(host, facts, 3 + request.preserveFds);
  requireSelinux(host, process.selinuxLabel, "/process/selinuxLabel");
  setAffinity(host, process, "initial");
  makeProcess(lanes, process, request);
  setLimits({ b, host, facts }, process);
  joinGroups(host, request.resctrlFiles);

  joinCgroups(box, entranceOf(request));
  if (hasAffinity(process)) setAffinity(box, process, "final");
  else resetAffinity(box);
  joinKeyring({ box, request, namespaces });
  connectStdio(box, request.stdio, process, "nothing");
  setUmask(box, process);
  setDomains(box, request.domains);
  forbidNewPrivileges(box, process);
  findHome(box, environment, uid);
  ownStdio(box, uid, true);
  limitOtherUser(lanes, process, false);
  becomeUser(box, process, facts, { keepsGroups: request.keepsGroups, makesDirectory: false });
  hideFromContainer(box);
  setCapabilities(box, process, facts, spare);
  findProgram(box, process, environment);
  loadFilter(lanes, confinement, "with privilege", state);
  dropSpareCapabilities(box, process, facts, spare);
  loadFilter(lanes, confinement, "with the starter", state);
  readyToRun(lanes, process, request);
  closeReports(box);
  closeAll(box, request.preserveFds, confinement);
  loadFilter(lanes, confinement, "last", state);
  runProgram(box, process, environment);
  return checkConfinement(checkPlan(b.build()), confinement);
}

const entranceOf = ({ tasksFiles, unifiedCgroup }: ExecRequest) => ({ files: tasksFiles, unified: unifiedCgroup });

/**
 * The process is seen in the container's pid namespace from its first moment on. By then it has to have joined everything
 * else: to whoever may trace it there (CAP_SYS_PTRACE), it would be a way to the host's files (/proc/PID/root). So a helper
 * goes ahead, and clones it from inside.
 */
const needsJoiner = ({ namespaces }: ExecRequest) => namespaces.includes("pid");

function makeProcess(lanes: Lanes, process: Process, request: ExecRequest): void {
  const { b, host, box } = lanes;
  openCgroups(host, entranceOf(request));
  makeMeetingPlace(lanes);
  const cgroup = request.unifiedCgroup === undefined ? undefined : UNIFIED;
  const why = "make the process";
  if (needsJoiner(request)) {
    const joiner = startJoiner(lanes, { cgroup, error: `cannot ${why}` });
    enter(joiner, process, request);
    cloneProcess(lanes, joiner, { flags: 0, cgroup: undefined, why });
    endJoiner(lanes, joiner);
  } else {
    cloneProcess(lanes, host, { flags: 0, cgroup, why });
    host.load("pidfd", 4, b.buffer("pidfd", 8));
    keepOwnEnd(host);
  }
  ownProcess(lanes);
  beginContainerLane(lanes, request.program);
  // Its first word must not come before the helper's last.
  if (needsJoiner(request)) meet(lanes, "host", "the host lane knows the process");
  else enter(box, process, request);
}

/** Joins the namespaces: all at once; the kernel takes the user namespace first and either joins everything or nothing. */
function enter(lane: Lane, process: Process, { namespaces, keepsGroups }: ExecRequest): void {
  hideFromContainer(lane); // a user namespace's root may trace who is in it
  setExecLabels(lane, "/proc", process); // this /proc is still the caller's
  labelKeys(lane, process);
  const flags = namespaces.reduce((sum, type) => sum + NAMESPACES[type].flag, 0);
  if (flags !== 0) {
    lane.task(`join the container's namespaces: ${namespaces.join(", ")}`, {
      error: "cannot join the container's namespaces",
    });
    lane.sys("setns", [slot("init"), flags]);
  }
  if (namespaces.includes("user")) becomeRoot(lane, keepsGroups);
}

/** Both lanes: limits, then the pid file, then the process may go on. */
function readyToRun(lanes: Lanes, process: Process, { pidFile, pidfdSocket }: ExecRequest): void {
  const { b, host } = lanes;
  meet(lanes, "container", "ready to run");
  limitReady(lanes, process, false);
  if (pidfdSocket) sendPidfd(host, "setns");
  b.ask(host, "ready", ["pid"]);
  writePidFile(host, pidFile);
  meet(lanes, "host", "go");
  host.task("end: the process is on its own now").sys("exit_group", [0]);
}
