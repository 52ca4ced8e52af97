/** The version of libc, for people. */

/** "2.36", as gnu_get_libc_version(3) says it; undefined for a libc that is not GNU's. */
export function libcVersion(): string | undefined {
  try {
    const library = Deno.dlopen("libc.so.6", { gnu_get_libc_version: { parameters: [], result: "pointer" } });
    const text = library.symbols.gnu_get_libc_version();
    // SAFETY: the function returns a pointer to a constant string of libc's, which is never unloaded.
    return text === null ? undefined : Deno.UnsafePointerView.getCString(text);
  } catch {
    return undefined;
  }
}
