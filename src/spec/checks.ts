/**
 * What a config must satisfy beyond types: an ordered table of small checks, in runc's words where clients may match
 * them. Pure; what only the host can tell (files, kernel features) is checked where the host is asked.
 */
import { NAMESPACES, type NamespaceType } from "../abi/flags.ts";
import { wrong } from "./errors.ts";
import { HOOK_KINDS } from "./hook_kinds.ts";
import { checkDeviceRules, checkDevices, checkMounts, checkNetDevices } from "./mount_checks.ts";
import { propagationOf } from "./mount_options.ts";
import { checkProcess, checkProcessDomains } from "./process_checks.ts";
import type { Spec } from "./schema.ts";
import { checkTexts } from "./text_checks.ts";
import { MS } from "../abi/flags.ts";

/** Something that is allowed but probably not meant. */
export type Warn = (message: string) => void;

/**
 * Checks a container's config.
 * @throws {RunkError} for the first violation, naming the config path
 */
export function checkSpec(spec: Spec, options: { noPivot: boolean }, warn: Warn): void {
  if (spec.root === undefined) wrong("root must be specified", "/root");
  checkProcess(spec.process, warn);
  // Annotations are for others, who may write anything.
  const { annotations: _, ...texts } = spec;
  checkTexts(texts, "");
  const namespaces = checkNamespaces(spec, warn);
  checkNames(spec, namespaces);
  checkSysctls(spec, namespaces);
  checkMounts(spec, warn);
  checkDevices(spec);
  checkDeviceRules(spec, warn);
  checkNetDevices(spec, namespaces.has("network"));
  checkHooks(spec);
  checkPropagation(spec, options.noPivot);
  checkProcessDomains(spec.linux ?? {}, warn);
}

/** The namespaces: known types, each once, with what they need. */
function checkNamespaces(spec: Spec, warn: Warn): ReadonlyMap<NamespaceType, string | undefined> {
  const result = new Map<NamespaceType, string | undefined>();
  spec.linux?.namespaces?.forEach(({ type, path }, i) => {
    const at = `/linux/namespaces/${i}`;
    if (!Object.hasOwn(NAMESPACES, type)) wrong(`namespace ${JSON.stringify(type)} does not exist`, at);
    if (result.has(type as NamespaceType)) wrong(`malformed spec file: duplicated ns ${JSON.stringify(type)}`, at);
    result.set(type as NamespaceType, path || undefined);
  });
  const { uidMappings, gidMappings, timeOffsets } = spec.linux ?? {};
  const mapped = (uidMappings?.length ?? 0) > 0 || (gidMappings?.length ?? 0) > 0;
  if (result.has("user")) {
    if (result.get("user") === undefined && !mapped) {
      wrong(
        "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
        "/linux/uidMappings",
      );
    }
    if (result.get("user") === undefined && ((uidMappings?.length ?? 0) === 0 || (gidMappings?.length ?? 0) === 0)) {
      wrong(
        "user namespaces need both uid and gid mappings",
        uidMappings?.length ? "/linux/gidMappings" : "/linux/uidMappings",
      );
    }
  } else if (mapped) {
    warn(
      "user namespace mappings specified, but user namespace isn't enabled in the config: they mean nothing [config.json /linux/uidMappings]",
    );
  }
  const hasOffsets = timeOffsets !== undefined && Object.keys(timeOffsets).length > 0;
  if (result.get("time") !== undefined && hasOffsets) {
    wrong(
      "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
      "/linux/timeOffsets",
    );
  }
  if (!result.has("time") && hasOffsets) {
    wrong("time namespace offsets specified, but time namespace isn't enabled in the config", "/linux/timeOffsets");
  }
  for (const clock of Object.keys(timeOffsets ?? {})) {
    if (clock !== "monotonic" && clock !== "boottime") {
      wrong(
        `there is no time namespace offset for clock ${JSON.stringify(clock)}: monotonic or boottime is expected`,
        `/linux/timeOffsets/${clock}`,
      );
    }
  }
  // Mounts, devices, links and read-only paths in the host's own mount namespace would be the host's.
  if (!result.has("mount")) wrong("a container needs a mount namespace of its own", "/linux/namespaces");
  return result;
}

type Namespaces = ReturnType<typeof checkNamespaces>;

function checkNames(spec: Spec, namespaces: Namespaces): void {
  if (spec.hostname && !namespaces.has("uts")) {
    wrong("unable to set hostname without a private UTS namespace", "/hostname");
  }
  if (spec.domainname && !namespaces.has("uts")) {
    wrong("unable to set domainname without a private UTS namespace", "/domainname");
  }
}

const IPC_SYSCTLS = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"]
  .map((name) => `kernel.${name}`);

/** A sysctl must belong to a namespace of the container's; the rest are the host's. */
function checkSysctls(spec: Spec, namespaces: Namespaces): void {
  for (const key of Object.keys(spec.linux?.sysctl ?? {})) {
    const path = `/linux/sysctl/${key.replaceAll("/", "~1")}`;
    // "net/../kernel/x" begins as one of the network's, and is another.
    if (/(^|[./])[./]/.test(key) || /[./]$/.test(key) || key === "") {
      wrong(`sysctl ${JSON.stringify(key)} has an empty part in its name`, path);
    }
    const name = key[key.search(/[./]/)] === "/" ? key.replace(/[./]/g, (c) => (c === "/" ? "." : "/")) : key;
    if (IPC_SYSCTLS.includes(name) || name.startsWith("fs.mqueue.")) {
      if (!namespaces.has("ipc")) {
        wrong(`sysctl ${JSON.stringify(name)} is not allowed in the hosts ipc namespace`, path);
      }
    } else if (name.startsWith("net.")) {
      if (!namespaces.has("network")) {
        wrong(`sysctl ${JSON.stringify(name)} not allowed in host network namespace`, path);
      }
    } else if (name === "kernel.domainname" && namespaces.has("uts")) {
      continue;
    } else if (name === "kernel.hostname" && namespaces.has("uts")) {
      wrong(`sysctl ${JSON.stringify(name)} is not allowed as it conflicts with the OCI "hostname" field`, path);
    } else if (name.startsWith("user.")) {
      if (!namespaces.has("user")) wrong(`setting ucounts without a user namespace not allowed: ${name}`, path);
    } else {
      wrong(`sysctl ${JSON.stringify(name)} is not in a separate kernel namespace`, path);
    }
  }
}

function checkHooks(spec: Spec): void {
  for (const kind of HOOK_KINDS) {
    spec.hooks?.[kind]?.forEach(({ path, timeout }, i) => {
      if (!path.startsWith("/")) wrong(`hook path ${JSON.stringify(path)} is not absolute`, `/hooks/${kind}/${i}/path`);
      if (timeout !== undefined && timeout < 0) {
        wrong("a hook's timeout must not be negative", `/hooks/${kind}/${i}/timeout`);
      }
    });
  }
}

function checkPropagation(spec: Spec, noPivot: boolean): void {
  const propagation = spec.linux?.rootfsPropagation;
  if (!propagation) return;
  const flags = propagationOf(propagation);
  if (flags === undefined) {
    return wrong(`rootfsPropagation=${propagation} is not supported`, "/linux/rootfsPropagation");
  }
  if (noPivot && flags & MS.PRIVATE) {
    wrong("rootfsPropagation of [r]private is not safe without pivot_root", "/linux/rootfsPropagation");
  }
}
