/** The program: arguments in, exit status out. */
import { exit } from "./ffi/exit.ts";
import { main } from "./src/commands/main.ts";

/** dist/runk.js gives Deno a module that is no file, and its own path before the arguments (tasks/bundle.ts). */
const isBundle = Deno.mainModule.startsWith("data:");

/** What the program is called: the name of the script, or argv[0] of the executable. */
function calledAs(): string {
  if (isBundle) return Deno.args[0]!;
  if (!Deno.build.standalone) return decodeURIComponent(Deno.mainModule.replace("file://", ""));
  try {
    return Deno.readTextFileSync("/proc/self/cmdline").split("\0", 1)[0] ?? "runk";
  } catch {
    return "runk";
  }
}

const path = calledAs();
const base = path.slice(path.lastIndexOf("/") + 1);
main(isBundle ? Deno.args.slice(1) : Deno.args, { name: base === "runc" ? "runc" : "runk", path }).then(exit);
