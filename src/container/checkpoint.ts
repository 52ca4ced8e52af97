/** Saves a running container to files. */
import { controllerDirectory, versionOf } from "../cgroup/paths.ts";
import { type Options, TYPE } from "../criu/messages.ts";
import type { Notice } from "../criu/session.ts";
import { describeFileError, RunkError } from "../errors.ts";
import { E, errnoText } from "../abi/errno.ts";
import { F } from "../abi/flags.ts";
import { tryCall } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { Memory } from "../../ffi/memory.ts";
import { probeHost } from "../host/probe.ts";
import { CRIU_FD, criuInput, planCriu } from "../plan/criu.ts";
import { cleanPath } from "../spec/clean_path.ts";
import { bundleOf, label, type StateRecord } from "../state/record.ts";
import * as store from "../state/store.ts";
import {
  commonOptions,
  type Criu,
  type CriuOptions,
  findCriu,
  makeDirectories,
  quoteLog,
  SINCE,
  startCriu,
} from "./criu.ts";
import { mountsToLeaveOut, type Outside, outsideOf, outsideOfRecord } from "./criu_mounts.ts";
import { externalNamespaces } from "./criu_namespaces.ts";
import { DESCRIPTORS, descriptorsOf } from "./descriptors.ts";
import { destroy } from "./destroy.ts";
import { find } from "./find.ts";
import type { Runtime } from "./runtime.ts";
import { specOf } from "./spec_of.ts";

export interface CheckpointOptions extends CriuOptions {
  /** Images of an earlier checkpoint, relative to this one's; an empty text for none. */
  readonly parentPath: string;
  readonly leaveRunning: boolean;
  /** Memory only; the container runs on, and a later checkpoint saves what has changed since. */
  readonly preDump: boolean;
  readonly tcpSkipInFlight: boolean;
  readonly linkRemap: boolean;
  /** Where pages are sent. */
  readonly pageServer: { readonly address: string; readonly port: number } | undefined;
  /** Descriptor that takes a byte when pages can be fetched; -1 for none. */
  readonly statusFd: number;
}

const LOG = "dump.log";

/**
 * Saves a container, and removes it unless it is to run on.
 * @throws {RunkError} when it is not running, or criu fails: the container runs on then
 */
export async function checkpoint(runtime: Runtime, id: string, options: CheckpointOptions): Promise<void> {
  using locked = new DisposableStack();
  const lock = locked.use(await store.lock(runtime.root, id));
  if (!lock.isCurrent()) throw new RunkError(store.DOES_NOT_EXIST);
  const { record, status } = find(runtime, id);
  if (status === "created" || status === "stopped") {
    throw new RunkError(`Container cannot be checkpointed in ${status} state`);
  }
  checkParent(options);
  const program = findCriu(runtime.environment());
  makeDirectories(options, { images: true });
  using statusFd = options.lazyPages ? StatusFd.of(options.statusFd) : undefined;
  const start = async (given: StatusFd | undefined) =>
    await startCriu(
      runtime,
      planCriu(probeHost(), {
        program,
        environment: runtime.environment(),
        images: options.imageDirectory,
        work: options.workDirectory,
        descriptors: given === undefined ? 0 : 1,
      }),
      {
        directory: `${runtime.root}/${id}`,
        inputs: given === undefined ? {} : { [criuInput(0)]: given.fd },
      },
    );
  let criu = await start(undefined);
  if (statusFd !== undefined && criu.version < SINCE.statusNotice) {
    // It writes the byte itself.
    await criu.end();
    criu = await start(statusFd);
  }
  try {
    const request = await requestFor(runtime, criu, record, options);
    if (!options.preDump) writeDescriptors(options.imageDirectory, record);
    // Fetching the pages may take for ever; whoever wants to end the container meanwhile shall not have to wait.
    if (options.lazyPages) locked.dispose();
    await dump(runtime, criu, request, options, statusFd);
  } finally {
    await criu.end();
  }
  if (options.leaveRunning || options.preDump) return;
  try {
    using again = options.lazyPages ? await store.lock(runtime.root, id) : undefined;
    if ((again ?? lock).isCurrent()) await destroy(runtime, record);
  } catch (error) {
    runtime.warn(error instanceof Error ? error.message : String(error));
  }
}

