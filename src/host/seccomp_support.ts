/** What of seccomp the kernel offers: asked, not derived from its version. Source: seccomp(2). */
import { Memory } from "../../ffi/memory.ts";
import { tryCall } from "../../ffi/call.ts";
import { SECCOMP_FILTER_FLAG } from "../abi/flags.ts";
import { E } from "../abi/errno.ts";

const [SET_MODE_FILTER, GET_ACTION_AVAIL] = [1, 2];

/** SECCOMP_FILTER_FLAG_TSYNC; a plan never needs it. */
const TSYNC = 1;

/** The flags of a profile, by their names without the prefix, that the kernel takes. */
export function supportedSeccompFlags(): ReadonlySet<string> {
  const { NEW_LISTENER, SPEC_ALLOW, LOG, WAIT_KILLABLE_RECV } = SECCOMP_FILTER_FLAG;
  const flags = { TSYNC, SPEC_ALLOW, LOG, WAIT_KILLABLE_RECV: WAIT_KILLABLE_RECV | NEW_LISTENER };
  // With a filter at address 0 a flag that is known leads to EFAULT, one that is not to EINVAL.
  const names = Object.entries(flags).filter(([, flag]) => tryCall("seccomp", SET_MODE_FILTER, flag, 0) === -E.FAULT);
  return new Set(names.map(([name]) => name));
}

/** Whether a filter may return an action: its number without data. */
export function isSeccompAction(action: number): boolean {
  const number = new Memory(8);
  number.view.setUint32(0, action, true);
  return tryCall("seccomp", GET_ACTION_AVAIL, 0, number) === 0;
}
