/** Resource limits, the OOM killer's preference, umask. */
import { RLIMITS } from "../../abi/names.ts";
import { E } from "../../abi/errno.ts";
import type { Process } from "../../spec/schema.ts";
import { type Lane, size, slot, text } from "../builder.ts";
import type { Recipe } from "../recipe.ts";
import { processDirectory } from "./id_maps.ts";
import { limitWords } from "./credentials.ts";
import { type Lanes, meet } from "./lanes.ts";
import { schedule } from "./scheduling.ts";

const DEFAULT_UMASK = 0o022;

/** Host lane, right after the clone. Resource limits come later: setting up needs descriptors and memory. */
export function setLimits(recipe: Pick<Recipe, "b" | "host" | "facts">, process: Process): void {
  const { b, host, facts } = recipe;
  if (process.oomScoreAdj === undefined) return;
  const value = String(process.oomScoreAdj);
  processDirectory(recipe);
  host.task("set the preference of the OOM killer", {
    path: "/process/oomScoreAdj",
    error: `cannot set oom_score_adj to ${value}`,
  });
  // An ordinary user may not lower it; runc lets that pass, too.
  const denied = facts.uid === 0 ? {} : { tolerate: [E.ACCES, E.PERM] };
  host.sys("openat", [slot("process"), text("oom_score_adj"), b.O.WRONLY | b.O.CLOEXEC], { out: "file" });
  host.sys("write", [slot("file"), text(value), size(value)], denied);
  host.close("file");
}

/** Host lane: the process may not raise them itself. */
function applyRlimits(host: Lane, process: Process): void {
  process.rlimits?.forEach(({ type, soft, hard }, i) => {
    host.task(`set ${type}`, {
      path: `/process/rlimits/${i}`,
      error: `error setting rlimit type ${RLIMITS.indexOf(type)} (${type})`,
    });
    host.sys("prlimit64", [slot("pid"), RLIMITS.indexOf(type), limitWords(soft, hard), 0]);
  });
}

/**
 * Both lanes, before the user changes: what the host lane sets from outside. Only one with CAP_SYS_RESOURCE may limit
 * another user's or group's process, and not every root has that. Root's own process waits for no one: applyFromOutside
 * comes later.
 */
export function limitOtherUser(lanes: Lanes, process: Process, hasCpuset: boolean): void {
  if (!isLimitedEarly(process)) return;
  meet(lanes, "container", "about to change the user");
  applyFromOutside(lanes.host, process, hasCpuset);
  meet(lanes, "host", "limits set");
}

/** Host lane, when the container's process is set up: what limitOtherUser has not done. */
export function limitReady(lanes: Lanes, process: Process, hasCpuset: boolean): void {
  if (!isLimitedEarly(process)) applyFromOutside(lanes.host, process, hasCpuset);
}

const isLimitedEarly = ({ user, rlimits = [], scheduler, ioPriority }: Process) =>
  ((user?.uid ?? 0) !== 0 || (user?.gid ?? 0) !== 0) &&
  (rlimits.length > 0 || scheduler !== undefined || ioPriority !== undefined);

function applyFromOutside(host: Lane, process: Process, hasCpuset: boolean): void {
  applyRlimits(host, process);
  schedule(host, process, hasCpuset);
}

/** The umask: process.user.umask, else 0022. */
export function setUmask(lane: Lane, process: Process): void {
  const umask = process.user?.umask ?? DEFAULT_UMASK;
  lane.task("set the umask", { path: "/process/user/umask" }).sys("umask", [umask]);
}
