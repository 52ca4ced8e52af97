/** What the flags of checkpoint and restore have in common. */
import { cgroupModeOf, type CriuOptions } from "../container/criu.ts";
import { RunkError } from "../errors.ts";
import { absolute, isRootless } from "./command.ts";
import type { Flag, Options } from "./flags.ts";
import type { Context } from "./command.ts";

export const CRIU_FLAGS: readonly Flag[] = [
  {
    name: "image-path",
    kind: "string",
    value: "directory",
    help: "directory of criu's image files (default: ./checkpoint)",
  },
  {
    name: "work-path",
    kind: "string",
    value: "directory",
    help: "directory for criu's logs and work files (default: that of the images)",
  },
  { name: "tcp-established", kind: "bool", help: "allow open TCP connections" },
  { name: "ext-unix-sk", kind: "bool", help: "allow unix sockets that are connected to the outside" },
  { name: "shell-job", kind: "bool", help: "allow a terminal of the caller's" },
  { name: "lazy-pages", kind: "bool", help: "fetch memory when it is used, by userfaultfd" },
  { name: "file-locks", kind: "bool", help: "save and restore file locks" },
  {
    name: "manage-cgroups-mode",
    kind: "string",
    value: ["soft", "full", "strict", "ignore"],
    help: "what criu does about cgroups: soft, full, strict or ignore (default: soft)",
  },
  {
    name: "empty-ns",
    kind: "list",
    value: ["network"],
    help: "namespace that is made, but whose content is left to others: network, which always is",
  },
  { name: "auto-dedup", kind: "bool", help: "remove from earlier images what later ones have, too" },
];

/** @throws {RunkError} for a value that cannot be */
export function criuOptions(options: Options): CriuOptions {
  const other = options.list("empty-ns").find((name) => name !== "network");
  if (other !== undefined) throw new RunkError(`namespace ${JSON.stringify(other)} is not supported`);
  const imageDirectory = absolute(options.string("image-path") || "checkpoint");
  return {
    imageDirectory,
    workDirectory: absolute(options.string("work-path")) || imageDirectory,
    cgroupMode: cgroupModeOf(options.string("manage-cgroups-mode")),
    tcpEstablished: options.bool("tcp-established"),
    extUnixSk: options.bool("ext-unix-sk"),
    shellJob: options.bool("shell-job"),
    fileLocks: options.bool("file-locks"),
    autoDedup: options.bool("auto-dedup"),
    lazyPages: options.bool("lazy-pages"),
  };
}

/** criu wants to be root. */
export function warnOfRootless({ runtime, globals }: Context): void {
  if (isRootless(globals)) runtime.warn(`${runtime.program} checkpoint is untested with rootless containers`);
}
