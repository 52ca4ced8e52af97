/** JSON documents beside a bundle's config.json, which command lines name. */
import { describeFileError, RunkError } from "../errors.ts";
import { CONFIG_MAX, readLimited } from "./open.ts";

/** The text of another JSON document that a command line names: a file, or what a pipe (/dev/fd/N) delivers. */
export function readDocument(path: string): string {
  try {
    return Deno.statSync(path).isFile ? readLimited(path) : readStream(path);
  } catch (error) {
    throw error instanceof RunkError ? error : new RunkError(describeFileError("cannot read", path, error));
  }
}

function readStream(path: string): string {
  using file = Deno.openSync(path);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const buffer = new Uint8Array(64 * 1024);
  let text = "";
  for (let size = 0;;) {
    const length = file.readSync(buffer);
    if (length === null) break;
    size += length;
    if (size > CONFIG_MAX) throw new RunkError(`${path} has no end; runk reads at most ${CONFIG_MAX} bytes`);
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
  return text + decoder.decode();
}
