/**
 * The executor: a loop over records, written once in the operations of assembler.ts. It knows system calls, branches,
 * moves between slots and memory, and decimal numbers; what a container is, only the plan knows.
 */
import type { Arch } from "../abi/arch.ts";
import { E } from "../abi/errno.ts";
import { MSG } from "../abi/flags.ts";
import { syscallNumber } from "../abi/syscalls.ts";
import { RESERVED_SLOTS } from "../plan/types.ts";
import { MESSAGE } from "../plan/types.ts";
import { Assembler } from "./assembler.ts";
import {
  ARGS_MAX,
  CONDITION,
  EXIT_LOST,
  FAILURE_MESSAGE_SIZE,
  MACHINE,
  NONE,
  OP,
  RECORD,
  RECORD_SHIFT,
  RECORD_SIZE,
  TOLERATE_MAX,
} from "./layout.ts";

export interface Program {
  readonly code: Uint8Array;
  /** Offset, bytes and mnemonic of every operation. */
  readonly listing: readonly string[];
}

const REPORT_SLOT = MACHINE.slots + 8 * RESERVED_SLOTS.indexOf("report");
const INDEX_SLOT = MACHINE.slots + 8 * RESERVED_SLOTS.indexOf("index");
const ERRNO_SLOT = MACHINE.slots + 8 * RESERVED_SLOTS.indexOf("errno");

