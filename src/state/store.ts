/**
 * The state root: <root>/<id>/state.json (written whole and renamed), exec.fifo, and a lock on the directory that keeps
 * commands on one container apart. The kernel frees a lock with its holder, so a killed command leaves none.
 */
import { describeFileError, RunkError } from "../errors.ts";
import { isAbsent } from "../files.ts";
import { formatJson } from "../spec/json.ts";
import type { Seccomp } from "../spec/schema.ts";
import type { RareRecord, StateRecord } from "./record.ts";

const ROOT_MODE = 0o700;
const CONTAINER_MODE = 0o711;
const RECORD_MODE = 0o600;

export const INTENT = "intent.json";
const DRAFT = "state-draft.json";
export const PROFILE = "seccomp.json";

/** What has to be removed when a create is killed, or the record is damaged. */
export type Intent = Pick<StateRecord, "id" | "cgroup_paths"> & Partial<RareRecord>;

export const DOES_NOT_EXIST = "container does not exist";

const INVALID_ID = "invalid container ID format: letters, digits and _ + - . are allowed, and neither . nor .. alone";

/** @throws {RunkError} in runc's words for an id that could not be a directory's name */
export function checkId(id: string): void {
  if (id === "") throw new RunkError("container id cannot be empty");
  if (!/^[\w+.-]+$/.test(id) || id === "." || id === "..") throw new RunkError(INVALID_ID);
}

/** A container's directory in a state root. */
export const directoryOf = (root: string, id: string): string => `${root}/${id}`;
/** The start gate: it is there until the container's program starts. */
export const fifoOf = (root: string, id: string): string => `${root}/${id}/exec.fifo`;

/** The lock on a container's directory; released by disposing of it. */
export interface Lock extends Disposable {
  /** The directory is still the one that was locked: no one has deleted the container meanwhile. */
  isCurrent(): boolean;
}

/**
 * Makes a container's directory, and the root above it, and locks it.
 * @throws {RunkError} when the id is taken
 */
export function reserve(root: string, id: string): Lock {
  checkId(id);
  const path = directoryOf(root, id);
  let made = root;
  try {
    Deno.mkdirSync(root, { recursive: true, mode: ROOT_MODE });
    made = path;
    Deno.mkdirSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists && made === path) {
      throw new RunkError("container with given ID already exists");
    }
    throw new RunkError(describeFileError("cannot make the container's state directory", made, error));
  }
  try {
    // mkdir's mode goes through the umask.
    Deno.chmodSync(path, CONTAINER_MODE);
    const file = Deno.openSync(path);
    // Nobody can have held it for longer than a look.
    file.lockSync(true);
    return { isCurrent: () => true, [Symbol.dispose]: () => file.close() };
  } catch (error) {
    remove(root, id);
    throw error;
  }
}

/**
 * Locks a container's directory, waiting while another command holds it.
 * @throws {RunkError} when there is no such container
 */
export async function lock(root: string, id: string): Promise<Lock> {
  checkId(id);
  const path = directoryOf(root, id);
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path);
  } catch (error) {
    if (isAbsent(error)) throw new RunkError(DOES_NOT_EXIST);
    throw error;
  }
  const held = file.statSync();
  // Not every Deno that runk runs on can try.
  if (!(file as { tryLockSync?(exclusive: boolean): boolean }).tryLockSync?.(true)) await file.lock(true);
  return {
    isCurrent: () => {
      try {
        const now = Deno.statSync(path);
        return now.ino === held.ino && now.dev === held.dev;
      } catch (error) {
        if (isAbsent(error)) return false;
        throw error;
      }
    },
    [Symbol.dispose]: () => file.close(),
  };
}

/** Replaces the record: readers see the old one or the new one. */
export function save(root: string, record: StateRecord): void {
  const directory = directoryOf(root, record.id);
  write(root, record.id, DRAFT, record);
  try {
    Deno.renameSync(`${directory}/${DRAFT}`, `${directory}/state.json`);
  } catch (error) {
    removeFile(`${directory}/${DRAFT}`);
    throw cannotWrite(directory, error);
  }
}

/**
 * Records what is about to be made, straight into its place: when the file is cut short, nothing was made yet. Without a
 * record beside it the container "does not exist" for others; only deleting looks here, for what a killed create left, or
 * for a container whose record cannot be read.
 */
export const saveIntent = (root: string, intent: Intent): void => write(root, intent.id, INTENT, intent);

/** Keeps the container's seccomp profile: later processes get the same one, whatever the bundle says by then. */
export const saveProfile = (root: string, id: string, profile: Seccomp): void => write(root, id, PROFILE, profile);

function write(root: string, id: string, name: string, value: unknown): void {
  const directory = directoryOf(root, id);
  const path = `${directory}/${name}`;
  try {
    Deno.writeTextFileSync(path, formatJson(value), { mode: RECORD_MODE });
  } catch (error) {
    removeFile(path);
    throw cannotWrite(directory, error);
  }
}

const cannotWrite = (directory: string, error: unknown) =>
  new RunkError(describeFileError("cannot write the container's state in", directory, error));

/** Removes a container's directory with all that is in it; nothing when there is none. */
export function remove(root: string, id: string): void {
  try {
    Deno.removeSync(directoryOf(root, id), { recursive: true });
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

/** Removes the start gate: the container has started. */
export function removeFifo(root: string, id: string): void {
  removeFile(fifoOf(root, id));
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}
