/** The user namespace that this process lives in. Source: user_namespaces(7). */
import { readIfThere } from "../files.ts";

/** Whether it is another than the initial one, in which every id is its own; false on a kernel that has none. */
export const inUserNamespace = (): boolean =>
  !/^\s*0\s+0\s+4294967295\s*$/.test(readIfThere("/proc/self/uid_map") ?? "0 0 4294967295");
