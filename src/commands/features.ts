/** runk features: what this program can do, as features.md of the runtime specification has it. */
import { NAMESPACES } from "../abi/flags.ts";
import { CAPABILITIES } from "../abi/names.ts";
import { MEMORY_POLICIES, MEMORY_POLICY_FLAGS } from "../abi/scheduling.ts";
import { probeHost } from "../host/probe.ts";
import { supportedSeccompFlags } from "../host/seccomp_support.ts";
import { HOOK_KINDS } from "../spec/hook_kinds.ts";
import { ACTIONS, ARCHITECTURES, FLAGS, OPERATORS } from "../seccomp/names.ts";
import { checkSpec } from "../spec/checks.ts";
import { formatJson, SortedMap } from "../spec/json.ts";
import { knownMountOptions } from "../spec/mount_options.ts";
import type { Linux, Mount, Spec } from "../spec/schema.ts";
import { OCI_VERSION } from "../spec/version.ts";
import type { Command } from "./command.ts";
import { COMMANDS } from "./table.ts";
import { RUNC_VERSION } from "./version.ts";

const FLAG_PREFIX = "SECCOMP_FILTER_FLAG_";

export const command: Command = {
  flags: [],
  operands: [0, 0],
  usage: "",
  help: `Prints what this program can do, as JSON: hooks, mount options, namespaces,
capabilities, cgroups, seccomp and more. Whether this machine lets it is what
"doctor" says.
See https://github.com/opencontainers/runtime-spec/blob/main/features.md`,
  run: ({ print }) => {
    print(formatJson(features(), "    ") + "\n");
  },
};

function features(): Record<string, unknown> {
  const yes = { enabled: true };
  return {
    ociVersionMin: "1.0.0",
    ociVersionMax: OCI_VERSION,
    hooks: HOOK_KINDS,
    mountOptions: knownMountOptions(),
    linux: {
      namespaces: Object.keys(NAMESPACES).sort(),
      // Those that the kernel has.
      capabilities: CAPABILITIES.slice(0, probeHost().lastCapability + 1),
      cgroup: { v1: true, v2: true, systemd: true, systemdUser: true, rdma: true },
      seccomp: {
        ...yes,
        actions: Object.keys(ACTIONS),
        operators: Object.keys(OPERATORS),
        archs: Object.keys(ARCHITECTURES),
        knownFlags: Object.keys(FLAGS),
        supportedFlags: supportedFlags(),
      },
      apparmor: yes,
      selinux: yes,
      intelRdt: { ...yes, schemata: true, monitoring: true },
      memoryPolicy: { modes: Object.keys(MEMORY_POLICIES).sort(), flags: Object.keys(MEMORY_POLICY_FLAGS).sort() },
      mountExtensions: { idmap: { enabled: accepts({}, [IDMAPPED]) } },
      netDevices: { enabled: accepts({ netDevices: { eth0: {} } }) },
    },
    annotations: new SortedMap({
      "org.opencontainers.runc.checkpoint.enabled": String(COMMANDS.some(({ name }) => name === "checkpoint")),
      // The closest runc, as its specification of these annotations wants it.
      "org.opencontainers.runc.version": RUNC_VERSION,
    }),
    potentiallyUnsafeConfigAnnotations: ["bundle", "org.systemd.property.", "org.criu.config", "run.oci."],
  };
}

function supportedFlags(): string[] {
  const supported = supportedSeccompFlags();
  return Object.keys(FLAGS).filter((name) => supported.has(name.slice(FLAG_PREFIX.length)));
}

const MAPPINGS = [{ containerID: 0, hostID: 1000, size: 1 }];
const IDMAPPED: Mount = {
  destination: "/data",
  source: "/srv",
  options: ["bind", "idmap"],
  uidMappings: MAPPINGS,
  gidMappings: MAPPINGS,
};

/** Whether a config with such a thing would be taken: the checks themselves are asked. */
function accepts(linux: Linux, mounts: readonly Mount[] = []): boolean {
  const namespaces = ["mount", "network"].map((type) => ({ type }));
  const process = { cwd: "/", args: ["true"] };
  const spec: Spec = { process, root: { path: "rootfs" }, mounts: [...mounts], linux: { namespaces, ...linux } };
  try {
    checkSpec(spec, { noPivot: false }, () => {});
    return true;
  } catch {
    return false;
  }
}
