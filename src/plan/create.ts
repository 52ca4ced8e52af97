/**
 * The recipe for a new container: the order in which it is set up, on one screen. Each call below adds the steps that
 * its file under steps/ describes; "host" steps run in the process that runk spawns, "box" steps in the container's.
 */
import type { HostFacts } from "../host/facts.ts";
import type { Process, Spec } from "../spec/schema.ts";
import { PlanBuilder, slot } from "./builder.ts";
import { checkPlan } from "./check.ts";
import { type CreateRequest, hasCpuset, hookInput, namespacesOf, PIDFD_SOCKET, type Recipe } from "./recipe.ts";
import { openSources, openSourcesOnHost } from "./steps/bind_mounts.ts";
import { entrance, joinCgroups, makeCgroups } from "./steps/cgroups.ts";
import { connectStdio, ownStdio } from "./steps/console.ts";
import {
  becomeUser,
  dropSpareCapabilities,
  forbidNewPrivileges,
  hideFromContainer,
  openToItsUser,
  setCapabilities,
} from "./steps/credentials.ts";
import { delegateCgroup } from "./steps/delegated_cgroup.ts";
import { makeDevices } from "./steps/devices.ts";
import { mapIds } from "./steps/id_maps.ts";
import * as kernel from "./steps/kernel.ts";
import { hookFiles, hooksBeforeRoot, startContainerHooks, stateOf } from "./steps/create_hooks.ts";
import * as mounts from "./steps/mounts.ts";
import { labelKeys, requireSelinux, setExecLabels } from "./steps/labels.ts";
import { cloneContainer, joinNamespaces, openNamespaces } from "./steps/namespaces.ts";
import { keepAddresses, moveNetDevices } from "./steps/net_devices.ts";
import { cleanSlate } from "./steps/prologue.ts";
import { closeAll, environmentOf, environmentWords, findHome, findProgram, runProgram } from "./steps/program.ts";
import { joinResctrl } from "./steps/resctrl.ts";
import { makeReadonlyPaths, maskPaths } from "./steps/restricted_paths.ts";
import {
  addFileSystemWords,
  changeRoot,
  finishRoot,
  keepOldRoot,
  leaveHostsPeers,
  mountRootfs,
  setRootPropagation,
} from "./steps/rootfs.ts";
import { resetAffinity, setDomains } from "./steps/scheduling.ts";
import { checkConfinement, confinementOf, loadFilter, sparedCapabilities } from "./steps/seccomp.ts";
import { closeReports, endBySignals, makeStartGate, readyToRun, waitAtGate } from "./steps/start_gate.ts";
import { limitOtherUser, setLimits, setUmask } from "./steps/limits.ts";
import { enterUnit } from "./steps/unit.ts";
import type { Plan } from "./types.ts";

