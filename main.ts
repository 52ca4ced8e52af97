/** The program: arguments in, exit status out. */
import { exit } from "./ffi/exit.ts";
import { main } from "./src/commands/main.ts";

/** What the program is called: argv[0] of the executable, or the name of the script. */
function calledAs(): string {
  if (!Deno.build.standalone) return decodeURIComponent(Deno.mainModule.replace("file://", ""));
  try {
    return Deno.readTextFileSync("/proc/self/cmdline").split("\0", 1)[0] ?? "runk";
  } catch {
    return "runk";
  }
}

const path = calledAs();
const base = path.slice(path.lastIndexOf("/") + 1);
main(Deno.args, { name: base === "runc" ? "runc" : "runk", path }).then(exit);
