/**
 * `deno task bundle`: dist/runk.js, the whole program in one minified file that runs by its first line.
 *
 * Deno takes 9 ns for each byte of a module before V8 sees it. So it is given a module of one line, which reads the rest of
 * the program from the file by itself. The program is cut into chunks, which are text until a command asks for them; those
 * that only slow or failing commands need stand at the end, which most commands never read.
 * Modules named *.const.ts are evaluated here and replaced by the JSON of what they export; the kernel's numbers stand
 * as numbers where they are used, so that the tables they come from need not be made at every start.
 */
import * as esbuild from "esbuild";
import * as errno from "../abi/errno.ts";
import * as flags from "../abi/flags.ts";
import * as names from "../abi/names.ts";

const OUTPUT = "dist/runk.js";
const ENTRY = "main.js";
/** Modules whose chunks (with all that only they need) are read when they are asked for. */
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
/** Nothing is imported: no config, no code cache. Quiet: Deno clears no progress bar on a terminal. */
const DENO_FLAGS = ["run", "-A", "-q", "--no-config", "--no-code-cache"];
/**
 * A cache directory that cannot be made: Deno keeps what it learns of the module in memory, instead of in databases in
 * the user's home that starts at the same time would lock each other out of; and says nothing about it on terminals.
 */
const DENO_VARIABLES = { DENO_DIR: "/dev/null", DENO_LOG: "error,deno::cache=off" };
/** The heap grows in large steps: returning and asking again takes 0.6 ms of a start. A caller's own settings stay. */
const TUNABLES = "glibc.malloc.top_pad=4194304";

/**
 * The first lines of a file: for sh, which starts this deno with a module and the file's path. The kernel would cut a first
 * line with all of it. commands/main.ts keeps the variables from hooks.
 */
export const shebang = (module: string): string => {
  const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  const variables = Object.entries(DENO_VARIABLES).map(([name, value]) => `${name}=${value}`);
  variables.push(`GLIBC_TUNABLES="\${GLIBC_TUNABLES-${TUNABLES}}"`);
  const url = quote("data:text/javascript," + encodeURI(module));
  const command = ["exec", quote(Deno.execPath()), ...DENO_FLAGS, V8_FLAGS, url];
  return `#!/bin/sh\n${[...variables, ...command].join(" ")} "$0" "$@"\n`;
};

/**
 * The module that Deno loads. It evaluates the loader, the third line of the file, with all that was read so far. The file
 * stays open, so that the end of the same one is read when a new one took its place.
 * @param path an expression for the file's path
 * @param head how many bytes most commands need, the loader among them
 */
export const boot = (path: string, head: number): string =>
  `const file=Deno.openSync(${path}),bytes=new Uint8Array(${head});file.readSync(bytes);` +
  'const text=new TextDecoder().decode(bytes),lines=text.split("\\n",3);' +
  'new Function("file","text","base",lines[2])(file,text,lines.join("\\n").length+1)';

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
  readonly source: string;
  readonly isCold: boolean;
}

/**
 * The chunks, hot ones first, as bodies of functions of one argument, `require`, which gives another chunk's exports by
 * where that stands in the list.
 */
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
  const texts = new Map(outputFiles.map(({ path, text }) => [baseName(path), text]));
  const order = [...texts.keys()].sort((a, b) => Number(hot.has(b)) - Number(hot.has(a)));
  const ids = new Map(order.map((name, id) => [name, id]));
  return order.map((name) => ({
    name,
    source: toAscii(toFunctionBody(name, texts.get(name)!, ids)),
    isCold: !hot.has(name),
  }));
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

/** In bytes as in letters of the text: one above ASCII would also double the memory for all. */
const toAscii = (text: string): string =>
  text.replace(/[^\0-\x7f]/g, (letter) => "\\u" + letter.charCodeAt(0).toString(16).padStart(4, "0"));

/** One line that finds a chunk by where it ends, evaluates it once and hands out its exports. */
const loader = (chunks: readonly Chunk[]): string => {
  let end = 0;
  const ends = chunks.map(({ source }) => end += source.length);
  return `const ends=[${ends}],cache=[];` +
    "const read=(from,to)=>{const bytes=new Uint8Array(to-from);file.seekSync(from,0);file.readSync(bytes);" +
    "return new TextDecoder().decode(bytes)};" +
    "const source=id=>{const from=base+(ends[id-1]??0),to=base+ends[id];" +
    "return to>text.length?read(from,to):text.slice(from,to)};" +
    'const require=id=>cache[id]??=new Function("require",source(id))(require);' +
    `require.later=async id=>require(id);require(${chunks.findIndex(({ name }) => name === ENTRY)})\n`;
};

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
  /** The loader's line, and all chunks. */
  readonly text: string;
  /** Bytes of it that most commands need. */
  readonly head: number;
  /** One line about its size, then one for each chunk. */
  readonly sizes: readonly string[];
}

/** The whole program, for a module of {@link boot}. */
export async function makeBundle(): Promise<Bundle> {
  Object.assign(globalThis, { runkBuild: await buildName() });
  const all = await chunks();
  await esbuild.stop();
  const line = loader(all);
  const length = (isCold: boolean) =>
    all.filter((chunk) => chunk.isCold === isCold).reduce((sum, { source }) => sum + source.length, 0);
  const [hot, cold] = [length(false), length(true)];
  const kilobytes = (bytes: number) => `${(bytes / 1024).toFixed(1)} KB`;
  const text = line + all.map(({ source }) => source).join("");
  return {
    text,
    head: line.length + hot,
    sizes: [
      `${kilobytes(text.length)} (${kilobytes(hot)} in hot chunks, ${kilobytes(cold)} in cold ones)`,
      ...all.map(({ name, source, isCold }) => `  ${isCold ? "cold" : "hot "} ${source.length} ${name}`),
    ],
  };
}

/** More than the shell's lines take: what is read beyond the hot chunks does no harm. */
const LINES = 4096;

async function main(): Promise<void> {
  const { text, head, sizes } = await makeBundle();
  await Deno.mkdir("dist", { recursive: true });
  // Under its name at once and whole: someone may be running the old one.
  await Deno.writeTextFile(`${OUTPUT}.new`, shebang(boot("Deno.args[0]", LINES + head)) + text);
  await Deno.chmod(`${OUTPUT}.new`, 0o755);
  await Deno.rename(`${OUTPUT}.new`, OUTPUT);
  console.log(`${OUTPUT}: ${(Deno.args.includes("--sizes") ? sizes : sizes.slice(0, 1)).join("\n")}`);
}

if (import.meta.main) await main();
