/** Which kind of file system a path is on. Source: statfs(2). */
import { call } from "./call.ts";
import { cstring, Memory } from "./memory.ts";

const STATFS_SIZE = 128;

/** The magic number; undefined when the path cannot be looked at. */
export function statfsType(path: string): number | undefined {
  const statfs = new Memory(STATFS_SIZE);
  try {
    call("statfs", cstring(path), statfs);
  } catch {
    return undefined;
  }
  return Number(statfs.view.getBigUint64(0, true));
}
