/** What --debug tells of a plan before it is carried out: loaded only then. */
import { SECCOMP } from "../abi/flags.ts";
import { type Operand, type Plan, REF } from "../plan/types.ts";

/** runc's words for what it tells too; its users look for them. */
export function notesOn({ steps }: Plan): string[] {
  return steps.flatMap(({ call, args, task }) => {
    if (call === "seccomp" && args[0] === SECCOMP.SET_MODE_FILTER) return [`seccomp filter flags: ${args[1]}`];
    const isInitial = call === "sched_setaffinity" && task.path === "/process/execCPUAffinity/initial";
    return isInitial ? [`nsexec: affinity: 0x${maskOf(args[2]).toString(16)}`] : [];
  });
}

/** The number that an array of 64-bit words is. */
function maskOf(mask: Operand | undefined): bigint {
  if (typeof mask !== "object" || mask.kind !== REF.WORDS) return 0n;
  return (mask.data as readonly (bigint | number)[])
    .reduce<bigint>((sum, word, i) => sum | (BigInt(word) << BigInt(64 * i)), 0n);
}
