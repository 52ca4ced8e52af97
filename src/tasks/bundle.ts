/**
 * `deno task bundle`: dist/runk.js, the whole program in one minified file that runs by its first line.
 *
 * Deno parses a module before V8 does, which takes 0.1 ms per kilobyte when its caches cannot be used. So the file holds
 * its chunks as strings, which that parser passes over: a chunk is compiled when a command asks for it. Modules named
 * *.const.ts are evaluated here and replaced by the JSON of what they export.
 */
import * as esbuild from "esbuild";

const OUTPUT = "dist/runk.js";
const ENTRY = "main.js";

/**
 * How the file is run: nothing but the file is read (no config, lock file, cache or network), and V8 gets a young
 * generation that no short command fills. A worker for optimised code would only compete with the container.
 */
const DENO_FLAGS = [
  "run",
  ...[
    "--allow-all",
    "--no-config",
    "--no-lock",
    "--no-npm",
    "--no-remote",
    "--cached-only",
    "--no-code-cache",
    "--ext=js",
  ],
  "--v8-flags=--min-semi-space-size=16,--no-opt",
];

const constants: esbuild.Plugin = {
  name: "constants",
  setup(build) {
    build.onLoad({ filter: /\.const\.ts$/ }, async ({ path }) => {
      const { default: value } = await import(`file://${path}`);
      return { contents: `export default ${JSON.stringify(value)};`, loader: "js" };
    });
  },
};

/** The chunks: name -> CommonJS source. */
async function chunks(): Promise<Record<string, string>> {
  const split = await esbuild.build({
    entryPoints: ["main.ts"],
    outdir: "dist",
    bundle: true,
    splitting: true,
    format: "esm",
    target: "esnext",
    minify: true,
    write: false,
    plugins: [constants],
  });
  const result: Record<string, string> = {};
  for (const { path, text } of split.outputFiles) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const { code } = await esbuild.transform(text, {
      format: "cjs",
      target: "esnext",
      minify: true,
      platform: "node",
      supported: { "dynamic-import": false },
    });
    result[name] = code.trim();
  }
  return result;
}

/** The few lines that find a chunk, evaluate it once and hand out its exports. */
const LOADER = `const cache={};
const load=name=>{name=name.slice(2);const known=cache[name];if(known)return known.exports;
const module=cache[name]={exports:{}};new Function("require","module","exports",chunks[name])(load,module,module.exports);
return module.exports};
load("./${ENTRY}");
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

async function bundle(): Promise<void> {
  Object.assign(globalThis, { runkBuild: await buildName() });
  const sources = await chunks();
  const shebang = `#!/usr/bin/env -S ${Deno.execPath()} ${DENO_FLAGS.join(" ")}\n`;
  const SHEBANG_MAX = 255;
  if (shebang.length > SHEBANG_MAX) throw new Error(`the first line is too long for the kernel: ${shebang}`);
  const text = `${shebang}const chunks=${JSON.stringify(sources)};\n${LOADER}`;
  await Deno.mkdir("dist", { recursive: true });
  await Deno.writeTextFile(OUTPUT, text);
  await Deno.chmod(OUTPUT, 0o755);
  const sizes = Object.entries(sources).map(([name, { length }]) => `${name} ${(length / 1024).toFixed(1)}`).join(", ");
  console.log(`${OUTPUT}: ${(text.length / 1024).toFixed(1)} KB (${sizes})`);
}

await bundle();
await esbuild.stop();
