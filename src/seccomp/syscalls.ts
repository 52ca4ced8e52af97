/** System calls by name, on every architecture whose programs runk's machines run. */
import type { CallArch } from "./names.ts";
import PACKED from "./syscalls.const.ts";

/** Set in the numbers of x32's calls, which are x86_64's to the audit subsystem. */
export const X32_BIT = 0x40000000;

const tables = new Map<CallArch, ReadonlyMap<string, number>>();

/** The table of an architecture: name -> number. */
export function syscallTable(arch: CallArch): ReadonlyMap<string, number> {
  let table = tables.get(arch);
  if (table === undefined) tables.set(arch, table = arch === "x32" ? x32() : unpack(PACKED[arch], new Map()));
  return table;
}

/** A number, then the names of the calls from there on. */
function unpack(packed: string, table: Map<string, number>): Map<string, number> {
  let next = 0;
  for (const word of packed.split(" ")) {
    if (word.charCodeAt(0) <= DIGIT_9) next = Number(word);
    else table.set(word, next++);
  }
  return table;
}
const DIGIT_9 = 57;

function x32(): ReadonlyMap<string, number> {
  const table = unpack(PACKED.x32, new Map(syscallTable("x86_64")));
  for (const name of PACKED.notX32.split(" ")) table.delete(name);
  for (const [name, number] of table) table.set(name, number + X32_BIT);
  return table;
}

/**
 * Calls that 32-bit x86 also has behind another one, whose first argument says which it is.
 * Source: include/uapi/linux/{net,ipc}.h.
 */
const SOCKETCALL = ("socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom " +
  "shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg").split(" ");
const IPC: Readonly<Record<string, number>> = {
  semop: 1,
  semget: 2,
  semctl: 3,
  semtimedop: 4,
  msgsnd: 11,
  msgrcv: 12,
  msgget: 13,
  msgctl: 14,
  shmat: 21,
  shmdt: 22,
  shmget: 23,
  shmctl: 24,
};

/** The call behind which 32-bit x86 has another one, and the value of its first argument that means it. */
export interface Multiplexed {
  readonly through: "socketcall" | "ipc";
  readonly as: number;
}
const MULTIPLEXED: ReadonlyMap<string, Multiplexed> = new Map([
  ...SOCKETCALL.map((name, i): [string, Multiplexed] => [name, { through: "socketcall", as: i + 1 }]),
  ...Object.entries(IPC).map(([name, as]): [string, Multiplexed] => [name, { through: "ipc", as }]),
]);
/** How 32-bit x86 makes a call, where that is through another one. */
export const multiplexed = (name: string): Multiplexed | undefined => MULTIPLEXED.get(name);
