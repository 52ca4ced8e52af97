/**
 * Plans that were made before, by the shape of the config they are for. Making a plan takes 15 ms of a cold start,
 * reading one back a fraction of one. The directory belongs to the user and no one else may make anything in it; an
 * entry counts only for exactly the key that is written in it.
 */
import type { Relocatable } from "../init/relocatable.ts";

export interface CachedPlan {
  readonly relocatable: Relocatable;
  /** Warnings about the config, to be given each time. */
  readonly warnings: readonly string[];
}

const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;
const OTHERS_MAY_WRITE = 0o022;
/** Containers of one host have few shapes; beyond this the oldest go. */
const ENTRIES_MAX = 64;
const ENTRY_MAX = 8 * 1024 * 1024;

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

/** Keeps a plan. A directory that cannot be used is no error: the next container is made without. */
export function savePlan(directory: string, key: string, { relocatable, warnings }: CachedPlan): void {
  const { image, ...rest } = relocatable;
  const header = new TextEncoder().encode(JSON.stringify({ key, relocatable: rest, warnings }));
  const bytes = new Uint8Array(4 + header.length + image.length);
  if (bytes.length > ENTRY_MAX) return;
  new DataView(bytes.buffer).setUint32(0, header.length, true);
  bytes.set(header, 4);
  bytes.set(image, 4 + header.length);
  const name = nameOf(key);
  const draft = `${directory}/.${name}-${crypto.randomUUID().slice(0, 8)}`;
  try {
    Deno.mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE });
    if (!isOurs(Deno.lstatSync(directory))) return;
    prune(directory);
    Deno.writeFileSync(draft, bytes, { createNew: true, mode: FILE_MODE });
    Deno.renameSync(draft, `${directory}/${name}`);
  } catch {
    try {
      Deno.removeSync(draft);
    } catch {
      // not made
    }
  }
}

const isOurs = ({ uid, mode, isSymlink }: Deno.FileInfo) =>
  !isSymlink && uid === Deno.uid() && ((mode ?? 0o777) & OTHERS_MAY_WRITE) === 0;

function prune(directory: string): void {
  const entries = [...Deno.readDirSync(directory)].map(({ name }) => `${directory}/${name}`);
  if (entries.length < ENTRIES_MAX) return;
  const byAge = entries.map((path) => ({ path, time: Deno.statSync(path).mtime?.getTime() ?? 0 })).sort((a, b) =>
    a.time - b.time
  );
  for (const { path } of byAge.slice(0, entries.length - ENTRIES_MAX + 1)) Deno.removeSync(path);
}

/** A file name for a key. Two keys of one name only take each other's place: the key itself decides. */
function nameOf(key: string): string {
  const bytes = new TextEncoder().encode(key.padEnd(Math.ceil(key.length / 4) * 4));
  const words = new Uint32Array(bytes.buffer, 0, bytes.length >> 2);
  // FNV-1a, over words instead of bytes.
  let hash = 0x811c9dc5;
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ words[i]!, 0x01000193);
  return `${(hash >>> 0).toString(16).padStart(8, "0")}-${key.length.toString(16)}`;
}
