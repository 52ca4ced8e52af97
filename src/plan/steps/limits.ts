/** Resource limits, the OOM killer's preference, umask. */
import { RLIMITS } from "../../abi/names.ts";
import { E } from "../../abi/errno.ts";
import type { Process } from "../../spec/schema.ts";
import { type Lane, size, slot, text } from "../builder.ts";
import type { Recipe } from "../recipe.ts";
import { processDirectory } from "./id_maps.ts";
import { limitWords } from "./credentials.ts";

const DEFAULT_UMASK = 0o022;

/** Host lane, right after the clone. Resource limits come later (applyRlimits): setting up needs descriptors and memory. */
export function setLimits(recipe: Recipe, process: Process): void {
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

/** Host lane, when the container's process is set up: it may not raise them itself any more. */
export function applyRlimits({ host }: Pick<Recipe, "host">, process: Process): void {
  process.rlimits?.forEach(({ type, soft, hard }, i) => {
    host.task(`set ${type}`, {
      path: `/process/rlimits/${i}`,
      error: `error setting rlimit type ${RLIMITS.indexOf(type)} (${type})`,
    });
    host.sys("prlimit64", [slot("pid"), RLIMITS.indexOf(type), limitWords(soft, hard), 0]);
  });
}

export function setUmask(lane: Lane, process: Process): void {
  const umask = process.user?.umask ?? DEFAULT_UMASK;
  lane.task("set the umask", { path: "/process/user/umask" }).sys("umask", [umask]);
}
