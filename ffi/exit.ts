/** The end of the program. */

let atOnce: ((status: number) => void) | undefined;

/** Gives {@link exit} the kernel's own exit: known once libc is open. */
export function setExit(exit: (status: number) => void): void {
  atOnce = exit;
}

/** Ends the process; at once where it can: taking the engine down in order costs 0.5 ms, and nothing is buffered. */
export function exit(status: number): never {
  atOnce?.(status);
  Deno.exit(status);
}
