/** Labels of security modules: what the program runs as, and what the container's own file systems are labelled. */
import { AT_FDCWD, FS_MAGIC } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import type { Process } from "../../spec/schema.ts";
import { type Lane, size, slot, text } from "../builder.ts";
import type { Recipe } from "../recipe.ts";
import type { Operand } from "../types.ts";

const SELINUX = "selinux label is specified in config, but selinux is disabled or not supported";

/** Host lane: a label that nothing would enforce is an error, found before anything is made. */
export function requireSelinux(host: Lane, label: string | undefined, path: string): void {
  if (!label) return;
  const [absent, present] = [host.builder.unique("no selinux"), host.builder.unique("selinux")];
  const statfs = host.builder.buffer("statfs", 128);
  host.task("check that SELinux is there to enforce the label", { path, error: SELINUX });
  host.sys("statfs", [text("/sys/fs/selinux"), statfs], { tolerate: [E.NOENT], to: absent });
  host.load("file system", 8, statfs);
  host.jump(present, { left: slot("file system"), is: "==", right: FS_MAGIC.SELINUX });
  host.label(absent).fail(SELINUX).label(present);
}

/**
 * The labels that execve gives the program, written to the attributes of this very thread. SELinux first: AppArmor's are
 * in a directory of their own, and both may be there.
 * @param proc a procfs that no one else could have put there: a descriptor, or the caller's "/proc" while that is in sight
 */
export function setExecLabels(lane: Lane, proc: Operand | "/proc", process: Process): void {
  const { selinuxLabel, apparmorProfile } = process;
  if (selinuxLabel) {
    lane.task("have the program run under its SELinux label", {
      path: "/process/selinuxLabel",
      error: "can't set process label",
    });
    openAttribute(lane, proc, "exec");
    lane.sys("write", [slot("attribute"), text(selinuxLabel), size(selinuxLabel)]).close("attribute");
  }
  if (!apparmorProfile) return;
  const error = "unable to apply apparmor profile: apparmor failed to apply profile";
  const b = lane.builder;
  const [absent, off, done] = [b.unique("no apparmor"), b.unique("apparmor off"), b.unique("profile set")];
  const command = `exec ${apparmorProfile}`;
  const file = "/proc/thread-self/attr/apparmor/exec";
  lane.task("have the program run under its AppArmor profile", { path: "/process/apparmorProfile", error });
  openAttribute(lane, proc, "apparmor/exec", { tolerate: [E.NOENT], to: absent });
  lane.sys("write", [slot("attribute"), text(command), size(command)], {
    out: "written",
    tolerate: [E.NOENT, E.INVAL],
    to: off,
  });
  lane.close("attribute").jump(done);
  lane.label(off).fail(`${error}: write ${file}: the profile ${JSON.stringify(apparmorProfile)} is not loaded`, {
    left: slot("written"),
    is: "==",
    right: -E.NOENT,
  }, E.NOENT);
  lane.fail(`${error}: write ${file}: AppArmor is not enabled on this host`, undefined, E.INVAL);
  lane.label(absent).fail(`${error}: open ${file}: this kernel has no AppArmor`, undefined, E.NOENT);
  lane.label(done);
}

/** Keys that this process makes are labelled as the program, until it runs that; while the caller's /proc is in sight. */
export function labelKeys(lane: Lane, { selinuxLabel }: Process): void {
  if (!selinuxLabel) return;
  lane.task("label the session keyring as the program", {
    path: "/process/selinuxLabel",
    error: "can't set the label of new keys",
  });
  openAttribute(lane, "/proc", "keycreate");
  lane.sys("write", [slot("attribute"), text(selinuxLabel), size(selinuxLabel)]).close("attribute");
}

function openAttribute(
  lane: Lane,
  proc: Operand | "/proc",
  name: string,
  options: { tolerate?: readonly number[]; to?: string } = {},
): void {
  const { O } = lane.builder;
  const path = `thread-self/attr/${name}`;
  const place = proc === "/proc" ? [AT_FDCWD, text(`/proc/${path}`)] : [proc, text(path)];
  lane.sys("openat", [...place, O.WRONLY | O.CLOEXEC], { out: "attribute", ...options });
}

/** Container lane: labels the root of a new mqueue in slot "mount", which takes no label for all of its files. */
export function labelMessageQueues({ box: lane, spec }: Pick<Recipe, "box" | "spec">): void {
  const label = spec.linux?.mountLabel;
  if (!label) return;
  const { O } = lane.builder;
  lane.sys("openat", [slot("mount"), text("."), O.DIRECTORY | O.CLOEXEC], { out: "labelled" });
  lane.sys("fsetxattr", [slot("labelled"), text("security.selinux"), text(label), size(label), 0], {
    tolerate: [E.OPNOTSUPP],
  });
  lane.close("labelled");
}

/** The file system parameter that labels all its files. */
export function contextParameter({ spec, request }: Pick<Recipe, "spec" | "request">): [name: string, value: string][] {
  const label = spec.linux?.mountLabel;
  return label ? [[request.annotated?.contextType ?? "context", label]] : [];
}
