/**
 * Flag sets and small enumerations of the kernel interface, the same on both machines, each as one object from name
 * to bit. The builder of the plan reads the bits, its printer reads the names.
 * Source: include/uapi/linux/{mount,sched,prctl,openat2,stat,fcntl,memfd,close_range,seccomp}.h of Linux 6.18.
 */

/** mount(2) flags: what config.json's mount options mean, before they become {@link MOUNT_ATTR} and fs parameters. */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  SYNCHRONOUS: 16,
  REMOUNT: 32,
  MANDLOCK: 64,
  DIRSYNC: 128,
  NOSYMFOLLOW: 256,
  NOATIME: 1024,
  NODIRATIME: 2048,
  BIND: 4096,
  MOVE: 8192,
  REC: 16384,
  SILENT: 32768,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
  RELATIME: 1 << 21,
  I_VERSION: 1 << 23,
  STRICTATIME: 1 << 24,
  LAZYTIME: 1 << 25,
} as const;

/** Flags of a mount as statfs(2) shows them. */
export const ST = { NOATIME: 0x400, RELATIME: 0x1000 } as const;
/** Attributes of one mount: fsmount(2), mount_setattr(2). */
export const MOUNT_ATTR = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  NOATIME: 0x10,
  STRICTATIME: 0x20,
  NODIRATIME: 0x80,
  IDMAP: 0x100000,
  NOSYMFOLLOW: 0x200000,
} as const;
/** The bits of MOUNT_ATTR that hold the access time setting (0 is relatime). */
export const MOUNT_ATTR__ATIME = 0x70;

export const CLONE = {
  NEWTIME: 0x80,
  PIDFD: 0x1000,
  PARENT: 0x8000,
  NEWNS: 0x20000,
  NEWCGROUP: 0x2000000,
  NEWUTS: 0x4000000,
  NEWIPC: 0x8000000,
  NEWUSER: 0x10000000,
  NEWPID: 0x20000000,
  NEWNET: 0x40000000,
  INTO_CGROUP: 0x200000000,
} as const;

export const AT = {
  SYMLINK_NOFOLLOW: 0x100,
  REMOVEDIR: 0x200,
  EACCESS: 0x200,
  EMPTY_PATH: 0x1000,
  RECURSIVE: 0x8000,
} as const;
export const AT_FDCWD = -100;

export const RESOLVE = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const;
export const OPEN_TREE = { CLONE: 1, CLOEXEC: 0o2000000 } as const;
export const MOVE_MOUNT = {
  F_SYMLINKS: 1,
  F_AUTOMOUNTS: 2,
  F_EMPTY_PATH: 4,
  T_SYMLINKS: 0x10,
  T_AUTOMOUNTS: 0x20,
  T_EMPTY_PATH: 0x40,
} as const;
export const FSOPEN = { CLOEXEC: 1 } as const;
export const FSPICK = { CLOEXEC: 1, EMPTY_PATH: 8 } as const;
export const FSMOUNT = { CLOEXEC: 1 } as const;
export const FSCONFIG = {
  SET_FLAG: 0,
  SET_STRING: 1,
  SET_BINARY: 2,
  SET_PATH: 3,
  SET_PATH_EMPTY: 4,
  SET_FD: 5,
  CMD_CREATE: 6,
  CMD_RECONFIGURE: 7,
} as const;
export const MNT = { DETACH: 2 } as const;

export const PR = {
  SET_PDEATHSIG: 1,
  SET_DUMPABLE: 4,
  SET_KEEPCAPS: 8,
  SET_NAME: 15,
  CAPBSET_DROP: 24,
  SET_CHILD_SUBREAPER: 36,
  SET_NO_NEW_PRIVS: 38,
  CAP_AMBIENT: 47,
} as const;
export const PR_CAP_AMBIENT = { RAISE: 2, CLEAR_ALL: 4 } as const;

export const SECCOMP = { SET_MODE_FILTER: 1 } as const;
export const SECCOMP_FILTER_FLAG = { LOG: 2, SPEC_ALLOW: 4, NEW_LISTENER: 8, WAIT_KILLABLE_RECV: 32 } as const;

export const MFD = { CLOEXEC: 1, ALLOW_SEALING: 2, NOEXEC_SEAL: 8, EXEC: 16 } as const;
export const F = {
  GETFD: 1,
  SETFD: 2,
  GETFL: 3,
  SETFL: 4,
  DUPFD_CLOEXEC: 1030,
  GETPIPE_SZ: 1032,
  ADD_SEALS: 1033,
} as const;
export const SPLICE = { NONBLOCK: 2 } as const;
export const F_SEAL = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8 } as const;
export const CLOSE_RANGE = { UNSHARE: 2, CLOEXEC: 4 } as const;

/** File types in `st_mode`. */
export const S_IFMT = 0o170000;
export const S = {
  IFIFO: 0o10000,
  IFCHR: 0o20000,
  IFDIR: 0o40000,
  IFBLK: 0o60000,
  IFREG: 0o100000,
  IFLNK: 0o120000,
} as const;

/** statx(2): mask bits and the offsets of the fields that plans read. */
export const STATX = { TYPE: 1, MODE: 2, UID: 8, INO: 0x100, SIZE: 0x200, BASIC_STATS: 0x7ff } as const;
export const STATX_ATTR = { MOUNT_ROOT: 0x2000 } as const;
export const STATX_FIELD = {
  attributes: 8,
  mode: 28,
  uid: 20,
  gid: 24,
  ino: 32,
  size: 40,
  rdevMajor: 128,
  rdevMinor: 132,
} as const;
export const STATX_SIZE = 256;