async function dump(
  runtime: Runtime,
  { session, version }: Criu,
  opts: Options,
  options: CheckpointOptions,
  status: StatusFd | undefined,
): Promise<void> {
  const { preDump, lazyPages } = options;
  if (preDump) await session.require({ memTrack: true });
  if (lazyPages) await session.require({ lazyPages: true });
  const isOld = version < SINCE.statusNotice;
  const statusFd = isOld && status !== undefined ? CRIU_FD.given : undefined;
  const onNotice = ({ script }: Notice) => {
    if (script === "status-ready" && !isOld) status?.tell();
  };
  const request = { type: preDump ? TYPE.PRE_DUMP : TYPE.DUMP, opts: { ...opts, statusFd } };
  try {
    await session.request(request, onNotice, () => isOld && status?.[Symbol.dispose]());
  } catch (error) {
    quoteLog(runtime, options.workDirectory, LOG);
    throw error;
  }
}

const ACCESS_MODE = 0o3;

/** The caller's descriptor that learns when pages can be fetched. */
class StatusFd implements Disposable {
  readonly fd: Fd;

  /** @throws {RunkError} unless it can be written to */
  private constructor(number: number) {
    const flags = tryCall("fcntl", number, F.GETFL);
    const why = flags < 0 ? errnoText(-flags) : (flags & ACCESS_MODE) === 0 ? "not writable" : undefined;
    if (why !== undefined) throw new RunkError(`invalid --status-fd argument ${number}: ${why}`);
    this.fd = new Fd(number);
  }

  /** Undefined for -1, which stands for none. */
  static of = (number: number): StatusFd | undefined => (number === -1 ? undefined : new StatusFd(number));

  tell(): void {
    tryCall("write", this.fd.number, new Memory(1), 1);
    this.fd.close();
  }

  [Symbol.dispose](): void {
    this.fd.close();
  }
}

/** @throws {RunkError} for images of an earlier checkpoint that are not there */
function checkParent({ parentPath, imageDirectory }: CheckpointOptions): void {
  if (parentPath === "") return;
  if (parentPath.startsWith("/")) throw new RunkError("--parent-path must be relative");
  const path = cleanPath(`${imageDirectory}/${parentPath}`);
  let isDirectory: boolean;
  try {
    isDirectory = Deno.statSync(path).isDirectory;
  } catch (error) {
    throw new RunkError(`invalid --parent-path: ${describeFileError("stat", path, error)}`);
  }
  if (!isDirectory) throw new RunkError(`invalid --parent-path: ${path}: ${errnoText(E.NOTDIR)}`);
}

async function requestFor(
  runtime: Runtime,
  { version }: Criu,
  record: StateRecord,
  options: CheckpointOptions,
): Promise<Options> {
  const { parentPath, pageServer, preDump } = options;
  const paths = record.cgroup_paths ?? {};
  const freezer = versionOf(paths) === "v2" && version < SINCE.freezerV2
    ? undefined
    : controllerDirectory(paths, "freezer");
  return {
    ...commonOptions(options, LOG, label(record, "org.criu.config")),
    root: record.config.rootfs,
    pid: record.init_process_pid,
    leaveRunning: options.leaveRunning,
    tcpSkipInFlight: options.tcpSkipInFlight,
    linkRemap: options.linkRemap,
    external: externalNamespaces(record, version),
    ...(freezer === undefined ? {} : { freezeCgroup: freezer }),
    ...(pageServer === undefined ? {} : { ps: pageServer }),
    ...(parentPath === "" ? {} : { parentImg: parentPath, trackMem: true }),
    // Memory alone has no mounts.
    ...(preDump ? {} : { extMnt: mountsToLeaveOut(await outside(runtime, record), record.init_process_pid) }),
  };
}

/** What runk's own record does not say stands in the container's config. */
async function outside({ root }: Runtime, record: StateRecord): Promise<Outside> {
  const [{ cgroups }, paths] = [probeHost(), record.cgroup_paths ?? {}];
  if (record.runk === undefined) return outsideOfRecord(record.config, cgroups, paths);
  const { withNotifyDirectory } = await import("./service_manager.ts");
  const spec = withNotifyDirectory((await specOf(record))(), store.directoryOf(root, record.id));
  return outsideOf(spec, bundleOf(record), cgroups, paths);
}

/** What standard input, output and error were: pipes are given to the restored container by these names. */
function writeDescriptors(directory: string, record: StateRecord): void {
  const path = `${directory}/${DESCRIPTORS}`;
  const descriptors = record.external_descriptors ?? descriptorsOf(record.init_process_pid);
  try {
    Deno.writeTextFileSync(path, JSON.stringify(descriptors), { mode: 0o600 });
  } catch (error) {
    throw new RunkError(describeFileError("open", path, error));
  }
}
