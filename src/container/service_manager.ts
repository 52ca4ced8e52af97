/** What a service manager hands to its service through runk: sockets to listen on, and a socket to say "ready" on. */
import { exists } from "../files.ts";
import { announceAndWait, awaitReady, NOTIFY_SOCKET, NotifySocket, ReadyStream } from "../process/notify_socket.ts";
import type { Stream } from "../process/pump.ts";
import type { Spec } from "../spec/schema.ts";
import type { StateRecord } from "../state/record.ts";
import { openInit } from "./open_init.ts";
import type { Runtime } from "./runtime.ts";

/** Where the container sees its notify directory. */
const IN_CONTAINER = "/run/notify";
const DIRECTORY_MODE = 0o755;

/** Sockets that were passed to this process from descriptor 3 on, by sd_listen_fds(3). */
export interface ListenFds {
  readonly count: number;
  /** Their names, separated by colons. */
  readonly names: string | undefined;
}

/** The way of "ready". */
export interface Notify {
  /** The container's notify directory, as the host sees it. */
  readonly directory: string;
  /** The service manager's socket: a path, or "@" and an abstract name. */
  readonly host: string;
}

/** The config with what the service needs: environment, and the directory with the notify socket. */
export function withServiceManager(
  spec: Spec,
  { listenFds, notify }: { listenFds: ListenFds | undefined; notify: Notify | undefined },
): Spec {
  const { process, mounts = [] } = spec;
  // Whatever else is in there is for the checks to judge.
  if (typeof process !== "object" || !Array.isArray(mounts)) return spec;
  const env = Array.isArray(process.env) ? [...process.env] : [];
  if (notify !== undefined) env.push(`NOTIFY_SOCKET=${IN_CONTAINER}/${NOTIFY_SOCKET}`);
  if (listenFds !== undefined) {
    env.push(`LISTEN_FDS=${listenFds.count}`, "LISTEN_PID=1");
    if (listenFds.names !== undefined) env.push(`LISTEN_FDNAMES=${listenFds.names}`);
  }
  const options = ["bind", "nosuid", "noexec", "nodev", "ro"];
  const mount = notify === undefined ? [] : [{ destination: IN_CONTAINER, source: notify.directory, options }];
  return { ...spec, process: { ...process, env }, mounts: [...mounts, ...mount] };
}

/** The config of a container that was made with a service manager, or without one. */
export function withNotifyDirectory(spec: Spec, stateDirectory: string): Spec {
  const notify = { directory: `${stateDirectory}/notify`, host: "" };
  return exists(notify.directory) ? withServiceManager(spec, { listenFds: undefined, notify }) : spec;
}

/** Makes the container's notify directory. */
export function makeNotifyDirectory({ directory }: Notify): void {
  Deno.mkdirSync(directory);
  // mkdir's mode goes through the umask.
  Deno.chmodSync(directory, DIRECTORY_MODE);
}

/** The socket on which the container's service will say that it is ready. */
export const listen = ({ directory }: Notify): NotifySocket => new NotifySocket(directory);

/** As listen; undefined for a container that was made without such a directory. */
export function listenIfMade(notify: Notify): NotifySocket | undefined {
  return exists(notify.directory) ? listen(notify) : undefined;
}

/** For a command that ends when the service is ready: waits for that, and tells the service manager. */
export async function passReadiness(
  { poll, warn }: Runtime,
  record: StateRecord,
  socket: NotifySocket,
  { host }: Notify,
): Promise<void> {
  using init = openInit(record);
  if (init === undefined) return;
  await awaitReady(socket, { host, init, pid: record.init_process_pid, poll, warn });
}

/** For a service that goes on where it was ready already. @param pid the process to watch */
export const announceRestored = ({ poll, warn }: Runtime, { host }: Notify, pid: number): Promise<void> =>
  announceAndWait("READY=1", { host, pid, poll, warn });

/** For a command that stays: it is what the service manager watches. */
export const readyStream = ({ warn }: Runtime, socket: NotifySocket, { host }: Notify): Stream =>
  new ReadyStream(socket, host, Deno.pid, warn);
