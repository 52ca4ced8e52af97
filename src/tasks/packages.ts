/** Debian packages that tests and benchmarks need. */
import { exists } from "../files.ts";

/** Daemons that come with packages stay off: the tests start their own. */
const ENVIRONMENT = { DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };

/**
 * Installs what is missing.
 * @param packages a file that the package has -> the package
 */
export async function install(packages: Readonly<Record<string, string>>): Promise<void> {
  const missing = Object.entries(packages).filter(([path]) => !exists(path)).map(([, name]) => name);
  if (missing.length === 0) return;
  if (Deno.uid() !== 0 || !exists("/usr/bin/apt-get")) {
    console.log(`not installed: ${missing.join(" ")} (that takes root and apt)`);
    return;
  }
  console.log(`installing ${missing.join(" ")}`);
  const apt = async (...args: string[]) => {
    const all = ["-qq", "-o", "Dpkg::Use-Pty=0", ...args];
    const { code } = await new Deno.Command("apt-get", { args: all, env: ENVIRONMENT, stdin: "null" }).spawn().status;
    if (code !== 0) console.log(`apt-get ${args[0]} ended with status ${code}`);
  };
  await apt("update");
  await apt("install", "-y", "--no-install-recommends", ...missing);
}
