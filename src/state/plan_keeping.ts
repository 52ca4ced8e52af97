/** Keeps plans for plan_cache.ts to find. */
import { type CachedPlan, isOurs, nameOf } from "./plan_cache.ts";

const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;
/** Containers of one host have few shapes; beyond this the oldest go. */
const ENTRIES_MAX = 64;
/** Bytes: a config with hundreds of mounts. Together they must not fill what /run is in, which is memory. */
const ENTRY_MAX = 1024 * 1024;

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

function prune(directory: string): void {
  const entries = [...Deno.readDirSync(directory)].map(({ name }) => `${directory}/${name}`);
  if (entries.length < ENTRIES_MAX) return;
  const byAge = entries.map((path) => ({ path, time: Deno.statSync(path).mtime?.getTime() ?? 0 })).sort((a, b) =>
    a.time - b.time
  );
  for (const { path } of byAge.slice(0, entries.length - ENTRIES_MAX + 1)) Deno.removeSync(path);
}
