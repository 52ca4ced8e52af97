/**
 * Mount options of config.json -> flags, propagation, recursive attributes and the file system's own options. Pure.
 * Source: config.md (Linux mount options), mount(8), mount_setattr(2).
 */
import { MOUNT_ATTR, MOUNT_ATTR__ATIME, MS, ST } from "../abi/flags.ts";

export interface MountOptions {
  /** MS_* flags asked for. */
  readonly flags: number;
  /** MS_* flags explicitly taken back ("rw", "exec", ...). */
  readonly cleared: number;
  /** MS_* propagation types, each with MS_REC or not, in order. */
  readonly propagation: readonly number[];
  /** Attributes for the whole tree: MOUNT_ATTR_* to set and to clear; undefined without any. */
  readonly recursive: { readonly set: number; readonly clear: number } | undefined;
  readonly copyUp: boolean;
  /** "idmap" or "ridmap" was given. */
  readonly idmap: "" | "idmap" | "ridmap";
  /** What was given with it: the mappings of "idmap=uids=0-1000-10;gids=0-1000-10", as with crun. */
  readonly idMappings?: string;
  /** A source that is a symlink is made anew at the destination ("copy-symlink", as with crun). */
  readonly copySymlink: boolean;
  /** A symlink at the end of the source, or of the destination, is what is mounted, or mounted on ("src-nofollow", "dest-nofollow"). */
  readonly sourceNoFollow: boolean;
  readonly destinationNoFollow: boolean;
  /** Everything else: options of the file system itself. */
  readonly data: readonly string[];
}

/** Option -> [flag, whether it clears it]. */
const FLAGS: Readonly<Record<string, readonly [flag: number, clear: boolean]>> = {
  async: [MS.SYNCHRONOUS, true],
  atime: [MS.NOATIME, true],
  bind: [MS.BIND, false],
  defaults: [0, false],
  dev: [MS.NODEV, true],
  diratime: [MS.NODIRATIME, true],
  dirsync: [MS.DIRSYNC, false],
  exec: [MS.NOEXEC, true],
  iversion: [MS.I_VERSION, false],
  lazytime: [MS.LAZYTIME, false],
  loud: [MS.SILENT, true],
  mand: [MS.MANDLOCK, false],
  noatime: [MS.NOATIME, false],
  nodev: [MS.NODEV, false],
  nodiratime: [MS.NODIRATIME, false],
  noexec: [MS.NOEXEC, false],
  noiversion: [MS.I_VERSION, true],
  nolazytime: [MS.LAZYTIME, true],
  nomand: [MS.MANDLOCK, true],
  norelatime: [MS.RELATIME, true],
  nostrictatime: [MS.STRICTATIME, true],
  nosuid: [MS.NOSUID, false],
  nosymfollow: [MS.NOSYMFOLLOW, false],
  rbind: [MS.BIND | MS.REC, false],
  relatime: [MS.RELATIME, false],
  remount: [MS.REMOUNT, false],
  ro: [MS.RDONLY, false],
  rw: [MS.RDONLY, true],
  silent: [MS.SILENT, false],
  strictatime: [MS.STRICTATIME, false],
  suid: [MS.NOSUID, true],
  symfollow: [MS.NOSYMFOLLOW, true],
  sync: [MS.SYNCHRONOUS, false],
};

export const PROPAGATION: Readonly<Record<string, number>> = {
  private: MS.PRIVATE,
  rprivate: MS.PRIVATE | MS.REC,
  shared: MS.SHARED,
  rshared: MS.SHARED | MS.REC,
  slave: MS.SLAVE,
  rslave: MS.SLAVE | MS.REC,
  unbindable: MS.UNBINDABLE,
  runbindable: MS.UNBINDABLE | MS.REC,
};

