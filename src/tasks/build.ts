/**
 * `deno task build [--target TRIPLE]`: dist/runk, the single executable, by `deno compile`. The runtime that it puts the
 * program behind (denort) is downloaded by deno, or named by DENORT_BIN.
 */
import { boot, makeBundle, V8_FLAGS } from "./bundle.ts";

const USAGE = "usage: deno task build [--target x86_64-unknown-linux-gnu|aarch64-unknown-linux-gnu] [--output FILE]";

/** The options of the command line: name -> value. */
function options(args: readonly string[]): Record<string, string> {
  const result: Record<string, string> = {};
  for (let i = 0; i < args.length; i += 2) {
    const [name, value] = [args[i]!, args[i + 1]];
    if (!["--target", "--output"].includes(name) || value === undefined) throw new Error(USAGE);
    result[name.slice(2)] = value;
  }
  return result;
}

async function build(): Promise<number> {
  const { target, output = "dist/runk" } = options(Deno.args);
  const directory = await Deno.makeTempDir({ prefix: "runk-build-" });
  const [module, program] = [`${directory}/main.js`, `${directory}/program`];
  try {
    const { text, head } = await makeBundle();
    // Two lines in the place of the shell's.
    await Deno.writeTextFile(program, "\n\n" + text);
    await Deno.writeTextFile(module, boot('new URL("./program",import.meta.url)', 2 + head));
    await Deno.mkdir(output.slice(0, Math.max(0, output.lastIndexOf("/"))) || ".", { recursive: true });
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: [
        "compile",
        ...["--allow-all", "--no-config", "--no-check", "--no-lock", "--no-npm", "--no-remote", "--no-code-cache"],
        V8_FLAGS,
        ...(target === undefined ? [] : ["--target", target]),
        ...["--include", program, "--output", output, module],
      ],
    }).output().then(({ code, stderr }) => {
      if (code !== 0) console.error(new TextDecoder().decode(stderr).trim());
      return { code };
    });
    if (code !== 0) {
      console.error(
        `deno compile failed. It needs denort, the runtime for compiled programs: deno ${Deno.version.deno} downloads it ` +
          "from dl.deno.land; without the internet, set DENORT_BIN to a denort of the same version.\n" +
          "`deno task bundle` makes dist/runk.js, which needs no denort.",
      );
      return code;
    }
    console.log(`${output}: ${((await Deno.stat(output)).size / 1024 / 1024).toFixed(1)} MB`);
    return 0;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await build());