/** bpf(2). Source: include/uapi/linux/bpf.h. */
export const BPF_COMMAND = {
  PROG_LOAD: 5,
  PROG_ATTACH: 8,
  PROG_DETACH: 9,
  PROG_GET_FD_BY_ID: 13,
  PROG_QUERY: 16,
} as const;
export const BPF_PROGRAM = { CGROUP_DEVICE: 15 } as const;
/** An attach type, and flags of attaching. */
export const BPF_ATTACH = { CGROUP_DEVICE: 6, ALLOW_MULTI: 2, REPLACE: 4 } as const;

export const INOTIFY = { MODIFY: 2 } as const;

/** waitid(2). */
export const P = { ALL: 0, PID: 1, PIDFD: 3 } as const;
export const W = { NOHANG: 1, EXITED: 4, NOWAIT: 0x1000000 } as const;
/** `si_code` of a child that ended. */
export const CLD = { EXITED: 1, KILLED: 2, DUMPED: 3 } as const;
/** Offsets in siginfo_t of a child's end; `pid`, `status` in host byte order. */
export const SIGINFO_FIELD = { code: 8, pid: 16, status: 24 } as const;
export const SIGINFO_SIZE = 128;

export const POLL = { IN: 1, OUT: 4, ERR: 8, HUP: 16, NVAL: 32 } as const;
export const EFD = { NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const;
export const MSG = { TRUNC: 0x20, DONTWAIT: 0x40, NOSIGNAL: 0x4000, CMSG_CLOEXEC: 0x40000000 } as const;
export const SOCK = { STREAM: 1, DGRAM: 2, SEQPACKET: 5, CLOEXEC: 0o2000000 } as const;
export const AF = { UNIX: 1, INET: 2, NETLINK: 16 } as const;
/** rtnetlink(7): protocol and option of the socket, kinds of messages, their flags. */
export const NETLINK = { ROUTE: 0, GET_STRICT_CHK: 12 } as const;
export const SOL_NETLINK = 270;
export const NLMSG = { NOOP: 1, ERROR: 2, DONE: 3 } as const;
export const RTM = { SETLINK: 19, NEWADDR: 20, GETADDR: 22 } as const;
export const NLM_F = { REQUEST: 1, ACK: 4, EXCL: 0x200, DUMP: 0x300, CREATE: 0x400 } as const;
export const SOL_SOCKET = 1;
export const SCM_RIGHTS = 1;

/** ioctl(2) requests; the same numbers on both machines. */
export const IOCTL = {
  TCGETS: 0x5401,
  TCSETS: 0x5402,
  TIOCSCTTY: 0x540e,
  TIOCGWINSZ: 0x5413,
  TIOCSWINSZ: 0x5414,
  TIOCGPTN: 0x80045430,
  TIOCSPTLCK: 0x40045431,
  TIOCGPTPEER: 0x5441,
  SIOCGIFFLAGS: 0x8913,
  SIOCSIFFLAGS: 0x8914,
  SIOCGIFINDEX: 0x8933,
} as const;

export const KEYCTL = { JOIN_SESSION_KEYRING: 1, SETPERM: 5 } as const;

/** Magic numbers of file systems in statfs(2). Source: include/uapi/linux/magic.h. */
export const FS_MAGIC = {
  PROC: 0x9fa0,
  CGROUP: 0x27e0eb,
  CGROUP2: 0x63677270,
  TMPFS: 0x01021994,
  DEVPTS: 0x1cd1,
  SELINUX: 0xf97cff8c,
} as const;

/** Namespace types of config.json: their clone flag and their name under /proc/<pid>/ns. */
export const NAMESPACES = {
  user: { flag: CLONE.NEWUSER, file: "user" },
  pid: { flag: CLONE.NEWPID, file: "pid" },
  ipc: { flag: CLONE.NEWIPC, file: "ipc" },
  uts: { flag: CLONE.NEWUTS, file: "uts" },
  network: { flag: CLONE.NEWNET, file: "net" },
  cgroup: { flag: CLONE.NEWCGROUP, file: "cgroup" },
  time: { flag: CLONE.NEWTIME, file: "time" },
  mount: { flag: CLONE.NEWNS, file: "mnt" },
} as const;
export type NamespaceType = keyof typeof NAMESPACES;

/**
 * The names of the bits of `value`, joined by "|"; bits without a name as hex, "0" for none.
 * Names are lower case, as mount(8) and the man pages of the new mount interface write them.
 */
export function flagNames(set: Readonly<Record<string, number>>, value: number): string {
  let rest = value;
  const names: string[] = [];
  for (const [name, bit] of Object.entries(set)) {
    // Division instead of &, because CLONE_INTO_CGROUP is beyond 32 bits.
    if (bit !== 0 && Math.floor(rest / bit) % 2 === 1) {
      names.push(name.toLowerCase());
      rest -= bit;
    }
  }
  if (rest !== 0) names.push("0x" + rest.toString(16));
  return names.length === 0 ? "0" : names.join("|");
}

/** The name of an enumeration's value, as written in the kernel's headers; the number where it has none. */
export function enumName(set: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(set).find((name) => set[name] === value) ?? String(value);
}