const RELATIME = 0;
const RECURSIVE: Readonly<Record<string, readonly [attribute: number, clear: boolean]>> = {
  rro: [MOUNT_ATTR.RDONLY, false],
  rrw: [MOUNT_ATTR.RDONLY, true],
  rnosuid: [MOUNT_ATTR.NOSUID, false],
  rsuid: [MOUNT_ATTR.NOSUID, true],
  rnodev: [MOUNT_ATTR.NODEV, false],
  rdev: [MOUNT_ATTR.NODEV, true],
  rnoexec: [MOUNT_ATTR.NOEXEC, false],
  rexec: [MOUNT_ATTR.NOEXEC, true],
  rnodiratime: [MOUNT_ATTR.NODIRATIME, false],
  rdiratime: [MOUNT_ATTR.NODIRATIME, true],
  rrelatime: [RELATIME, false],
  rnorelatime: [RELATIME, true],
  rnoatime: [MOUNT_ATTR.NOATIME, false],
  ratime: [MOUNT_ATTR.NOATIME, true],
  rstrictatime: [MOUNT_ATTR.STRICTATIME, false],
  rnostrictatime: [MOUNT_ATTR.STRICTATIME, true],
  rnosymfollow: [MOUNT_ATTR.NOSYMFOLLOW, false],
  rsymfollow: [MOUNT_ATTR.NOSYMFOLLOW, true],
};

/** Places under /proc that lxcfs and others emulate; nothing else may be covered there. */
export const MAY_COVER_PROC: readonly string[] = [
  ...["/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime"],
  ...["/proc/loadavg", "/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"],
];

/** What the runtime does itself. */
const OWN: Readonly<Record<string, "copyUp" | "copySymlink" | "sourceNoFollow" | "destinationNoFollow">> = {
  "tmpcopyup": "copyUp",
  "copy-symlink": "copySymlink",
  "src-nofollow": "sourceNoFollow",
  "dest-nofollow": "destinationNoFollow",
};

