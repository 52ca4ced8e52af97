/** Orphans. Source: prctl(2). */
import { call } from "../../ffi/call.ts";
import { PR } from "../abi/flags.ts";

/** Orphans among this process's descendants become its children, to be collected by it. */
export function becomeSubreaper(): void {
  call("prctl", PR.SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}
