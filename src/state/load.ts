/** Reads what the state root keeps of containers; store.ts writes it. A new container's start needs none of it. */
import { describeFileError, RunkError } from "../errors.ts";
import { isAbsent, readIfThere } from "../files.ts";
import { parseJson } from "../spec/json.ts";
import type { Seccomp } from "../spec/schema.ts";
import { RECORD_VERSION, type StateRecord } from "./record.ts";
import { checkId, directoryOf, DOES_NOT_EXIST, INTENT, type Intent, PROFILE } from "./store.ts";

/**
 * The record of a container.
 * @throws {RunkError} when there is none, or it cannot be read
 */
export function load(root: string, id: string): StateRecord {
  checkId(id);
  const path = `${directoryOf(root, id)}/state.json`;
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (isAbsent(error)) throw new RunkError(DOES_NOT_EXIST);
    throw new RunkError(`cannot read ${path}`, { cause: error });
  }
  let record: unknown;
  try {
    record = parseJson(text);
  } catch (error) {
    throw new RunkError(`${path} is not JSON; \`delete --force\` removes the container`, { cause: error });
  }
  if (!isRecord(record, id)) {
    throw new RunkError(`${path} is not the state of container ${id}; \`delete --force\` removes the container`);
  }
  if ((record.runk?.version ?? 0) > RECORD_VERSION) {
    throw new RunkError(`${path} was written by a newer runk (version ${record.runk?.version} of the format)`);
  }
  return record;
}

/** What create was about to make; undefined when there is nothing. @throws {SysError} when it cannot be read */
export function loadIntent(root: string, id: string): Intent | undefined {
  const text = readIfThere(`${directoryOf(root, id)}/${INTENT}`);
  if (text === undefined) return undefined;
  try {
    const intent = JSON.parse(text);
    return isIntent(intent, id) ? intent : undefined;
  } catch {
    // Cut short.
    return undefined;
  }
}

/** The container's seccomp profile; undefined when it has none. @throws {RunkError} when it cannot be read */
export function loadProfile(root: string, id: string): Seccomp | undefined {
  const path = `${directoryOf(root, id)}/${PROFILE}`;
  try {
    return parseJson(Deno.readTextFileSync(path)) as Seccomp;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new RunkError(`cannot read the container's seccomp profile ${path}`, { cause: error });
  }
}

/** The ids under a root, in byte order; undefined when the root does not exist. @throws {RunkError} for what is no directory */
export function ids(root: string): string[] | undefined {
  try {
    const names = [...Deno.readDirSync(root)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
    return names.sort((a, b) => (a < b ? -1 : 1));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new RunkError(describeFileError("open", root, error));
  }
}

/** uid of the owner of a container's directory. */
export function owner(root: string, id: string): number {
  return Deno.statSync(directoryOf(root, id)).uid ?? 0;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isMissing = (value: unknown) => value === undefined || value === null;
const isText = (value: unknown) => typeof value === "string";

/** Whether a document is the record of the container `id`, as far as any command relies on it. */
function isRecord(document: unknown, id: string): document is StateRecord {
  if (!isObject(document) || !isObject(document.config)) return false;
  const { init_process_pid: pid, init_process_start: start, created, runk } = document;
  const { rootfs, labels, namespaces } = document.config;
  return Number.isSafeInteger(pid) && Number(pid) >= 0 && Number.isSafeInteger(start) &&
    isText(created) && isText(rootfs) &&
    (isMissing(labels) || (Array.isArray(labels) && labels.every(isText))) &&
    (isMissing(namespaces) ||
      (Array.isArray(namespaces) && namespaces.every((one) => isObject(one) && isText(one.type)))) &&
    isIntent(document, id) &&
    (isMissing(runk) || (isObject(runk) && typeof runk.version === "number"));
}

/** Whether a document says what is about to be made for the container `id`. */
function isIntent(document: unknown, id: string): document is Pick<StateRecord, "id" | "cgroup_paths"> {
  if (!isObject(document) || document.id !== id) return false;
  const { cgroup_paths: paths } = document;
  return isMissing(paths) || (isObject(paths) && Object.values(paths).every(isText));
}