/** A table's entry, for names that anyone may have written: "constructor" is in no table. */
const memberOf = <T>(table: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

/** The MS_* flags of a propagation's name; undefined for one that does not exist. */
export const propagationOf = (name: string): number | undefined => memberOf(PROPAGATION, name);

/** All options that are not a file system's own, as `features` lists them. */
export const knownMountOptions = (): string[] =>
  [...Object.keys(FLAGS), ...Object.keys(PROPAGATION), ...Object.keys(RECURSIVE), "tmpcopyup"].sort();

/** What a mount's options mean; those that no table knows are the file system's own. */
export function parseMountOptions(options: readonly string[]): MountOptions {
  let [flags, cleared, set, clear] = [0, 0, 0, 0];
  let isRecursive = false;
  const own = { copyUp: false, copySymlink: false, sourceNoFollow: false, destinationNoFollow: false };
  let idmap: MountOptions["idmap"] = "";
  let ids: Pick<MountOptions, "idMappings"> = {};
  const propagation: number[] = [];
  const data: string[] = [];
  for (const option of options) {
    const flag = memberOf(FLAGS, option);
    const propagates = memberOf(PROPAGATION, option);
    const recursive = memberOf(RECURSIVE, option);
    const byRuntime = memberOf(OWN, option);
    if (flag !== undefined) {
      const [bit, clears] = flag;
      flags = clears ? flags & ~bit : flags | bit;
      cleared = clears ? cleared | bit : cleared & ~bit;
    } else if (propagates !== undefined) {
      propagation.push(propagates);
    } else if (recursive !== undefined) {
      const [attribute, clears] = recursive;
      isRecursive = true;
      set = clears ? set & ~attribute : set | attribute;
      clear = clears ? clear | attribute : clear & ~attribute;
      // The access time is a field, not a bit: to set it, clear all of it.
      if ((attribute & MOUNT_ATTR__ATIME) === attribute) clear |= MOUNT_ATTR__ATIME;
    } else if (byRuntime !== undefined) {
      own[byRuntime] = true;
    } else if (option === "idmap" || option === "ridmap") {
      idmap = option;
    } else if (/^r?idmap=/.test(option)) {
      idmap = option.startsWith("r") ? "ridmap" : "idmap";
      ids = { idMappings: option.slice(option.indexOf("=") + 1) };
    } else if (option !== "") {
      data.push(option);
    }
  }
  return {
    flags,
    cleared,
    propagation,
    recursive: isRecursive ? { set, clear } : undefined,
    ...own,
    idmap,
    ...ids,
    data,
  };
}

/** MS_* flags as attributes of a new mount. */
export function attributesOf(flags: number): number {
  let attributes = 0;
  if (flags & MS.RDONLY) attributes |= MOUNT_ATTR.RDONLY;
  if (flags & MS.NOSUID) attributes |= MOUNT_ATTR.NOSUID;
  if (flags & MS.NODEV) attributes |= MOUNT_ATTR.NODEV;
  if (flags & MS.NOEXEC) attributes |= MOUNT_ATTR.NOEXEC;
  if (flags & MS.NODIRATIME) attributes |= MOUNT_ATTR.NODIRATIME;
  if (flags & MS.NOSYMFOLLOW) attributes |= MOUNT_ATTR.NOSYMFOLLOW;
  // As in mount(2): strictatime wins over noatime; neither is relatime.
  if (flags & MS.STRICTATIME) attributes |= MOUNT_ATTR.STRICTATIME;
  else if (flags & MS.NOATIME) attributes |= MOUNT_ATTR.NOATIME;
  return attributes;
}

/** MS_* flags that set the access time. */
const ATIME_FLAGS = MS.NOATIME | MS.NODIRATIME | MS.RELATIME | MS.STRICTATIME;
const ATIME_ATTRIBUTES = MOUNT_ATTR__ATIME | MOUNT_ATTR.NODIRATIME;
const MANAGED = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC | MOUNT_ATTR.NOSYMFOLLOW;

/**
 * What a mount that exists is to be: attributes to set, to clear so that it has no others (but for the access time, if
 * none is asked for), and to clear, where others must stay, because the options lift them by name or nothing can lock
 * them.
 */
export function changesOf({ flags, cleared }: Pick<MountOptions, "flags" | "cleared">) {
  const set = attributesOf(flags);
  const atime = flags & ATIME_FLAGS ? ATIME_ATTRIBUTES : 0;
  // A field that is set must be cleared as a whole; a bit must not be both.
  const not = ~(set & ~MOUNT_ATTR__ATIME);
  const named = (attributesOf(cleared) & ~MOUNT_ATTR__ATIME) | MOUNT_ATTR.NOSYMFOLLOW;
  return { set, clear: (MANAGED | atime) & not, lifted: (named | (atime & MOUNT_ATTR__ATIME)) & not };
}

/**
 * The ways of keeping access times that options take back by name: as bits that statfs(2) shows, of which none is the
 * third way, STRICTATIME.
 */
export function liftedAccessTimes({ cleared }: Pick<MountOptions, "cleared">): { mask: number; is: number }[] {
  const ways: { mask: number; is: number }[] = [];
  if (cleared & MS.NOATIME) ways.push({ mask: ST.NOATIME, is: ST.NOATIME });
  if (cleared & MS.RELATIME) ways.push({ mask: ST.RELATIME, is: ST.RELATIME });
  if (cleared & MS.STRICTATIME) ways.push({ mask: ST.NOATIME | ST.RELATIME, is: 0 });
  return ways;
}

/** Flags of the superblock, as fsconfig(2) parameters. */
export function superblockFlags(flags: number): string[] {
  const names: string[] = [];
  if (flags & MS.RDONLY) names.push("ro");
  if (flags & MS.SYNCHRONOUS) names.push("sync");
  if (flags & MS.DIRSYNC) names.push("dirsync");
  if (flags & MS.MANDLOCK) names.push("mand");
  if (flags & MS.LAZYTIME) names.push("lazytime");
  return names;
}
