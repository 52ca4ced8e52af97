/** What ordinary users need, and programs that runk calls for help. */
import type { HostFacts } from "../../host/facts.ts";
import { type Finding, finding, read, which } from "./finding.ts";

/** What containers of ordinary users need. @param environment the caller's, as "NAME=value" */
export function rootless({ uid }: HostFacts, environment: readonly string[]): Finding[] {
  const value = (name: string) => environment.find((entry) => entry.startsWith(name + "="))?.slice(name.length + 1);
  const user = uid === 0
    ? undefined
    : (read("/etc/passwd") ?? "").split("\n").find((line) => line.split(":")[2] === String(uid))
      ?.split(":")[0];
  const runtimeDirectory = value("XDG_RUNTIME_DIR");
  return [
    ...["newuidmap", "newgidmap"].map((name) => helper(name, value("PATH"))),
    ...["subuid", "subgid"].map((name) => subordinate(name, uid, user)),
    ...restrictions(),
    ...(uid === 0 ? [] : [
      finding("rootless", "rootless.runtimeDirectory", runtimeDirectory !== undefined, {
        found: runtimeDirectory ?? "XDG_RUNTIME_DIR is not set",
        use: "where the state of an ordinary user's containers is kept",
        cure: "log in through a session manager, or give --root",
      }),
    ]),
  ];
}

/** setuid root, or with the one capability it needs. */
function helper(name: string, path: string | undefined): Finding {
  const found = which(name, path);
  const SETUID = 0o4000;
  const isSetuid = found !== undefined && ((Deno.statSync(found).mode ?? 0) & SETUID) !== 0;
  return finding("rootless", `rootless.${name}`, found === undefined ? false : isSetuid ? true : "partly", {
    found: found === undefined
      ? "not on the PATH"
      : isSetuid
      ? `${found}, setuid`
      : `${found}, not setuid (file capabilities may do)`,
    use: "more than one id in the containers of ordinary users",
    cure: found === undefined ? "install uidmap (Debian) or shadow-utils" : `chmod u+s ${found}`,
  });
}

function subordinate(name: string, uid: number, user: string | undefined): Finding {
  const lines = (read(`/etc/${name}`) ?? "").split("\n").filter((line) => /^[^:#]+:\d+:\d+$/.test(line));
  const own = uid === 0 ? lines : lines.filter((line) => [user, String(uid)].includes(line.split(":")[0]));
  const count = own.reduce((sum, line) => sum + Number(line.split(":")[2]), 0);
  return finding("rootless", `rootless.${name}`, own.length > 0, {
    found: own.length === 0
      ? `/etc/${name} has nothing for ${uid === 0 ? "anyone" : user ?? uid}`
      : uid === 0
      ? `/etc/${name} has ranges for ${own.length} ${own.length === 1 ? "user" : "users"}`
      : `${count} ids`,
    use: "which ids an ordinary user's containers may have",
    cure: `usermod --add-${name}s 100000-165535 ${user ?? "USER"}`,
  });
}

/** What distributions add to keep ordinary users from user namespaces. */
function restrictions(): Finding[] {
  const clone = read("/proc/sys/kernel/unprivileged_userns_clone")?.trim();
  const apparmor = read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")?.trim();
  const use = "user namespaces of ordinary users";
  return [
    ...(clone === undefined ? [] : [
      finding("rootless", "rootless.usernsClone", clone !== "0", {
        found: `kernel.unprivileged_userns_clone = ${clone}`,
        use,
        cure: "sysctl kernel.unprivileged_userns_clone=1",
      }),
    ]),
    ...(apparmor === undefined ? [] : [
      finding("rootless", "rootless.apparmorUserns", apparmor !== "1", {
        found: `kernel.apparmor_restrict_unprivileged_userns = ${apparmor}`,
        use,
        cure: 'an AppArmor profile with "userns," for runk, or sysctl kernel.apparmor_restrict_unprivileged_userns=0',
      }),
    ]),
  ];
}

/** Programs on the caller's PATH. @param environment the caller's, as "NAME=value" */
export function helpers(environment: readonly string[]): Finding[] {
  const path = environment.find((entry) => entry.startsWith("PATH="))?.slice("PATH=".length);
  const programs: readonly [name: string, use: string, from: string][] = [
    ["criu", "checkpoint and restore", "criu"],
    ["ps", "ps as a table", "procps"],
  ];
  return programs.map(([name, use, from]) => {
    const found = which(name, path);
    return finding("helpers", `helpers.${name}`, found !== undefined, {
      found: found ?? "not on the PATH",
      use,
      cure: `install ${from}`,
    });
  });
}
