/**
 * `deno task bundle`: dist/runk.js, the whole program in one minified file that runs by its first line.
 *
 * Every byte of the file costs a start: Deno's own parser and V8's read all of it. So the program is cut into chunks,
 * which are strings until a command asks for them, and chunks that only slow or failing commands need are compressed.
 * Modules named *.const.ts are evaluated here and replaced by the JSON of what they export; the kernel's numbers stand
 * as numbers where they are used, so that the tables they come from need not be made at every start.
 */
import { brotliCompressSync, deflateRawSync } from "node:zlib";
import * as esbuild from "esbuild";
import * as errno from "../abi/errno.ts";
import * as flags from "../abi/flags.ts";
import * as names from "../abi/names.ts";

const OUTPUT = "dist/runk.js";
const ENTRY = "main.js";
/** Modules whose chunks (with all that only they need) are compressed: loading one takes some milliseconds more. */
const COLD = [
  "compile.ts",
  "failure.ts",
  "explain.ts",
  "spec/letter_case.ts",
  "commands/usage.ts",
  "commands/completion.ts",
  "commands/man.ts",
  "docs/document.ts",
  "docs/completion.ts",
  "docs/manual.ts",
  "commands/checkpoint.ts",
  "commands/restore.ts",
  "commands/plan.ts",
  "commands/doctor.ts",
  "commands/features.ts",
  "commands/events.ts",
  "commands/events_table.ts",
  "commands/mounts.ts",
  "commands/ps.ts",
  "commands/update.ts",
  "commands/spec.ts",
  "plan/create.ts",
  "plan/exec.ts",
  "container/debug.ts",
  "container/host_hooks.ts",
  "state/plan_keeping.ts",
  "container/delete_matching.ts",
  "container/exec_cgroups.ts",
  "container/rare_record.ts",
  "container/runc_profile.ts",
  "container/service_manager.ts",
  "container/systemd.ts",
  "process/pidfd_socket.ts",
  "process/hook_output.ts",
  "cgroup/remove_resctrl.ts",
  "assemble.ts",
];

/**
 * V8 gets a young generation that no short command fills, and neither compiles nor does anything else in the background:
 * none of it would pay within a command's life, and its threads compete with the container (2.4 ms of 33 for run of
 * /bin/true).
 */
export const V8_FLAGS = "--v8-flags=--min-semi-space-size=16,--no-opt,--no-maglev,--no-sparkplug,--single-threaded";
/** Only the file is read, which imports nothing: no config, no code cache. Quiet: Deno clears no progress bar on a terminal. */
const DENO_FLAGS = ["run", "-A", "-q", "--no-config", "--no-code-cache", "--ext=js"];
/**
 * A cache directory that cannot be made: Deno keeps what it learns of the module in memory, instead of in databases in
 * the user's home that starts at the same time would lock each other out of; and says nothing about it on terminals.
 */
const DENO_VARIABLES = { DENO_DIR: "/dev/null", DENO_LOG: "error,deno::cache=off" };
/** The heap grows in large steps: returning and asking again takes 0.6 ms of a start. A caller's own settings stay. */
const TUNABLES = "glibc.malloc.top_pad=4194304";

/**
 * The first lines of a file that this deno runs: for sh, which starts deno, a command; for deno a string and a comment. The
 * kernel would cut a first line with all of it. commands/main.ts keeps the variables from hooks.
 */
export const shebang = (): string => {
  const variables = Object.entries(DENO_VARIABLES).map(([name, value]) => `${name}=${value}`);
  variables.push(`GLIBC_TUNABLES="\${GLIBC_TUNABLES-${TUNABLES}}"`);
  const deno = `'${Deno.execPath().replaceAll("'", `'\\''`)}'`;
  return `#!/bin/sh\n":" //; ${[...variables, "exec", deno, ...DENO_FLAGS, V8_FLAGS].join(" ")} "$0" "$@"\n`;
};

const constants: esbuild.Plugin = {
  name: "constants",
  setup(build) {
    build.onLoad({ filter: /\.const\.ts$/ }, async ({ path }) => {
      const { default: value } = await import(`file://${path}`);
      return { contents: `export default ${JSON.stringify(value)};`, loader: "js" };
    });
  },
};

