/**
 * The words of a seccomp profile, with what they stand for in the kernel's interface. The names are libseccomp's, in
 * the order in which `features` lists them.
 * Source: runtime-spec config-linux.md#seccomp; include/uapi/linux/{seccomp,audit,elf-em}.h of Linux 6.18.
 */
import { SECCOMP_FILTER_FLAG } from "../abi/flags.ts";

/** What a filter returns for an action; ERRNO and TRACE carry 16 bits of data. */
export const ACTIONS = {
  SCMP_ACT_ALLOW: 0x7fff0000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_KILL: 0x00000000,
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_KILL_THREAD: 0x00000000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_NOTIFY: 0x7fc00000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_TRAP: 0x00030000,
} as const;
export type ActionName = keyof typeof ACTIONS;

/** The action in a filter's return value, without its data. */
export const actionOf = (value: number): number => (value & 0xffff0000) >>> 0;

/** How a condition compares an argument; what MASKED_EQ masks it with is the condition's `value`. */
export const OPERATORS = {
  SCMP_CMP_EQ: "==",
  SCMP_CMP_GE: ">=",
  SCMP_CMP_GT: ">",
  SCMP_CMP_LE: "<=",
  SCMP_CMP_LT: "<",
  SCMP_CMP_MASKED_EQ: "&==",
  SCMP_CMP_NE: "!=",
} as const;
export type Operator = (typeof OPERATORS)[keyof typeof OPERATORS];

/** Flags of seccomp(2) that a profile may set. TSYNC is nothing here: there is one thread when the filter is loaded. */
export const FLAGS = {
  SECCOMP_FILTER_FLAG_TSYNC: 0,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: SECCOMP_FILTER_FLAG.SPEC_ALLOW,
  SECCOMP_FILTER_FLAG_LOG: SECCOMP_FILTER_FLAG.LOG,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: SECCOMP_FILTER_FLAG.WAIT_KILLABLE_RECV,
} as const;

/** AUDIT_ARCH_* of the architectures that runk's machines run programs of. x32 is told apart by the call's number. */
export const AUDIT_ARCH = { x86_64: 0xc000003e, x86: 0x40000003, aarch64: 0xc00000b7, arm: 0x40000028 } as const;

/** Architectures that profiles name -> that of AUDIT_ARCH, or undefined where no machine of runk's runs its programs. */
export const ARCHITECTURES = {
  SCMP_ARCH_X86: "x86",
  SCMP_ARCH_X86_64: "x86_64",
  SCMP_ARCH_X32: "x32",
  SCMP_ARCH_ARM: "arm",
  SCMP_ARCH_AARCH64: "aarch64",
  SCMP_ARCH_MIPS: undefined,
  SCMP_ARCH_MIPS64: undefined,
  SCMP_ARCH_MIPS64N32: undefined,
  SCMP_ARCH_MIPSEL: undefined,
  SCMP_ARCH_MIPSEL64: undefined,
  SCMP_ARCH_MIPSEL64N32: undefined,
  SCMP_ARCH_PPC: undefined,
  SCMP_ARCH_PPC64: undefined,
  SCMP_ARCH_PPC64LE: undefined,
  SCMP_ARCH_RISCV64: undefined,
  SCMP_ARCH_S390: undefined,
  SCMP_ARCH_S390X: undefined,
  SCMP_ARCH_LOONGARCH64: undefined,
} as const;
export type CallArch = keyof typeof AUDIT_ARCH | "x32";
