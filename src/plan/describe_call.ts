/** System calls and operands in words: the one place that knows how each call's arguments read. */
import { errnoName } from "../abi/errno.ts";
import * as flags from "../abi/flags.ts";
import { O, type OpenFlags } from "../abi/arch.ts";
import { CAPABILITIES, RLIMITS, signalName } from "../abi/names.ts";
import {
  IOPRIO_CLASS_SHIFT,
  IOPRIO_CLASSES,
  MEMORY_POLICIES,
  MEMORY_POLICY_FLAGS,
  PERSONALITIES,
} from "../abi/scheduling.ts";
import { type Condition, type Operand, type Plan, REF, type Step } from "./types.ts";

type Formatter = (value: Operand, plan: Plan) => string;

const set = (names: Readonly<Record<string, number>>): Formatter => (value) =>
  typeof value === "number" ? flags.flagNames(names, value) : operand(value);
const oneOf = (names: Readonly<Record<string, number>>): Formatter => (value) =>
  typeof value === "number" ? flags.enumName(names, value).toLowerCase() : operand(value);
const octal: Formatter = (
  value,
) => (typeof value === "number" && value !== 0 ? "0" + value.toString(8) : operand(value));
const fd: Formatter = (value) => (value === flags.AT_FDCWD ? "cwd" : operand(value));
const openFlags: Formatter = (value, { arch }) => {
  if (typeof value !== "number") return operand(value);
  const names = flags.flagNames(withoutAccess(O[arch]), value);
  // Reading is the access without a bit; a descriptor for the path alone has none.
  return (value & (O[arch].WRONLY | O[arch].RDWR | O[arch].PATH)) !== 0
    ? names
    : value === 0
    ? "rdonly"
    : `rdonly|${names}`;
};
const any: Formatter = (value) => operand(value);
const id: Formatter = (value) =>
  value === -1 ? "unchanged" : typeof value === "object" ? operand(value) : String(value);
const named = (names: readonly string[]): Formatter => (value) =>
  typeof value === "number" ? names[value] ?? String(value) : operand(value);
const signal: Formatter = (value) => (typeof value === "number" ? signalName(value) : operand(value));
const tree = {
  clone: flags.OPEN_TREE.CLONE,
  cloexec: flags.OPEN_TREE.CLOEXEC,
  recursive: flags.AT.RECURSIVE,
  empty_path: flags.AT.EMPTY_PATH,
};
const statxFlags = { empty_path: flags.AT.EMPTY_PATH, symlink_nofollow: flags.AT.SYMLINK_NOFOLLOW };
const setattrFlags = { recursive: flags.AT.RECURSIVE, empty_path: flags.AT.EMPTY_PATH };
const protection = { read: 1, write: 2, exec: 4 };
const fileType = (value: number) =>
  Object.entries(flags.S).find(([, type]) => type === (value & flags.S_IFMT))?.[0].replace(/^I(FIFO)$|^IF/, "$1")
    .toLowerCase();
const nodeMode: Formatter = (value) =>
  typeof value === "number" ? `${fileType(value) ?? ""}|0${(value & ~flags.S_IFMT).toString(8)}` : operand(value);

/** As makedev(3) puts a device's numbers together. */
const device: Formatter = (value) => {
  if (typeof value === "object") return operand(value);
  const number = BigInt(value);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n);
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
};
const process: Formatter = (value) => (value === 0 ? "self" : operand(value));
const ioPriority: Formatter = (value) =>
  typeof value === "number"
    ? `${flags.enumName(IOPRIO_CLASSES, value >> IOPRIO_CLASS_SHIFT).toLowerCase()}|${value & 7}`
    : operand(value);
const memoryPolicy: Formatter = (value) => {
  if (typeof value !== "number") return operand(value);
  const bits = Object.entries(MEMORY_POLICY_FLAGS).filter(([, bit]) => (value & bit) !== 0);
  return [flags.enumName(MEMORY_POLICIES, value & 0xff), ...bits.map(([name]) => name)].join("|").toLowerCase();
};

