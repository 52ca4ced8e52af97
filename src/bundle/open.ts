/** The bundle: the only reader of config.json. */
import { describeFileError, osErrorNumber, RunkError } from "../errors.ts";
import { E, errnoText } from "../abi/errno.ts";
import { cleanPath } from "../spec/clean_path.ts";

/** No config that a client writes comes near this; a larger file is something else. */
export const CONFIG_MAX = 64 * 1024 * 1024;

/** A bundle's directory as an absolute path without symlinks, which names it in state and hooks. */
export function bundleDirectory(path: string): string {
  try {
    return Deno.realPathSync(path === "" ? "." : path);
  } catch (error) {
    throw new RunkError(describeFileError("cannot open the bundle", path, error));
  }
}

/**
 * The text of a bundle's config.json.
 * @throws {RunkError} when it is missing, unreadable or too large
 */
export function readConfig(bundle: string): string {
  const path = `${bundle}/config.json`;
  try {
    return readLimited(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new RunkError(`JSON specification file config.json not found (in ${bundle})`);
    }
    throw error instanceof RunkError ? error : new RunkError(describeFileError("cannot read", path, error));
  }
}

/** A file's text. @throws {RunkError} when it is no regular file, too large, or not UTF-8 */
export function readLimited(path: string): string {
  const { size, isFile } = Deno.statSync(path);
  if (!isFile) throw new RunkError(`${path} is not a regular file`);
  if (size > CONFIG_MAX) throw new RunkError(`${path} has ${size} bytes; runk reads at most ${CONFIG_MAX}`);
  const text = Deno.readTextFileSync(path);
  // What is no UTF-8 was read as U+FFFD, which a text may also hold by itself.
  if (text.includes("\ufffd")) {
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(Deno.readFileSync(path));
    } catch {
      throw new RunkError(`${path} is not UTF-8 text`);
    }
  }
  return text;
}

/**
 * Checks the rootfs: a directory, named by a path without symlinks, as runc has it.
 * @throws {RunkError}
 */
export function checkRootfs(path: string): void {
  let real: string;
  try {
    real = Deno.realPathSync(path);
    if (!Deno.statSync(real).isDirectory) {
      throw new RunkError(`invalid rootfs: ${path} is not a directory [config.json /root/path]`);
    }
  } catch (error) {
    if (error instanceof RunkError) throw error;
    const errno = osErrorNumber(error) ?? E.NOENT;
    throw new RunkError(`invalid rootfs: stat ${path}: ${errnoText(errno)} [config.json /root/path]`);
  }
  if (real !== cleanPath(path)) {
    throw new RunkError(
      `invalid rootfs: not an absolute path, or a symlink: ${path} is ${real} [config.json /root/path]`,
    );
  }
}
