/**
 * Plans that were made before, by the shape of the config they are for. Making a plan takes 15 ms of a cold start,
 * reading one back a fraction of one. The directory belongs to the user and no one else may make anything in it; an
 * entry counts only for exactly the key that is written in it. plan_keeping.ts writes them.
 */
import type { Relocatable } from "../init/relocatable.ts";

export interface CachedPlan {
  readonly relocatable: Relocatable;
  /** Warnings about the config, to be given each time. */
  readonly warnings: readonly string[];
}

const OTHERS_MAY_WRITE = 0o022;

/** The plan for a key; undefined when there is none that can be trusted. */
export function loadPlan(directory: string, key: string): CachedPlan | undefined {
  try {
    if (!isOurs(Deno.lstatSync(directory))) return undefined;
    const bytes = Deno.readFileSync(`${directory}/${nameOf(key)}`);
    const length = new DataView(bytes.buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
    if (header.key !== key) return undefined;
    const image = bytes.slice(4 + length);
    return { relocatable: { ...header.relocatable, image }, warnings: header.warnings };
  } catch {
    return undefined;
  }
}

/** Whether no one but this user can have made anything in the directory. */
export const isOurs = ({ uid, mode, isSymlink }: Deno.FileInfo) =>
  !isSymlink && uid === Deno.uid() && ((mode ?? 0o777) & OTHERS_MAY_WRITE) === 0;

/** A file name for a key. Two keys of one name only take each other's place: the key itself decides. */
export function nameOf(key: string): string {
  const bytes = new TextEncoder().encode(key.padEnd(Math.ceil(key.length / 4) * 4));
  const words = new Uint32Array(bytes.buffer, 0, bytes.length >> 2);
  // FNV-1a, over words instead of bytes.
  let hash = 0x811c9dc5;
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words[i]!, 0x01000193);
  return `${(hash >>> 0).toString(16).padStart(8, "0")}-${key.length.toString(16)}`;
}