/** Tables of the kernel's numbers: name -> member -> number. */
const NUMBERS = new Map(
  Object.entries<unknown>({ ...errno, ...flags, ...names }).flatMap(([name, table]) =>
    typeof table === "object" && table !== null && Object.values(table).every((value) => typeof value === "number")
      ? [[name, table as Record<string, number>] as const]
      : []
  ),
);

/** Writes numbers in place of `MS.RDONLY` and the like, in modules that import the table by its name. */
const numbers: esbuild.Plugin = {
  name: "numbers",
  setup(build) {
    build.onLoad({ filter: /\/(src|ffi)\/.*\.ts$/ }, async ({ path }) => {
      let contents = await Deno.readTextFile(path);
      for (
        const [, list] of contents.matchAll(/^import \{([^}]*)\} from "[^"]*\/abi\/(?:errno|flags|names)\.ts";$/gm)
      ) {
        for (const name of list!.split(",").map((name) => name.trim()).filter((name) => NUMBERS.has(name))) {
          const table = NUMBERS.get(name)!;
          contents = contents.replace(
            new RegExp(`(?<![\\w$."'\`])${name}\\.(\\w+)`, "g"),
            (all, member) => (Object.hasOwn(table, member) ? String(table[member]) : all),
          );
        }
      }
      return { contents, loader: "ts" };
    });
  },
};

interface Chunk {
  readonly name: string;
  /** What `require` knows it by. */
  readonly id: number;
  readonly source: string;
  readonly isCold: boolean;
}

/** The chunks as bodies of functions of one argument, `require`, which gives another chunk's exports by its name. */
async function chunks(): Promise<Chunk[]> {
  const { outputFiles, metafile } = await esbuild.build({
    entryPoints: ["main.ts"],
    outdir: "dist",
    bundle: true,
    splitting: true,
    format: "esm",
    target: "esnext",
    minify: true,
    write: false,
    metafile: true,
    plugins: [constants, numbers],
  });
  const outputs = new Map(Object.entries(metafile.outputs).map(([path, output]) => [baseName(path), output]));
  const imports = (name: string, kind: string) =>
    (outputs.get(name)?.imports ?? []).filter((entry) => entry.kind === kind).map(({ path }) => baseName(path));
  // Hot is what the entry and its dynamic imports reach without passing through a cold module.
  const isColdEntry = (name: string) => COLD.some((module) => outputs.get(name)?.entryPoint?.endsWith(module));
  const hot = new Set<string>();
  const visit = (name: string) => {
    if (hot.has(name) || isColdEntry(name)) return;
    hot.add(name);
    for (const next of [...imports(name, "import-statement"), ...imports(name, "dynamic-import")]) visit(next);
  };
  visit(ENTRY);
  const ids = new Map(outputFiles.map(({ path }, id) => [baseName(path), id]));
  return outputFiles.map(({ path, text }, id) => {
    const name = baseName(path);
    return { name, id, source: toFunctionBody(name, text, ids), isCold: !hot.has(name) };
  });
}

const baseName = (path: string) => path.slice(path.lastIndexOf("/") + 1);

