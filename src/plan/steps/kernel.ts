/** Settings of the container's own kernel namespaces: loopback, host name, sysctl; and a procfs of the runtime's own. */
import { AF, AT, AT_FDCWD, FSCONFIG, FSMOUNT, FSOPEN, IOCTL, MOUNT_ATTR, SOCK } from "../../abi/flags.ts";
import { STATX, STATX_FIELD, STATX_SIZE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { bytes, type Lane, size, slot, text } from "../builder.ts";
import { isNew, type Recipe } from "../recipe.ts";
import { joined } from "./namespaces.ts";

const IFREQ_SIZE = 40;
const IFR_FLAGS = 16;
const IFF_UP_RUNNING = 0x41;

/** Container lane: a new network namespace has its loopback device down. */
export function raiseLoopback(recipe: Recipe): void {
  const { box, namespaces } = recipe;
  if (!isNew(recipe, "network")) return;
  const request = new Uint8Array(IFREQ_SIZE);
  request.set(new TextEncoder().encode("lo"));
  new DataView(request.buffer).setUint16(IFR_FLAGS, IFF_UP_RUNNING, true);
  box.task("bring the loopback device up", { path: namespaces.get("network")!.configPath });
  box.sys("socket", [AF.INET, SOCK.DGRAM | SOCK.CLOEXEC, 0], { out: "socket" });
  box.sys("ioctl", [slot("socket"), IOCTL.SIOCSIFFLAGS, bytes(request, `{"lo", up|running}`)]);
  box.close("socket");
}

/**
 * Container lane: a procfs that is mounted nowhere, in slot "proc". What the runtime itself reads or writes under /proc
 * goes through it: no mount or symlink of the container can redirect it (CVE-2025-52881).
 */
export function openOwnProcfs({ b, box }: Recipe): void {
  const [refused, done] = [b.unique("refused"), b.unique("procfs")];
  const options = { tolerate: [E.PERM, E.ACCES], to: refused };
  box.task("get a procfs that only the runtime sees");
  box.sys("fsopen", [text("proc"), FSOPEN.CLOEXEC], { out: "fs" });
  box.sys("fsconfig", [slot("fs"), FSCONFIG.CMD_CREATE, 0, 0, 0], options);
  const attributes = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  box.sys("fsmount", [slot("fs"), FSMOUNT.CLOEXEC, attributes], { out: "proc", ...options });
  box.jump(done).label(refused);
  // Where the kernel lets no new procfs be mounted (inside other containers): the caller's, which the caller trusts.
  box.sys("openat", [AT_FDCWD, text("/proc"), b.O.PATH | b.O.DIRECTORY | b.O.CLOEXEC], { out: "proc" });
  box.label(done).close("fs");
}

/** Host and domain name, in the uts namespace that the container lane is in by then. */
export function setNames({ box, spec }: Recipe): void {
  if (spec.hostname) {
    box.task("set the host name", { path: "/hostname" });
    box.sys("sethostname", [text(spec.hostname), size(spec.hostname)]);
  }
  if (spec.domainname) {
    box.task("set the domain name", { path: "/domainname" });
    box.sys("setdomainname", [text(spec.domainname), size(spec.domainname)]);
  }
}

/** Host lane: a network namespace that is joined by path and is the caller's own has the host's sysctls. */
export function refuseHostsSysctls({ b, host, namespaces, spec }: Recipe): void {
  const network = namespaces.get("network");
  const key = Object.keys(spec.linux?.sysctl ?? {}).find((key) => /^net[./]/.test(key));
  if (network?.path === undefined || key === undefined) return;
  const error = `sysctl ${JSON.stringify(key)} not allowed in host network namespace`;
  const statx = b.buffer("statx", STATX_SIZE);
  const other = b.unique("other network");
  host.task("check that the network whose sysctls are set is not the host's", {
    path: `/linux/sysctl/${key.replaceAll("/", "~1")}`,
    error,
  });
  host.sys("statx", [slot(joined("network")), text(""), AT.EMPTY_PATH, STATX.INO, statx]);
  host.load("inode", 8, statx, STATX_FIELD.ino);
  host.sys("statx", [AT_FDCWD, text("/proc/self/ns/net"), 0, STATX.INO, statx]);
  host.load("own inode", 8, statx, STATX_FIELD.ino);
  host.jump(other, { left: slot("inode"), is: "!=", right: slot("own inode") });
  host.fail(error).label(other);
}

/** Container lane: sysctl, through the runtime's own procfs. checks.ts has seen to it that each belongs to a namespace. */
export function writeSysctls({ b, box, spec }: Recipe): void {
  const entries = Object.entries(spec.linux?.sysctl ?? {});
  if (entries.length === 0) return;
  box.task("set sysctls", { path: "/linux/sysctl", error: "cannot set sysctl {item}" });
  box.each(
    entries.map(([key, value]) => ({ item: `${key}=${value}`, path: `/linux/sysctl/${key.replaceAll("/", "~1")}` })),
    entries.map(([key, value]) => [text("sys/" + sysctlPath(key)), text(value), size(value)]),
    ([path, value, length]) => {
      box.sys("openat", [slot("proc"), path!, b.O.WRONLY | b.O.CLOEXEC], { out: "file" });
      box.sys("write", [slot("file"), value!, length!]);
      box.close("file");
    },
  );
}

/** "net.ipv4.conf.eth0/1.x" and "net/ipv4/conf/eth0.1/x" -> the path under /proc/sys. Source: sysctl.d(5). */
function sysctlPath(key: string): string {
  const separator = /[./]/.exec(key)?.[0];
  if (separator === "/") return key;
  return key.replace(/[./]/g, (c) => (c === "." ? "/" : "."));
}

const KEYRING_PERMISSIONS = 0x3f130000;
const SEARCH_BY_USER = 0x80000;
const SEARCH_BY_OTHERS = 0x8;
const [JOIN_SESSION_KEYRING, SETPERM] = [1, 5];

/** Container lane: a session keyring of the container's own, searchable by its processes. */
export function joinKeyring(
  recipe: { box: Lane; request: { id: string; noNewKeyring: boolean }; namespaces: ReadonlyMap<string, unknown> },
): void {
  const { box, request } = recipe;
  if (request.noNewKeyring) return;
  const search = recipe.namespaces.has("user") ? SEARCH_BY_OTHERS : SEARCH_BY_USER;
  const none = box.builder.unique("no keyrings");
  box.task("leave the caller's session keyring for one of the container's own", {
    error: "unable to join session keyring",
  });
  box.sys("keyctl", [JOIN_SESSION_KEYRING, text(`_ses.${request.id}`)], {
    out: "keyring",
    tolerate: [E.NOSYS],
    to: none,
  });
  box.sys("keyctl", [SETPERM, slot("keyring"), KEYRING_PERMISSIONS | search]);
  box.label(none);
}
