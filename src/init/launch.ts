/** Starts the executor: its image into a sealed memfd, the descriptors it needs made inheritable, posix_spawn. */
import { RunkError, SysError } from "../errors.ts";
import { call } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { cstring } from "../../ffi/memory.ts";
import { memfdExecutable, spawn, writeAll } from "../../ffi/process.ts";
import { arch } from "../../ffi/libc.ts";
import { AT_FDCWD } from "../abi/flags.ts";
import { O } from "../abi/arch.ts";

/**
 * Spawns `image` and returns its pid; the caller reaps it.
 * @param inherited descriptors that the image refers to by number
 * @param fallbackDirectory where the image goes when the machine does not run programs from memory
 */
export function launch(
  image: Uint8Array,
  argv: readonly string[],
  inherited: readonly Fd[],
  fallbackDirectory: string,
): number {
  for (const fd of inherited) fd.setInheritable(true);
  try {
    return spawnFromMemory(image, argv);
  } catch (error) {
    if (!(error instanceof SysError) || (error.code !== "EACCES" && error.code !== "EPERM")) throw error;
    return spawnFromFile(image, argv, fallbackDirectory, error);
  } finally {
    for (const fd of inherited) fd.setInheritable(false);
  }
}

function spawnFromMemory(image: Uint8Array, argv: readonly string[]): number {
  using executable = memfdExecutable("runk-init", image);
  return spawnOnce(executable, argv);
}

/** Starts an image that nobody can start again: not a container whose program is /proc/self/exe (CVE-2019-5736). */
function spawnOnce(executable: Fd, argv: readonly string[]): number {
  const pid = spawn(executable, argv);
  call("fchmod", executable.number, 0);
  return pid;
}

/** For machines with vm.memfd_noexec=2 or a security module that forbids it: a read-only file without a name. */
function spawnFromFile(image: Uint8Array, argv: readonly string[], directory: string, memoryError: SysError): number {
  // Others may be starting theirs from this directory, too.
  const path = `${directory}/.init-${crypto.randomUUID()}`;
  const flags = O[arch];
  try {
    using writer = new Fd(
      call("openat", AT_FDCWD, cstring(path), flags.WRONLY | flags.CREAT | flags.EXCL | flags.CLOEXEC, 0o500),
    );
    writeAll(writer, image);
    writer.close();
    using executable = new Fd(call("openat", AT_FDCWD, cstring(path), flags.CLOEXEC, 0));
    return spawnOnce(executable, argv);
  } catch (error) {
    throw new RunkError(
      `cannot start runk's init: this machine runs no program from memory (${memoryError.message}; see vm.memfd_noexec) ` +
        `and none from ${directory} (mounted noexec?)`,
      { cause: error },
    );
  } finally {
    try {
      Deno.removeSync(path);
    } catch {
      // not made
    }
  }
}
