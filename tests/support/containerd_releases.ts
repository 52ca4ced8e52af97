/** The releases of containerd that clients run today: Debian's, and a newer one that Go builds from its public module. */
import { exists, which } from "./test.ts";

export interface Release {
  readonly name: string;
  /** Directory of its programs; undefined for those on the PATH. */
  readonly programs: string | undefined;
}

const MODULE = "github.com/containerd/containerd/v2/cmd";
const VERSION = "v2.4.2";
const PROGRAMS = ["containerd", "ctr", "containerd-shim-runc-v2"];

export const DEBIAN: Release = { name: "Debian's", programs: undefined };

/** Both; or Debian's alone, with the reason printed, where the other cannot be built. */
export async function releases(): Promise<readonly Release[]> {
  const programs = await build().catch((error: Error) => {
    console.log(`skipped: containerd ${VERSION}: ${error.message}`);
    return undefined;
  });
  return programs === undefined ? [DEBIAN] : [DEBIAN, { name: VERSION, programs }];
}

/** Builds it once, and keeps it where caches are. @returns the directory with its programs */
async function build(): Promise<string> {
  if (Deno.uid() !== 0) throw new Error("needs root");
  const home = Deno.env.get("HOME") ?? "/root";
  const cache = `${Deno.env.get("XDG_CACHE_HOME") ?? `${home}/.cache`}/runk-containerd`;
  const directory = `${cache}/${VERSION}`;
  if (exists(directory)) return directory;
  const go = which("go") ?? ["/usr/local/go/bin/go"].find(exists);
  if (go === undefined) throw new Error("needs the command go");
  await Deno.mkdir(cache, { recursive: true });
  const work = await Deno.makeTempDir({ dir: cache });
  console.log(`building containerd ${VERSION}: that takes some minutes, once`);
  const { code, stderr } = await new Deno.Command(go, {
    args: ["install", ...PROGRAMS.map((name) => `${MODULE}/${name}@${VERSION}`)],
    env: { GOBIN: work, HOME: home, CGO_ENABLED: "0" },
    cwd: work,
    stdin: "null",
  }).output();
  try {
    if (code !== 0) throw new Error(`go install: ${new TextDecoder().decode(stderr).trim().split("\n").at(-1)}`);
    await Deno.rename(work, directory).catch((error) => {
      // Someone else was faster.
      if (!exists(directory)) throw error;
    });
    return directory;
  } finally {
    if (exists(work)) await Deno.remove(work, { recursive: true });
  }
}
