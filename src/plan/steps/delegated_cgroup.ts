/**
 * "run.oci.delegate-cgroup": the container's process lives in a cgroup below the one that has its limits, and may do there
 * as it likes. Source: crun(1), "Extensions to OCI".
 */
import { AT, AT_FDCWD } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { wrong } from "../../spec/errors.ts";
import { text } from "../builder.ts";
import { hostRoot, type Recipe } from "../recipe.ts";
import { DIRECTORY_MODE, ladder } from "./cgroups.ts";
import { prepareCgroup } from "./cgroups_v2.ts";
import { meet, undoProcess } from "./lanes.ts";
import { putProcess } from "./unit.ts";

const PATH = "/annotations/run.oci.delegate-cgroup";

/**
 * Both lanes, when the cgroup namespace is made, whose root stays the cgroup above: the host lane makes the delegated one,
 * puts the process into it and gives it to the container's root.
 * @throws {RunkError} where delegation would not be safe, or there is nothing to delegate below
 */
export function delegateCgroup(recipe: Recipe): void {
  const { b, host, facts, request, spec } = recipe;
  const { delegatedCgroup } = request.annotated ?? {};
  if (delegatedCgroup === undefined) return;
  const own = request.cgroups[0];
  if (facts.cgroups.version !== "v2" || own === undefined) {
    return wrong("only a cgroup of cgroup v2 can be delegated", PATH);
  }
  const path = `${own.path}/${delegatedCgroup}`;
  const delegated = { ...own, path, base: own.path };
  const levels = ladder(delegated);
  meet(recipe, "container", "in the cgroup namespace");
  b.undo("remove the delegated cgroup", (undo) => {
    for (const level of levels.toReversed()) {
      // What stays busy for a moment goes with the container's own.
      undo.sys("unlinkat", [AT_FDCWD, text(level), AT.REMOVEDIR], { tolerate: [E.NOENT, E.BUSY] });
    }
  });
  undoProcess(b);
  host.task("make the delegated cgroup", { path: PATH, error: "cannot make the delegated cgroup" });
  for (const level of levels) host.sys("mkdirat", [AT_FDCWD, text(level), DIRECTORY_MODE], { tolerate: [E.EXIST] });
  putProcess(recipe, [`${path}/cgroup.procs`], PATH);
  prepareCgroup(host, delegated, facts.cgroups.v2?.controllers ?? [], false);
  const [uid, gid] = [hostRoot(spec, "uid"), hostRoot(spec, "gid")];
  if (uid === 0 && gid === 0) return;
  host.task("give the delegated cgroup to the container's root", {
    path: PATH,
    error: "cannot change the owner of {item}",
  });
  const files = [path, ...(facts.cgroups.v2?.delegate ?? []).map((file) => `${path}/${file}`)];
  host.each(files.map((item) => ({ item })), files.map((file) => [text(file)]), ([file]) => {
    host.sys("fchownat", [AT_FDCWD, file!, uid, gid, 0], { tolerate: [E.NOENT] });
  });
}