/** Type and flags of a socket in one number. */
const socketType: Formatter = (value) => {
  if (typeof value !== "number") return operand(value);
  const type = flags.enumName({ STREAM: 1, DGRAM: 2, RAW: 3, SEQPACKET: 5 }, value & 0xf).toLowerCase();
  return (value & flags.SOCK.CLOEXEC) !== 0 ? `${type}|cloexec` : type;
};
const { BASIC_STATS, ...someFields } = flags.STATX;
const statxFields = { BASIC_STATS, ...someFields, MNT_ID: 0x1000 };
const statxMask: Formatter = (value) =>
  typeof value === "number" ? flags.flagNames(statxFields, value) : operand(value);
const keyRights = { view: 1, read: 2, write: 4, search: 8, link: 16, setattr: 32 };
/** Rights over a key: of who possesses it, its user, its group, others; a byte each. */
const keyPermissions: Formatter = (value) => {
  if (typeof value !== "number") return operand(value);
  const rights = (shift: number) => (value >>> shift) & 0x3f;
  const words = ([["possessor", 24], ["user", 16], ["group", 8], ["other", 0]] as const)
    .filter(([, shift]) => rights(shift) !== 0)
    .map(([who, shift]) => `${who} ${rights(shift) === 0x3f ? "all" : flags.flagNames(keyRights, rights(shift))}`);
  return `{${words.join(", ")}}`;
};
/** The three sets of capset(2), by name. */
const capabilitySets: Formatter = (value) => {
  if (typeof value !== "object" || value.kind !== REF.BYTES) return operand(value);
  const { buffer, byteOffset } = value.data as Uint8Array;
  const view = new DataView(buffer, byteOffset);
  const names = (word: number) => {
    const bits = BigInt(view.getUint32(4 * word, true)) | (BigInt(view.getUint32(4 * word + 12, true)) << 32n);
    const all = CAPABILITIES.filter((_, number) => (bits & (1n << BigInt(number))) !== 0n);
    // The first ones without a gap are all that the kernel knows.
    const isAll = all.length > 30 && all.at(-1) === CAPABILITIES[all.length - 1];
    return isAll ? `all ${all.length}` : all.map((name) => name.slice(4).toLowerCase()).join("|") || "none";
  };
  const [effective, permitted, inheritable] = [names(0), names(1), names(2)];
  return `{effective ${effective}, permitted ${
    permitted === effective ? "the same" : permitted
  }, inheritable ${inheritable}}`;
};
const ambient = { IS_SET: 1, ...flags.PR_CAP_AMBIENT };

const withoutAccess = ({ WRONLY, RDWR, ...rest }: OpenFlags) => ({ ...rest, WRONLY, RDWR });

