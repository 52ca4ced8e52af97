/**
 * Names that config.json and command lines use, with the kernel's numbers: capabilities, resource limits, signals.
 * Source: include/uapi/linux/capability.h, asm-generic/{resource,signal}.h; the same on both machines.
 */

/** Capabilities in the order of their numbers: CAP_CHOWN is 0. */
export const CAPABILITIES = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE " +
  "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT " +
  "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP " +
  "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split(" ").map((name) => "CAP_" + name);

/** Resource limits in the order of their numbers: RLIMIT_CPU is 0. */
export const RLIMITS =
  "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
    .split(" ").map((name) => "RLIMIT_" + name);
export const RLIMIT_NOFILE = 7;

/** Signals in the order of their numbers: SIGHUP is 1. Real-time signals have no names here, as in runc. */
export const SIGNALS = ("HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT " +
  "STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS").split(" ").map((name) => "SIG" + name);
/** Other names of the same signals. */
const SIGNAL_ALIASES: Record<string, string> = {
  SIGIOT: "SIGABRT",
  SIGCLD: "SIGCHLD",
  SIGPOLL: "SIGIO",
  SIGUNUSED: "SIGSYS",
};
export const SIGNAL_COUNT = 64;

/** The numbers that code needs. */
export const SIG = { HUP: 1, INT: 2, KILL: 9, PIPE: 13, TERM: 15, CHLD: 17, STOP: 19, URG: 23, WINCH: 28 } as const;

/**
 * The number of a signal written as on runc's command line: a decimal number, or a name in any case with or without
 * "SIG". Undefined for anything else.
 */
export function signalNumber(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  let name = text.toUpperCase();
  if (!name.startsWith("SIG")) name = "SIG" + name;
  const index = SIGNALS.indexOf(SIGNAL_ALIASES[name] ?? name);
  return index < 0 ? undefined : index + 1;
}

/** "SIGKILL" for 9; "signal 42" for one without a name. */
export function signalName(number: number): string {
  return SIGNALS[number - 1] ?? `signal ${number}`;
}

/** Texts of signals as Go's programs print them. */
const SIGNAL_TEXTS = ("hangup|interrupt|quit|illegal instruction|trace/breakpoint trap|aborted|bus error|" +
  "floating point exception|killed|user defined signal 1|segmentation fault|user defined signal 2|broken pipe|" +
  "alarm clock|terminated|stack fault|child exited|continued|stopped (signal)|stopped|stopped (tty input)|" +
  "stopped (tty output)|urgent I/O condition|CPU time limit exceeded|file size limit exceeded|virtual timer expired|" +
  "profiling timer expired|window changed|I/O possible|power failure|bad system call").split("|");

/** "killed" for 9; "signal 42" for one without a text. */
export function signalText(number: number): string {
  return SIGNAL_TEXTS[number - 1] ?? `signal ${number}`;
}
