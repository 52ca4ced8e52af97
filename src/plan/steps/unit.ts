/** Cgroups that systemd makes: there has to be a process first, so this comes after the clone, and the process waits. */
import { AT_FDCWD } from "../../abi/flags.ts";
import { slot, text } from "../builder.ts";
import type { Recipe } from "../recipe.ts";
import { makeCgroups } from "./cgroups.ts";
import { meet, undoProcess } from "./lanes.ts";

const PATH = "/linux/cgroupsPath";
const PID_DIGITS = 24;

/**
 * Both lanes: the starter has systemd make the unit; the host lane makes what systemd leaves out (v1 controllers that it
 * does not manage), writes limits, and puts the process in where systemd has not.
 */
export function enterUnit(recipe: Recipe): void {
  const { b, host, facts, request } = recipe;
  const hasSubgroup = request.annotated?.subgroup !== undefined;
  host.task("have systemd make the container's unit", { path: PATH });
  b.ask(host, "unit", ["pid"]);
  const isIn = facts.cgroups.version === "v2" && request.systemd === "scope" && !hasSubgroup;
  const enter = () => {
    undoProcess(b); // a cgroup can be removed when no one is in it
    putProcess(recipe, isIn ? [] : request.cgroups.map(({ path }) => `${path}/cgroup.procs`), PATH);
  };
  // A scope hands no controllers on while the process is in it.
  if (hasSubgroup) makeCgroups(recipe, enter);
  else {
    makeCgroups(recipe);
    enter();
  }
  meet(recipe, "host", "in the unit's cgroups");
}

/** Host lane: writes the process's pid into the cgroups' files. */
export function putProcess({ b, host }: Pick<Recipe, "b" | "host">, files: readonly string[], path: string): void {
  if (files.length === 0) return;
  const digits = b.buffer("pid in digits", PID_DIGITS);
  host.task("put the container's process into the cgroups", {
    path,
    error: "cannot join a cgroup through {item}",
  });
  host.format(slot("pid"), digits, "digits");
  host.each(files.map((item) => ({ item })), files.map((file) => [text(file)]), ([file]) => {
    host.sys("openat", [AT_FDCWD, file!, b.O.WRONLY | b.O.CLOEXEC], { out: "file" });
    host.sys("write", [slot("file"), digits, slot("digits")]);
    host.close("file");
  });
}