/** How each call's arguments read; calls that are not here have plain ones. */
const ARGUMENTS: Readonly<Record<string, readonly Formatter[]>> = {
  capset: [any, capabilitySets],
  capget: [any, any],
  socketpair: [oneOf(flags.AF), socketType, any, any],
  socket: [oneOf(flags.AF), socketType],
  newfstatat: [fd, any, any, set(statxFlags)],
  sendmsg: [any, any, set(flags.MSG)],
  recvmsg: [any, any, set(flags.MSG)],
  sethostname: [any],
  setdomainname: [any],
  nanosleep: [any],
  lseek: [any, any, (value) => (value === 0 ? "set" : operand(value))],
  dup3: [any, any],
  getdents64: [any, any],
  fchown: [any, id, id],
  setgroups: [any, (value) => (value === 0 ? "[]" : operand(value))],
  bpf: [oneOf(flags.BPF_COMMAND), any],
  clone3: [any],
  close_range: [any, (value) => (value === 0xffffffff ? "all" : operand(value)), set(flags.CLOSE_RANGE)],
  faccessat2: [fd, any, (value) => (value === 1 ? "execute" : operand(value)), set({ eaccess: flags.AT.EACCESS })],
  fchmodat: [fd, any, octal],
  fchownat: [fd, any, id, id, set(statxFlags)],
  fcntl: [any, oneOf(flags.F), any],
  fsconfig: [any, oneOf(flags.FSCONFIG), any, any],
  fsmount: [any, set(flags.FSMOUNT), set(flags.MOUNT_ATTR)],
  fsopen: [any, set(flags.FSOPEN)],
  fspick: [fd, any, set(flags.FSPICK)],
  ioctl: [any, oneOf(flags.IOCTL), any],
  ioprio_set: [(value) => (value === 1 ? "process" : operand(value)), any, ioPriority],
  keyctl: [oneOf(flags.KEYCTL), any, keyPermissions],
  memfd_create: [any, set(flags.MFD)],
  mkdirat: [fd, any, octal],
  mknodat: [fd, any, nodeMode, device],
  mmap: [any, any, set(protection), set({ shared: 1, private: 2, anonymous: 0x20 }), any, any],
  mount_setattr: [fd, any, set(setattrFlags), any],
  move_mount: [fd, any, fd, any, set(flags.MOVE_MOUNT)],
  open_tree: [fd, any, set(tree)],
  openat: [fd, any, openFlags, octal],
  openat2: [fd, any, any],
  personality: [oneOf(PERSONALITIES)],
  pidfd_send_signal: [any, signal],
  prctl: [oneOf(flags.PR), any],
  prlimit64: [any, named(RLIMITS), any],
  recvfrom: [any, any, any],
  renameat2: [fd, any, fd, any],
  rt_sigaction: [signal, any],
  rt_sigprocmask: [(value) => (value === 2 ? "setmask" : operand(value)), any],
  sched_setaffinity: [process, any, any],
  sched_setattr: [process, any],
  seccomp: [oneOf(flags.SECCOMP), set(flags.SECCOMP_FILTER_FLAG), any],
  sendto: [any, any, any, set(flags.MSG)],
  set_mempolicy: [memoryPolicy, any, any],
  setns: [any, set(flags.CLONE)],
  setresgid: [any, any, any],
  setresuid: [any, any, any],
  statx: [fd, any, set(statxFlags), statxMask],
  symlinkat: [any, fd, any],
  umask: [octal],
  umount2: [any, set(flags.MNT)],
  unlinkat: [fd, any, set({ removedir: flags.AT.REMOVEDIR })],
  unshare: [set(flags.CLONE)],
  waitid: [oneOf(flags.P), any, any, set(flags.W)],
  ppoll: [any, any, (value) => (value === 0 ? "no timeout" : operand(value))],
};

/** An operand without knowledge of what it is for. */
export function operand(value: Operand): string {
  // Bits of something, where they are as many as that.
  if (typeof value === "bigint") return value > 0xffffn ? "0x" + value.toString(16) : String(value);
  if (typeof value === "number") return String(value);
  const { kind, name, data, at } = value;
  const offset = at === 0 ? "" : `+${at}`;
  switch (kind) {
    case REF.SLOT:
      return name.includes(" ") ? `<${name}>` : name;
    case REF.SIZE:
      return String(new TextEncoder().encode(name).length);
    case REF.TEXT:
    case REF.JSON:
      return JSON.stringify(name) + offset;
    case REF.BUFFER:
      return `&<${name}>${offset}`;
    case REF.LABEL:
      return `label <${name}>`;
    case REF.WORDS:
      return at === 8 * (data as readonly Operand[]).length ? `the end of ${name}` : name + offset;
    default:
      return name + offset;
  }
}

