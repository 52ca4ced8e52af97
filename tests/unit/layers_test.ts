/** The directions of imports, and the rules on who may touch what, over the sources themselves. */
import assert from "node:assert/strict";
import { test } from "../support/test.ts";

const ROOT = new URL("../../", import.meta.url);

/**
 * What each layer may import: layers, or single files of one. Types count, too. A layer is a folder under src/, ffi/, or
 * a file beside them. src/README.md shows the same as a picture.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "main.ts": ["ffi", "commands", "shim"],
  shim: ["container", "bundle", "host", "spec", "process", "state", "errors", "files", "log", "ffi", "abi"],
  commands: [
    "container",
    "bundle",
    "host",
    "plan",
    "spec",
    "seccomp",
    "process",
    "state",
    "errors",
    "log",
    "ffi",
    "abi",
  ],
  container: [
    ...["bundle", "host", "plan", "init", "cgroup", "criu", "process", "state", "seccomp", "spec", "errors", "files"],
    ...["log", "ffi", "abi", "build.const"],
  ],
  init: ["plan", "errors", "ffi", "abi"],
  criu: ["errors", "ffi", "abi"],
  plan: ["spec", "seccomp", "cgroup", "host/facts.ts", "errors", "abi"],
  process: ["spec", "errors", "log", "ffi", "abi"],
  cgroup: ["spec", "host/facts.ts", "errors", "files", "log", "ffi", "abi"],
  state: ["spec", "init/relocatable.ts", "cgroup/freezer.ts", "errors", "files", "ffi", "abi"],
  bundle: ["spec", "errors", "ffi", "abi"],
  host: ["spec", "errors", "files", "ffi", "abi"],
  seccomp: ["spec", "errors", "abi"],
  spec: ["errors", "abi"],
  ffi: ["errors", "abi"],
  log: ["errors"],
  files: ["errors", "abi"],
  errors: ["abi"],
  abi: [],
  "build.const": [],
};

/** Layers that only compute. */
const PURE = ["abi", "spec", "seccomp", "plan"];

/** Longer files do more than one thing; about 400 is the aim. */
const LINES_MAX = 450;

interface Module {
  readonly path: string;
  readonly imports: readonly { readonly path: string; readonly isType: boolean }[];
}

const isSource = (path: string) => /^(main\.ts|src\/|ffi\/)/.test(path) && !path.startsWith("src/tasks/");
const layerOf = (path: string) => path.replace(/^src\//, "").split("/")[0]!.replace(/(?<!^main)\.ts$/, "");
const pathOf = (specifier: string) => specifier.startsWith(ROOT.href) ? specifier.slice(ROOT.href.length) : specifier;

/** Every file of the program, whether main.ts reaches it or not, with what it imports. */
async function modules(): Promise<ReadonlyMap<string, Module>> {
  const files = ["main.ts", ...sources("src"), ...sources("ffi")].filter(isSource);
  const entry = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(entry, files.map((file) => `import "${ROOT.href}${file}";\n`).join(""));
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", new URL("deno.json", ROOT).pathname, entry],
      cwd: ROOT.pathname,
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const info = JSON.parse(new TextDecoder().decode(stdout)) as Info;
    const result = new Map<string, Module>();
    for (const { specifier, dependencies = [] } of info.modules) {
      const imports = dependencies.flatMap(({ code, type }) => [
        ...(code?.specifier === undefined ? [] : [{ path: pathOf(code.specifier), isType: false }]),
        ...(type?.specifier === undefined ? [] : [{ path: pathOf(type.specifier), isType: true }]),
      ]);
      if (files.includes(pathOf(specifier))) result.set(pathOf(specifier), { path: pathOf(specifier), imports });
    }
    assert.ok(result.size >= files.length, "deno info knows every file");
    return result;
  } finally {
    await Deno.remove(entry);
  }
}

interface Info {
  readonly modules: readonly {
    readonly specifier: string;
    readonly dependencies?: readonly { readonly code?: Found; readonly type?: Found }[];
  }[];
}
interface Found {
  readonly specifier?: string;
}

function sources(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory }) =>
    isDirectory ? sources(`${folder}/${name}`) : name.endsWith(".ts") ? [`${folder}/${name}`] : []
  );
}

/** A file's text without comments and strings. */
const codeOf = (path: string) =>
  Deno.readTextFileSync(new URL(path, ROOT))
    .replace(/\/\*[\s\S]*?\*\/|\/\/.*|"(?:[^"\\\n]|\\.)*"/g, "");

const graph = await modules();

test("every import goes to a layer that the importing one may use", [], () => {
  const wrong: string[] = [];
  for (const { path, imports } of graph.values()) {
    const layer = layerOf(path);
    const allowed = MAY_IMPORT[layer];
    if (allowed === undefined) wrong.push(`${path} is in no layer of the table`);
    for (const { path: target } of imports) {
      if (!isSource(target) || layerOf(target) === layer) continue;
      const isAllowed = allowed?.some((name) => name === layerOf(target) || `src/${name}` === target);
      if (!isAllowed) wrong.push(`${path} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("what spec, seccomp and plan use is pure: none of it reaches ffi or names Deno", [], () => {
  const wrong: string[] = [];
  const seen = new Set<string>();
  const visit = (path: string, from: string) => {
    if (seen.has(path)) return;
    seen.add(path);
    if (path.startsWith("ffi/")) wrong.push(`${from} imports ${path}`);
    else if (/\bDeno\./.test(codeOf(path))) wrong.push(`${path} names Deno`);
    for (const { path: target, isType } of graph.get(path)?.imports ?? []) {
      if (!isType && isSource(target)) visit(target, path);
    }
  };
  for (const path of graph.keys()) if (PURE.includes(layerOf(path))) visit(path, "");
  assert.deepEqual(wrong, []);
});

test("only ffi/ opens libraries and makes pointers", [], () => {
  const native = /\bDeno\.(dlopen|UnsafePointer|UnsafePointerView|UnsafeFnPointer|UnsafeCallback)\b/;
  const wrong = [...graph.keys()].filter((path) => !path.startsWith("ffi/") && native.test(codeOf(path)));
  assert.deepEqual(wrong, []);
  assert.match(codeOf("ffi/libc.ts"), native);
});

test("the program needs no module of Node's, none from the network, and of npm only zod and protobuf", [], () => {
  const outside = [...graph.values()].flatMap(({ path, imports }) =>
    imports.filter(({ path: target }) => !isSource(target)).map(({ path: target }) => `${path}: ${target}`)
  );
  const known = [/: npm:\/?zod@[\d.]+\/mini$/, /^src\/criu\/messages\.ts: npm:\/?@bufbuild\/protobuf@[\d.]+\/wire$/];
  assert.deepEqual(outside.filter((found) => !known.some((one) => one.test(found))), []);
});

test(`no file has more than ${LINES_MAX} lines`, [], () => {
  const long = ["main.ts", ...sources("src"), ...sources("ffi")]
    .map((path) => ({ path, lines: Deno.readTextFileSync(new URL(path, ROOT)).split("\n").length - 1 }));
  for (const { path, lines } of long) if (lines > 400) console.log(`${path} has ${lines} lines; 400 is the aim`);
  assert.deepEqual(long.filter(({ lines }) => lines > LINES_MAX), []);
});
