/** User namespaces: the host lane writes the id maps, and the container's process becomes root inside. */
import { AT_FDCWD, CLD, P, SIGINFO_FIELD, SIGINFO_SIZE, W } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { SIG } from "../../abi/names.ts";
import { RunkError } from "../../errors.ts";
import type { HostFacts } from "../../host/facts.ts";
import type { IdMappings } from "../../spec/schema.ts";
import { bytes, type Lane, size, slot, text, words } from "../builder.ts";
import { isNew, type Recipe } from "../recipe.ts";
import { meet } from "./lanes.ts";

/**
 * Both lanes: the host lane writes the id maps of a new user namespace, then the container becomes its root. An ordinary
 * user may map the own id, and for that gives up setgroups; more is up to newuidmap(1) and newgidmap(1).
 * @throws {RunkError} when those are needed and not there
 */
export function mapIds(recipe: Recipe): void {
  const { box, spec, facts } = recipe;
  if (!isNew(recipe, "user")) return;
  processDirectory(recipe);
  const { uidMappings = [], gidMappings = [] } = spec.linux ?? {};
  const isOwn = (mappings: IdMappings, id: number) =>
    facts.uid === 0 || (mappings.length === 1 && mappings[0]!.hostID === id && mappings[0]!.size === 1);
  if (isOwn(gidMappings, facts.gid)) {
    if (facts.uid !== 0) write(recipe, "setgroups", "deny", "/linux/gidMappings");
    write(recipe, "gid_map", mapText(gidMappings), "/linux/gidMappings");
  } else {
    runTool(recipe, "newgidmap", gidMappings, "/linux/gidMappings");
  }
  if (isOwn(uidMappings, facts.uid)) write(recipe, "uid_map", mapText(uidMappings), "/linux/uidMappings");
  else runTool(recipe, "newuidmap", uidMappings, "/linux/uidMappings");
  meet(recipe, "host", "ids mapped");
  becomeRoot(box, recipe.request.annotated?.keepsGroups);
}

function write({ b, host }: Recipe, file: string, content: string, path: string): void {
  host.task(`write ${file} of the new user namespace`, { path, error: `cannot write ${file}` });
  host.sys("openat", [slot("process"), text(file), b.O.WRONLY | b.O.CLOEXEC], { out: "file" });
  host.sys("write", [slot("file"), bytes(new TextEncoder().encode(content), JSON.stringify(content)), size(content)]);
  host.close("file");
}

/** What uid_map and gid_map of a process take: a line for each range. */
export const mapText = (mappings: IdMappings): string =>
  mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");

const NOT_STARTED = 127;
const ALL = 0xffffffff;

/** Host lane: a child that runs newuidmap or newgidmap, which say on standard error what they do not allow. */
function runTool({ b, host, facts }: Recipe, name: keyof IdMapTools, mappings: IdMappings, path: string): void {
  const program = facts.idMapTools?.[name];
  if (program === undefined) {
    const what = `mapping ids that are not the caller's own takes ${name}`;
    throw new RunkError(`${what}, which is not in PATH: install it (uidmap) [config.json ${path}]`);
  }
  const child = b.unique(`${name} starts`);
  const numbers = mappings.flatMap(({ containerID, hostID, size }) => [containerID, hostID, size].map(String));
  const pid = b.buffer("mapped pid", 24);
  const info = b.buffer("tool info", SIGINFO_SIZE);
  const error = `${name} ${numbers.join(" ")} failed: are these ids the user's in /etc/sub${name.slice(3, 6)}?`;
  host.task(`have ${name} map ids that are not the caller's own`, { path, error: `cannot run ${name}` });
  host.format(slot("pid"), pid);
  host.sys("clone3", [words([0, 0, 0, 0, SIG.CHLD, 0, 0, 0], "{SIGCHLD}"), 64], { out: "tool" });
  host.jump(child, { left: slot("tool"), is: "==", right: 0 });
  host.sys("waitid", [P.PID, slot("tool"), info, W.EXITED, 0]);
  host.load("tool code", 4, info, SIGINFO_FIELD.code).load("tool status", 4, info, SIGINFO_FIELD.status);
  host.fail(error, { left: slot("tool code"), is: "!=", right: CLD.EXITED });
  host.fail(error, { left: slot("tool status"), is: "!=", right: 0 });
  const lane = b.section(name, child);
  lane.task(`be ${name}`, { path, error: `cannot run ${program}` });
  lane.sys("close_range", [3, ALL, 0]);
  lane.sys("execve", [text(program), words([text(name), pid, ...numbers.map(text), 0], name), words([0], "[]")]);
  lane.sys("exit_group", [NOT_STARTED]);
}

type IdMapTools = NonNullable<HostFacts["idMapTools"]>;

/** Become root of the user namespace one is in. setgroups: EPERM where the namespace denies it. */
export function becomeRoot(lane: Lane, keepsGroups = false): void {
  lane.task("become root of the user namespace");
  lane.sys("setresgid", [0, 0, 0]);
  if (!keepsGroups) lane.sys("setgroups", [0, 0], { tolerate: [E.PERM] });
  lane.sys("setresuid", [0, 0, 0]);
}

/** Host lane: a descriptor of /proc/<pid> of the container's process, in slot "process"; opened once. */
export function processDirectory({ b, host }: Pick<Recipe, "b" | "host">): void {
  if (host.steps.some(({ out }) => out === "process")) return;
  const path = b.buffer("process path", 32, { bytes: new TextEncoder().encode("/proc/") });
  host.task("open the container's process in /proc");
  host.format(slot("pid"), path.plus(6));
  host.sys("openat", [AT_FDCWD, path, b.O.PATH | b.O.DIRECTORY | b.O.CLOEXEC], { out: "process" });
}