/** Arguments whose meaning depends on those before them. */
function dependentArguments({ call, args }: Step, plan: Plan): string[] | undefined {
  const [first, second, third] = args;
  if (call === "prctl" && first === flags.PR.CAPBSET_DROP && typeof second === "number") {
    return ["capbset_drop", CAPABILITIES[second] ?? String(second)];
  }
  if (call === "prctl" && first === flags.PR.CAP_AMBIENT && typeof second === "number") {
    const name = flags.enumName(ambient, second).toLowerCase();
    return [
      "cap_ambient",
      name,
      ...(typeof third === "number" && third !== 0 ? [CAPABILITIES[third] ?? String(third)] : []),
    ];
  }
  if (call === "fcntl" && second === flags.F.ADD_SEALS && typeof third === "number") {
    return [operand(first!), "add_seals", flags.flagNames(flags.F_SEAL, third)];
  }
  if (call === "ioctl" && second === flags.IOCTL.TIOCGPTPEER) {
    return [operand(first!), "tiocgptpeer", openFlags(third!, plan)];
  }
  if (call === "fsconfig" && typeof second === "number") {
    // Of a command there is no more to say, of a flag only its name.
    const length = second >= flags.FSCONFIG.CMD_CREATE ? 0 : second === flags.FSCONFIG.SET_FLAG ? 1 : 3;
    return [operand(first!), flags.enumName(flags.FSCONFIG, second).toLowerCase().replace("cmd_", "")]
      .concat(
        args.slice(2, 2 + Math.min(length, second === flags.FSCONFIG.SET_STRING ? 2 : 3)).map((value) =>
          operand(value)
        ),
      );
  }
  return undefined;
}

/** How a value reads as an argument of a call. */
export const describeArgument = (call: string, index: number, value: Operand, plan: Plan): string =>
  ARGUMENTS[call]?.[index]?.(value, plan) ?? operand(value);

/** The arguments of a system call, decoded for people, in order. */
export function callArguments(step: Step, plan: Plan): string[] {
  const formatters = ARGUMENTS[step.call!];
  if (step.call === "clone3") return [cloneArguments(step, plan)];
  const dependent = dependentArguments(step, plan);
  if (dependent !== undefined) return dependent;
  if (formatters === undefined) return step.args.map((value) => operand(value));
  // Arguments behind the last formatter are sizes and zeros that say nothing.
  return step.args.slice(0, formatters.length).map((value, i) => formatters[i]!(value, plan));
}

function cloneArguments({ args }: Step, { buffers }: Plan): string {
  const [first] = args;
  const buffer = buffers.find(({ name }) =>
    typeof first === "object" && first.kind === REF.BUFFER && first.name === name
  );
  const value = buffer?.words?.[0];
  return typeof value === "number" ? flags.flagNames(flags.CLONE, value) : operand(first ?? 0);
}

/** A system call with its decoded arguments: `fsmount(fs, cloexec, nosuid|nodev)`. */
export function describeCall(step: Step, plan: Plan): string {
  return `${step.call}(${callArguments(step, plan).join(", ")})`;
}

/** `(mode & type) == dir`, `found == -ENOENT`. */
export function condition({ left, is, right, mask }: Condition): string {
  if (mask === flags.S_IFMT && typeof right === "number") {
    return `type of ${operand(left)} ${is} ${fileType(right) ?? right}`;
  }
  const masked = mask === undefined ? operand(left) : `${operand(left)} & 0x${mask.toString(16)}`;
  return `${masked} ${is} ${compared(right)}`;
}

/** What results are compared with: negative error numbers, and the magic numbers of file systems. */
function compared(value: Operand): string {
  if (typeof value !== "number") return operand(value);
  if (value < 0) return "-" + errnoName(-value);
  const name = Object.keys(flags.FS_MAGIC).find((name) =>
    flags.FS_MAGIC[name as keyof typeof flags.FS_MAGIC] === value
  );
  return name === undefined ? operand(value) : `${name.toLowerCase()}'s`;
}
