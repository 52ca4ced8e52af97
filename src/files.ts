/** Files that may not be there: those of processes and cgroups go while one looks at them. */
import { E } from "./abi/errno.ts";
import { osErrorNumber, RunkError, SysError } from "./errors.ts";

/** ENODEV and ESRCH: a file of a cgroup, of a process, that went after it was opened. */
const ABSENT: readonly (number | undefined)[] = [E.NOENT, E.NOTDIR, E.NODEV, E.SRCH];

/** Whether an error says that the file, or the process or cgroup that it shows, is not there. */
export const isAbsent = (error: unknown): boolean =>
  error instanceof Deno.errors.NotFound || ABSENT.includes(osErrorNumber(error));

/**
 * Whether something has this name; a symbolic link counts, wherever it leads.
 * @throws {SysError} of lstat(2) when that cannot be told
 */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw failure("lstat", path, error);
  }
}

/**
 * The text of a file; undefined when it is not there.
 * @param tolerate further errors (numbers) that mean the same of this file
 * @throws {SysError} of open(2) or read(2) when it is there, and cannot be read
 */
export function readIfThere(path: string, tolerate: readonly number[] = []): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    const errno = osErrorNumber(error);
    if (isAbsent(error) || (errno !== undefined && tolerate.includes(errno))) return undefined;
    throw failure("read", path, error);
  }
}

function failure(action: string, path: string, error: unknown): RunkError {
  const errno = osErrorNumber(error);
  return errno === undefined ? new RunkError(`${action} ${path}`, { cause: error }) : new SysError(action, errno, path);
}
