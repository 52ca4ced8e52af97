/** What `doctor` finds out about a machine. */

export type Group = "kernel" | "namespaces" | "mounts" | "cgroups" | "security" | "rootless" | "helpers";

export interface Finding {
  readonly group: Group;
  /** A name for tools, which stays. */
  readonly name: string;
  readonly state: "yes" | "partly" | "no";
  /** What was found, in a few words. */
  readonly found: string;
  /** What it is needed for. */
  readonly use: string;
  /** Without it no container can be made. */
  readonly required: boolean;
  /** How to get it; only where it is missing. */
  readonly cure?: string;
}

/** A finding that is "yes" or "no"; what is not there has a cure. */
export function finding(
  group: Group,
  name: string,
  isThere: boolean | "partly",
  { found, use, required = false, cure }: { found: string; use: string; required?: boolean; cure?: string },
): Finding {
  const state = isThere === "partly" ? "partly" : isThere ? "yes" : "no";
  return { group, name, state, found, use, required, ...(state === "yes" || cure === undefined ? {} : { cure }) };
}

/** The text of a file; undefined when it cannot be read. */
export function read(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}

/** Whether a file is there, and can be seen by who asks: a machine is looked over by ordinary users, too. */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The path of a command; undefined when there is none. */
export const which = (name: string, path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") =>
  path.split(":").map((directory) => `${directory}/${name}`).find(exists);