/** The plan that makes the container of a config. Pure: the same arguments give the same plan. */
export function planCreate(spec: Spec, facts: HostFacts, request: CreateRequest): Plan {
  const b = new PlanBuilder(facts.arch);
  const recipe: Recipe = { b, host: b.host, box: b.container, spec, facts, request, namespaces: namespacesOf(spec) };
  const { host, box } = recipe;
  const process: Process = spec.process ?? {};
  const environment = environmentOf(process);
  const confinement = confinementOf(spec.linux?.seccomp, process, facts, (spec.hooks?.startContainer?.length ?? 0) > 0);
  const spare = sparedCapabilities(confinement);
  const state = stateOf(recipe, "creating");
  declareInputs(recipe);

  // In the host's namespaces, with the caller's rights.
  cleanSlate(host, facts, 3 + request.preserveFds);
  requireSelinux(host, process.selinuxLabel, "/process/selinuxLabel");
  requireSelinux(host, spec.linux?.mountLabel, "/linux/mountLabel");
  openNamespaces(recipe);
  kernel.refuseHostsSysctls(recipe);
  const hasUnit = request.systemd !== undefined;
  if (!hasUnit) makeCgroups(recipe); // limits before anyone is in: a limit below the usage would fail
  makeStartGate(recipe);
  openSourcesOnHost(recipe); // before any id changes: a source may be unreadable later
  keepAddresses(recipe);
  cloneContainer(recipe);
  joinResctrl(recipe);

  // From here on "box" is the container's process, alone in its new namespaces.
  if (hasUnit) enterUnit(recipe);
  else joinCgroups(box, entrance(recipe)); // before the cgroup namespace, whose root is where we are
  resetAffinity(box);
  mapIds(recipe);
  joinNamespaces(recipe);
  delegateCgroup(recipe);
  hideFromContainer(box);
  labelKeys(box, process);
  kernel.joinKeyring(recipe); // before the user changes
  kernel.raiseLoopback(recipe);
  moveNetDevices(recipe);
  setLimits(recipe, process); // from the host lane: the container's process may not raise them any more

  // File system: sources before the first mount, everything inside through descriptors of the rootfs.
  keepOldRoot(recipe);
  leaveHostsPeers(recipe); // before the sources are taken: what is mounted in them must not reach the host
  openSources(recipe);
  mountRootfs(recipe);
  mounts.mountAll(recipe);
  makeDevices(recipe);
  kernel.openOwnProcfs(recipe);
  hooksBeforeRoot(recipe); // after the mounts, while the host's root is still there
  changeRoot(recipe);

  connectStdio(box, request.stdio, process, "/dev/console");
  mounts.finishReadonlyMounts(recipe);
  finishRoot(recipe);
  kernel.setNames(recipe);
  kernel.writeSysctls(recipe); // before /proc/sys may become read-only
  makeReadonlyPaths(recipe);
  maskPaths(recipe);
  setRootPropagation(recipe);

  // Process: what only root may do, then the user, then what the user may.
  setExecLabels(box, slot("proc"), process); // after the last hook that is not to run under them
  setUmask(box, process);
  setDomains(box, spec.linux ?? {});
  forbidNewPrivileges(box, process);
  findHome(box, environment, process.user?.uid ?? 0);
  ownStdio(box, process.user?.uid ?? 0, mounts.setsUpDev(recipe));
  limitOtherUser(recipe, process, hasCpuset(recipe));
  becomeUser(box, process, facts, { keepsGroups: request.annotated?.keepsGroups, makesDirectory: true });
  // A change of user may have made the process dumpable again; of an ordinary user's, it must be for that user's exec.
  if (facts.uid !== 0 && isAlone(recipe)) openToItsUser(box);
  else hideFromContainer(box);
  endBySignals(recipe);
  setCapabilities(box, process, facts, spare);
  findProgram(box, process, environment); // now, so that create fails and not start
  loadFilter(recipe, confinement, "with privilege", state);
  dropSpareCapabilities(box, process, facts, spare);
  loadFilter(recipe, confinement, "with the starter", state);
  readyToRun(recipe, process);

  // Behind the gate: nothing of the starter may be needed any more.
  closeReports(box);
  waitAtGate(recipe);
  loadFilter(recipe, confinement, "behind the gate", state);
  startContainerHooks(recipe, environmentWords(box, environment), confinement);
  closeAll(box, request.preserveFds, confinement);
  loadFilter(recipe, confinement, "last", state);
  runProgram(box, process, environment);

  addFileSystemWords(b);
  return checkConfinement(checkPlan(b.build()), confinement);
}

/** Every namespace is new: until the container is there, no other process is in it. */
const isAlone = ({ namespaces }: Recipe): boolean => [...namespaces.values()].every(({ path }) => path === undefined);

/** The descriptors that the starter hands over. */
function declareInputs({ b, request }: Recipe): void {
  if (request.stdio === "pipes") {
    for (const name of ["stdin", "stdout", "stderr"]) b.input(name, `the container's ${name}`);
  }
  if (request.stdio === "terminal") b.input("console", "the socket that takes the terminal's master");
  for (const stream of hookFiles({ request })) b.input(hookInput(stream), `a file for what hooks write to ${stream}`);
  if (request.pidfdSocket) b.input(PIDFD_SOCKET, "the socket that takes a pidfd of the container's process");
}
