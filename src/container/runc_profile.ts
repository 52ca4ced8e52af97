/** The seccomp profile of a container that runc made, from its record: runc keeps it there with names of its own. */
import { RunkError } from "../errors.ts";
import type { Seccomp } from "../spec/schema.ts";
import type { StateRecord } from "../state/record.ts";

/** In the order of runc's numbers, which begin at 1. Source: libcontainer/configs/config.go */
const ACTIONS = "KILL ERRNO TRAP ALLOW TRACE LOG NOTIFY KILL_THREAD KILL_PROCESS".split(" ");
const OPERATORS = "EQ NE GT GE LT LE MASKED_EQ".split(" ");
/** Go's names of architectures, where they are not those of profiles in lower case. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  amd64: "X86_64",
  arm64: "AARCH64",
  loong64: "LOONGARCH64",
};

/**
 * As config.json has it; undefined for a container without one.
 * @throws {RunkError} for a number that runk does not know: a process must never have less of a filter than its container
 */
export function runcProfile({ config: { seccomp } }: StateRecord): Seccomp | undefined {
  if (seccomp === undefined || seccomp === null) return undefined;
  const named = (names: readonly string[], prefix: string, number: number) => {
    const name = names[number - 1];
    if (name === undefined) throw new RunkError(`the container's record has a seccomp profile with ${prefix}${number}`);
    return prefix + name;
  };
  const action = (number: number) => named(ACTIONS, "SCMP_ACT_", number);
  const errno = (value: number | null | undefined) => (typeof value === "number" ? { errnoRet: value } : {});
  return {
    defaultAction: action(seccomp.default_action),
    ...(typeof seccomp.default_errno_ret === "number" ? { defaultErrnoRet: seccomp.default_errno_ret } : {}),
    architectures: (seccomp.architectures ?? []).map((name) =>
      `SCMP_ARCH_${ARCHITECTURES[name] ?? name.toUpperCase()}`
    ),
    ...(seccomp.flags ? { flags: [...seccomp.flags] } : {}),
    ...(seccomp.listener_path ? { listenerPath: seccomp.listener_path } : {}),
    ...(seccomp.listener_metadata ? { listenerMetadata: seccomp.listener_metadata } : {}),
    syscalls: (seccomp.syscalls ?? []).map(({ name, action: number, errnoRet, args }) => ({
      names: [name],
      action: action(number),
      ...errno(errnoRet),
      args: (args ?? []).map(({ index, value, value_two, op }) => ({
        index,
        value,
        valueTwo: value_two ?? 0,
        op: named(OPERATORS, "SCMP_CMP_", op),
      })),
    })),
  } as Seccomp;
}