/** esbuild's minified modules have their imports at the start and one export list at the end. */
function toFunctionBody(name: string, module: string, ids: ReadonlyMap<string, number>): string {
  const list = (text: string, separator: string) => text.replace(/([\w$]+) as ([\w$]+)/g, `$1${separator}$2`);
  const body = module.trim()
    .replace(
      /import\{([^}]*)\}from"\.\/([^"]+)";/g,
      (_, names, from) => `const{${list(names, ":")}}=require(${ids.get(from)});`,
    )
    .replace(/import"\.\/([^"]+)";/g, (_, from) => `require(${ids.get(from)});`)
    .replace(/import\("\.\/([^"]+)"\)/g, (_, from) => `require.later(${ids.get(from)})`)
    .replace(/export\{([^}]*)\};?$/, (_, names) => `return{${names.replace(/([\w$]+) as ([\w$]+)/g, "$2:$1")}};`);
  const left = /(?:^|[;}])(?:import|export)[{ "*]/.exec(body);
  if (left !== null) {
    throw new Error(
      `${name} has an import or export that is not understood: ${body.slice(left.index, left.index + 80)}`,
    );
  }
  return body;
}

/** Brotli is a sixth smaller; an older Deno cannot read it. The compressor of web streams has no such level. */
const hasBrotli = (() => {
  try {
    return new DecompressionStream("brotli" as CompressionFormat) !== undefined;
  } catch {
    return false;
  }
})();
const compress = (text: string): string =>
  (hasBrotli ? brotliCompressSync(text) : deflateRawSync(text, { level: 9 })).toString("base64");

/**
 * The few lines that find a chunk, evaluate it once and hand out its exports. Cold ones are unpacked without Blob and
 * Response, which are slower to load than all the rest (3 ms).
 */
const loader = (entry: number) =>
  `const cache={};
const require=id=>cache[id]??=new Function("require",hot[id])(require);
require.later=async id=>{if(!(id in hot)&&!(id in cache)){
const{writable,readable}=new DecompressionStream("${hasBrotli ? "brotli" : "deflate-raw"}");
const writer=writable.getWriter();writer.write(Uint8Array.fromBase64(cold));writer.close();
const reader=readable.getReader(),decoder=new TextDecoder();let text="";
for(;;){const{value,done}=await reader.read();if(done)break;text+=decoder.decode(value,{stream:true})}
Object.assign(hot,JSON.parse(text))}return require(id)};
require(${entry});
`;

/** A name for the sources: plans that another build kept are not this build's. */
async function buildName(): Promise<string> {
  const paths: string[] = [];
  const walk = async (directory: string) => {
    for await (const { name, isDirectory } of Deno.readDir(directory)) {
      const path = `${directory}/${name}`;
      if (isDirectory) await walk(path);
      else if (name.endsWith(".ts")) paths.push(path);
    }
  };
  for (const directory of ["ffi", "src"]) await walk(directory);
  const texts = await Promise.all(paths.sort().map((path) => Deno.readTextFile(path)));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(texts.join("\0")));
  return new Uint8Array(digest).toHex().slice(0, 16);
}

export interface Bundle {
  /** The program as one module. */
  readonly text: string;
  /** One line about its size, then one for each chunk. */
  readonly sizes: readonly string[];
}

/** The whole program as one module without imports. */
export async function makeBundle(): Promise<Bundle> {
  Object.assign(globalThis, { runkBuild: await buildName() });
  const all = await chunks();
  await esbuild.stop();
  const pick = (isCold: boolean) =>
    Object.fromEntries(all.filter((chunk) => chunk.isCold === isCold).map(({ id, source }) => [id, source]));
  const [hot, cold] = [JSON.stringify(pick(false)), JSON.stringify(pick(true))];
  const entry = all.find(({ name }) => name === ENTRY)!.id;
  const text = `const hot=${hot};\nconst cold=${JSON.stringify(compress(cold))};\n${loader(entry)}`;
  const kilobytes = ({ length }: string) => `${(length / 1024).toFixed(1)} KB`;
  return {
    text,
    sizes: [
      `${kilobytes(text)} (${kilobytes(hot)} in hot chunks, ${kilobytes(cold)} in cold ones)`,
      ...all.map(({ name, source, isCold }) => `  ${isCold ? "cold" : "hot "} ${source.length} ${name}`),
    ],
  };
}

async function main(): Promise<void> {
  const first = shebang();
  const { text, sizes } = await makeBundle();
  await Deno.mkdir("dist", { recursive: true });
  // Under its name at once and whole: someone may be running the old one.
  await Deno.writeTextFile(`${OUTPUT}.new`, first + text);
  await Deno.chmod(`${OUTPUT}.new`, 0o755);
  await Deno.rename(`${OUTPUT}.new`, OUTPUT);
  console.log(`${OUTPUT}: ${(Deno.args.includes("--sizes") ? sizes : sizes.slice(0, 1)).join("\n")}`);
}

if (import.meta.main) await main();