/** The executor's machine code; `data` is the address of the machine's writable memory. Entry is the first byte. */
export function assembleProgram(arch: Arch, data: number): Program {
  const a = new Assembler(arch);
  const slotAddress = (r: "t0" | "t1") => {
    a.shl(r, 3);
    a.add(r, "work");
  };

  a.li("work", data);
  a.ld(8, "step", "work", MACHINE.records);

  a.label("run");
  a.ld(1, "t3", "step", RECORD.slots);
  for (let i = 0; i < ARGS_MAX; i++) {
    a.ld(8, "t0", "step", RECORD.args + 8 * i);
    a.branchClear("t3", i, `argument ${i}`);
    slotAddress("t0");
    a.ld(8, "t0", "t0", MACHINE.slots);
    a.label(`argument ${i}`);
    a.st(8, "t0", "work", MACHINE.args + 8 * i);
  }
  a.ld(1, "t1", "step", RECORD.op);
  a.branch("t1", "==", OP.set, "set");
  a.branch("t1", "==", OP.load, "load");
  a.branch("t1", "==", OP.store, "store");
  a.branch("t1", "==", OP.format, "format");
  a.branch("t1", "!=", OP.syscall, "compare"); // jump and fail

  // syscall
  a.ld(2, "t0", "step", RECORD.code);
  a.syscall(MACHINE.args);
  a.label("keep result");
  a.ld(2, "t1", "step", RECORD.out);
  a.branch("t1", "==", NONE, "kept");
  slotAddress("t1");
  a.st(8, "result", "t1", MACHINE.slots);
  a.label("kept");
  a.ld(1, "t1", "step", RECORD.op);
  a.branch("t1", "!=", OP.syscall, "next");
  a.li("t0", -4096);
  a.branch("t0", "<", "result", "error");

  a.label("next");
  a.addi("step", RECORD_SIZE);
  a.jmp("run");

  a.label("error");
  a.li("error", 0);
  a.sub("error", "result");
  for (let i = 0; i < TOLERATE_MAX; i++) {
    a.ld(1, "t0", "step", RECORD.tolerate + i);
    a.branch("t0", "==", "error", "take");
  }
  a.branch("error", "==", E.INTR, "run");
  a.jmp("fail");

  a.label("take");
  a.ld(2, "t0", "step", RECORD.to);
  a.label("go");
  a.branch("t0", "==", NONE, "next");
  a.shl("t0", RECORD_SHIFT);
  a.ld(8, "step", "work", MACHINE.records);
  a.add("step", "t0");
  a.jmp("run");

  a.label("set");
  a.ld(8, "result", "work", MACHINE.args);
  a.ld(8, "t0", "work", MACHINE.args + 8);
  a.add("result", "t0");
  a.jmp("keep result");

  const addressOfAccess = () => {
    a.ld(8, "t1", "work", MACHINE.args);
    a.ld(8, "t0", "work", MACHINE.args + 8);
    a.add("t1", "t0");
    a.ld(2, "t2", "step", RECORD.code);
  };
  a.label("load");
  addressOfAccess();
  for (const size of [1, 2, 4, 8] as const) {
    a.branch("t2", "!=", size, `not load ${size}`);
    a.ld(size, "result", "t1", 0);
    a.label(`not load ${size}`);
  }
  a.jmp("keep result");

  a.label("store");
  addressOfAccess();
  a.ld(8, "t0", "work", MACHINE.args + 16);
  for (const size of [1, 2, 4, 8] as const) {
    a.branch("t2", "!=", size, `not store ${size}`);
    a.st(size, "t0", "t1", 0);
    a.label(`not store ${size}`);
  }
  a.jmp("next");

  // format: digits from the last to the first into the machine's memory, then copied
  a.label("format");
  a.ld(8, "t0", "work", MACHINE.args);
  a.mv("error", "work");
  a.addi("error", MACHINE.slots - 1);
  a.li("t2", 0);
  a.st(1, "t2", "error", 0);
  a.label("digit");
  a.divmod10();
  a.addi("t2", 48);
  a.addi("error", -1);
  a.st(1, "t2", "error", 0);
  a.branch("t0", "!=", 0, "digit");
  a.ld(8, "t3", "work", MACHINE.args + 8);
  a.li("result", 0);
  a.label("copy");
  a.ld(1, "t0", "error", 0);
  a.st(1, "t0", "t3", 0);
  a.branch("t0", "==", 0, "keep result");
  a.addi("error", 1);
  a.addi("t3", 1);
  a.addi("result", 1);
  a.jmp("copy");

  // jump and fail: (args[0] & args[2]) compared with args[1]
  a.label("compare");
  a.ld(8, "t0", "work", MACHINE.args);
  a.ld(8, "t2", "work", MACHINE.args + 16);
  a.and("t0", "t2");
  a.ld(8, "t2", "work", MACHINE.args + 8);
  a.ld(2, "t3", "step", RECORD.code);
  a.branch("t3", "==", CONDITION.always, "holds");
  a.branch("t3", "==", CONDITION["<"], "compare <");
  a.branch("t3", "==", CONDITION["!="], "compare !=");
  a.branch("t0", "==", "t2", "holds");
  a.jmp("next");
  a.label("compare !=");
  a.branch("t0", "!=", "t2", "holds");
  a.jmp("next");
  a.label("compare <");
  a.branch("t0", "<", "t2", "holds");
  a.jmp("next");
  a.label("holds");
  a.ld(8, "error", "work", MACHINE.args + 24);
  a.branch("t1", "!=", OP.jump, "fail");
  a.ld(2, "t0", "step", RECORD.to);
  a.branch("t0", "!=", NONE, "go");
  a.mv("t0", "error"); // a place kept in a slot
  a.jmp("go");

  a.label("fail");
  a.li("t0", MESSAGE.FAILURE);
  a.st(4, "t0", "work", MACHINE.message);
  a.mv("t0", "step");
  a.ld(8, "t1", "work", MACHINE.records);
  a.sub("t0", "t1");
  a.shr("t0", RECORD_SHIFT);
  a.st(4, "t0", "work", MACHINE.message + 4);
  a.st(4, "error", "work", MACHINE.message + 8);
  a.st(8, "error", "work", ERRNO_SLOT);
  a.ld(8, "t0", "work", INDEX_SLOT);
  a.st(4, "t0", "work", MACHINE.message + 12);
  const sendto = { 2: FAILURE_MESSAGE_SIZE, 3: MSG.NOSIGNAL, 4: 0, 5: 0 };
  a.ld(8, "t0", "work", REPORT_SLOT);
  a.st(8, "t0", "work", MACHINE.args);
  a.mv("t0", "work");
  a.addi("t0", MACHINE.message);
  a.st(8, "t0", "work", MACHINE.args + 8);
  for (const [index, value] of Object.entries(sendto)) {
    a.li("t0", value);
    a.st(8, "t0", "work", MACHINE.args + 8 * Number(index));
  }
  a.li("t0", syscallNumber(arch, "sendto"));
  a.syscall(MACHINE.args);
  a.ld(2, "t0", "step", RECORD.fail);
  a.branch("t0", "!=", NONE, "go");
  a.li("t0", EXIT_LOST);
  a.st(8, "t0", "work", MACHINE.args);
  a.li("t0", syscallNumber(arch, "exit_group"));
  a.syscall(MACHINE.args);
  // A seccomp profile may forbid even that: a fault ends the process, too.
  a.li("t0", 0);
  a.ld(8, "t0", "t0", 0);

  return { code: a.finish(), listing: a.listing };
}
