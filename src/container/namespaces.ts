/** The namespaces of a container that exists. */
import { NAMESPACES, type NamespaceType } from "../abi/flags.ts";
import type { StateRecord } from "../state/record.ts";

/** runc's names of them, as records have them. */
const NAMES: Readonly<Record<string, NamespaceType>> = {
  NEWUSER: "user",
  NEWPID: "pid",
  NEWIPC: "ipc",
  NEWUTS: "uts",
  NEWNET: "network",
  NEWCGROUP: "cgroup",
  NEWTIME: "time",
  NEWNS: "mount",
};

/** Namespaces that the container has of its own or joined; one that is the caller's already is left out. */
export function namespacesToJoin(record: StateRecord): NamespaceType[] {
  const pid = record.init_process_pid;
  return record.config.namespaces.map(({ type }) => NAMES[type]).filter((type): type is NamespaceType => {
    if (type === undefined) return false;
    const { file } = NAMESPACES[type];
    try {
      // Joining one's own user namespace is an error; joining any other of one's own is work for nothing.
      return Deno.readLinkSync(`/proc/${pid}/ns/${file}`) !== Deno.readLinkSync(`/proc/self/ns/${file}`);
    } catch {
      return true;
    }
  });
}
