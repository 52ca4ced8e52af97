/** Namespaces that a container joined by path: criu does not save them, and finds them again by a name. */
import { NAMESPACES, type NamespaceType } from "../abi/flags.ts";
import type { Options } from "../criu/messages.ts";
import type { Version } from "../criu/session.ts";
import { describeFileError, RunkError } from "../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { CRIU_FD } from "../plan/criu.ts";
import type { Namespace } from "../plan/recipe.ts";
import type { StateRecord } from "../state/record.ts";
import { openFile, SINCE } from "./criu.ts";

type Kept = "network" | "pid";
/** The kinds that criu leaves alone, with runc's names of them, and the first criu that can. */
const KEPT = {
  network: { name: "NEWNET", key: "extRootNetNS", since: SINCE.externalNetwork },
  pid: { name: "NEWPID", key: "extRootPidNS", since: SINCE.externalPids },
} as const satisfies Record<Kept, object>;

const isKept = (type: NamespaceType): type is Kept => type in KEPT;

function checkVersion(type: Kept, version: Version, when: string): void {
  if (version >= KEPT[type].since) return;
  const name = NAMESPACES[type].file;
  throw new RunkError(`criu lacks support for external ${name} namespace during ${when} (old criu version?)`);
}

/** For a checkpoint: "net[4026531840]:extRootNetNS". */
export function externalNamespaces({ config }: StateRecord, version: Version): string[] {
  return (Object.keys(KEPT) as Kept[]).flatMap((type) => {
    const path = config.namespaces.find(({ type: name }) => name === KEPT[type].name)?.path;
    if (!path) return [];
    checkVersion(type, version, "checkpointing process");
    let inode: number | null;
    try {
      inode = Deno.statSync(path).ino;
    } catch (error) {
      throw new RunkError(describeFileError("stat", path, error));
    }
    return [`${NAMESPACES[type].file}[${inode}]:${KEPT[type].key}`];
  });
}

/**
 * The namespaces that a restored container is to have from elsewhere, opened: criu gets them by descriptor, in this order.
 * @throws {RunkError} for one that does not exist
 */
export function openKeptNamespaces(namespaces: Iterable<Namespace>): { type: Kept; fd: Fd }[] {
  const opened: { type: Kept; fd: Fd }[] = [];
  for (const { type, path, configPath } of namespaces) {
    if (path === undefined || !isKept(type)) continue;
    try {
      opened.push({ type, fd: openFile(path) });
    } catch (error) {
      for (const { fd } of opened) fd.close();
      const why = describeFileError("open", path, error);
      throw new RunkError(`Requested ${type} namespace ${path} does not exist: ${why} [config.json ${configPath}]`);
    }
  }
  return opened;
}

/** For a restore: which descriptors are those namespaces, and the paths of the others that are joined. */
export function joinedNamespaces(
  namespaces: Iterable<Namespace>,
  kept: readonly { type: Kept }[],
  version: Version,
): Pick<Options, "inheritFd" | "joinNs"> {
  for (const { type } of kept) checkVersion(type, version, "the restoration process");
  const joinNs = [...namespaces].flatMap(({ type, path, configPath }) => {
    if (path === undefined || isKept(type)) return [];
    if (type === "cgroup") {
      throw new RunkError(`Do not know how to handle namespace NEWCGROUP [config.json ${configPath}]`);
    }
    return [{ ns: NAMESPACES[type].file, nsFile: path }];
  });
  return { inheritFd: kept.map(({ type }, i) => ({ key: KEPT[type].key, fd: CRIU_FD.given + i })), joinNs };
}
