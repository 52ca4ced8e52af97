/**
 * Intel RDT (resctrl): shares of cache and memory bandwidth. A control group is a directory of the resctrl file system;
 * it is the container's own, named by its id, unless config.json names one (closID) that others may use, too.
 * Source: https://docs.kernel.org/filesystems/resctrl.html
 */
import { AT, AT_FDCWD } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { resctrlGroups } from "../../cgroup/resctrl.ts";
import { RunkError } from "../../errors.ts";
import { type Lane, size, slot, text } from "../builder.ts";
import type { Recipe } from "../recipe.ts";

const PATH = "/linux/intelRdt";
const MODE = 0o755;

/** Host lane, when the container's process is there and has not run anything yet: groups, schemata, membership. */
export function joinResctrl({ host, spec, facts, request }: Recipe): void {
  const intelRdt = spec.linux?.intelRdt;
  if (intelRdt === undefined) return;
  const refuse = (message: string, key = "") => {
    throw new RunkError(`${message} [config.json ${PATH}${key}]`);
  };
  const { resctrl } = facts;
  const groups = resctrlGroups({ intelRdt }, resctrl?.mountpoint, request.id);
  if (resctrl === undefined || groups === undefined) {
    return refuse("intelRdt is specified in config, but Intel RDT is not enabled: no resctrl file system is mounted");
  }
  const { l3CacheSchema, memBwSchema, schemata = [] } = intelRdt;
  if (l3CacheSchema && !resctrl.resources.includes("L3")) {
    refuse("intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled", "/l3CacheSchema");
  }
  if (memBwSchema && !resctrl.resources.includes("MB")) {
    refuse("intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled", "/memBwSchema");
  }
  const lines = [l3CacheSchema, memBwSchema, ...schemata].filter((line) => line !== undefined && line !== "");
  const mustExist = intelRdt.closID !== undefined && intelRdt.closID !== "" && lines.length === 0;
  if (mustExist) {
    host.task("open the control group of resctrl, which must be there when config.json gives it no schemata", {
      path: `${PATH}/closID`,
      error: "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)",
    });
    host.sys("openat", [AT_FDCWD, text(groups.control), host.builder.O.PATH | host.builder.O.CLOEXEC], { out: "file" });
    host.close("file");
  } else if (groups.control !== resctrl.mountpoint) {
    makeGroup(host, "control group", groups.control);
  }
  if (groups.monitoring !== undefined) makeGroup(host, "monitoring group", groups.monitoring);
  if (lines.length > 0) {
    // All at once: the kernel takes the schemata as a whole or not at all.
    const text_ = lines.map((line) => line + "\n").join("");
    writeFile(host, "set the schemata of the control group", `${groups.control}/schemata`, () => [
      text(text_),
      size(text_),
    ]);
  }
  const all = [groups.control, groups.monitoring].filter((group) => group !== undefined);
  joinGroups(host, all.map((group) => `${group}/tasks`));
}

/** Host lane: puts the process in slot "pid" into groups by their tasks files. */
export function joinGroups(host: Lane, files: readonly string[]): void {
  const digits = host.builder.buffer("pid digits", 24);
  for (const path of files) {
    writeFile(host, "put the process into the container's resctrl group", path, () => {
      host.format(slot("pid"), digits, "digits");
      return [digits, slot("digits")];
    });
  }
}

function makeGroup(host: Lane, what: string, path: string): void {
  const made = `${what} made`;
  const exists = host.builder.unique("group exists");
  host.set(made, 0);
  host.builder.undo(`remove the ${what} of resctrl that was made`, (undo) => {
    const none = undo.builder.unique("not made");
    undo.jump(none, { left: slot(made), is: "==", right: 0 });
    undo.sys("unlinkat", [AT_FDCWD, text(path), AT.REMOVEDIR]).label(none);
  });
  host.task(`make the ${what} of resctrl`, { path: PATH, error: `cannot make the ${what} ${path}` });
  host.sys("mkdirat", [AT_FDCWD, text(path), MODE], { tolerate: [E.EXIST], to: exists });
  host.set(made, 1).label(exists);
}

function writeFile(host: Lane, why: string, path: string, content: () => Parameters<Lane["sys"]>[1]): void {
  host.task(why, { path: PATH, error: `intelrdt: unable to write ${path}` });
  host.sys("openat", [AT_FDCWD, text(path), host.builder.O.WRONLY | host.builder.O.CLOEXEC], { out: "file" });
  host.sys("write", [slot("file"), ...content()]).close("file");
}
