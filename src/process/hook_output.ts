/** Files that take what hooks print. */
import { O } from "../abi/arch.ts";
import { AT_FDCWD } from "../abi/flags.ts";
import { errnoText } from "../abi/errno.ts";
import { RunkError, SysError } from "../errors.ts";
import { call } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { cstring } from "../../ffi/memory.ts";

const MODE = 0o700;

const STREAMS = ["stdout", "stderr"] as const;

/**
 * Opens the files, by the names of the plan's inputs. Closed by disposing of them.
 * @param inputOf the plan's input for a stream
 * @throws {RunkError} naming a file that cannot be opened
 */
export function openHookOutput(
  output: { readonly stdout?: string; readonly stderr?: string },
  inputOf: (stream: "stdout" | "stderr") => string,
): Disposable & { readonly inputs: Readonly<Record<string, Fd>> } {
  const { WRONLY, CREAT, APPEND, CLOEXEC } = O[arch];
  const inputs: Record<string, Fd> = {};
  const close = () => Object.values(inputs).forEach((fd) => fd.close());
  for (const stream of STREAMS) {
    const path = output[stream];
    if (path === undefined) continue;
    try {
      inputs[inputOf(stream)] = new Fd(
        call("openat", AT_FDCWD, cstring(path), WRONLY | CREAT | APPEND | CLOEXEC, MODE),
      );
    } catch (error) {
      close();
      if (!(error instanceof SysError)) throw error;
      const place = `/annotations/run.oci.hooks.${stream}`;
      throw new RunkError(`open ${path}: ${errnoText(error.errno)} [config.json ${place}]`);
    }
  }
  return { inputs, [Symbol.dispose]: close };
}
