/**
 * config.json of the OCI runtime specification 1.3, common and Linux parts, as one schema: the source of the types and
 * of the messages about wrong values. Keys it does not name are ignored, as runc ignores them; null means absent, as in
 * Go. Values that only the kernel can judge are strings here.
 * Source: https://github.com/opencontainers/runtime-spec/tree/v1.3.0 (config.md, config-linux.md).
 */
import * as z from "zod/mini";
import { INTEGER_BOUNDS } from "./shape.ts";

/** Integers within bounds; numbers where a number is exact, bigints beyond. */
function integer<T extends number | bigint>(least: bigint, most: bigint) {
  const [low, high] = [Number(least), Number(most)];
  const schema = z.custom<T>(
    (value) =>
      typeof value === "number"
        ? Number.isSafeInteger(value) && value >= low && value <= high
        : typeof value === "bigint" && value >= least && value <= most,
    { error: `integer from ${least} to ${most}` },
  );
  INTEGER_BOUNDS.set(schema, [least, most]);
  return schema;
}
const int64 = integer<number | bigint>(-(2n ** 63n), 2n ** 63n - 1n);
const uint64 = integer<number | bigint>(0n, 2n ** 64n - 1n);
const uint32 = integer<number>(0n, 2n ** 32n - 1n);
const uint16 = integer<number>(0n, 2n ** 16n - 1n);
const int32 = integer<number>(-(2n ** 31n), 2n ** 31n - 1n);

const string = z.string();
const strings = z.array(string);
const boolean = z.boolean();
const optional = z.optional;
const stringMap = z.record(string, string);

const idMappings = z.array(z.object({ containerID: uint32, hostID: uint32, size: uint32 }));

const mount = z.object({
  destination: string,
  type: optional(string),
  source: optional(string),
  options: optional(strings),
  uidMappings: optional(idMappings),
  gidMappings: optional(idMappings),
});

const hook = z.object({
  path: string,
  args: optional(strings),
  env: optional(strings),
  timeout: optional(int32),
});

const hooks = z.object({
  prestart: optional(z.array(hook)),
  createRuntime: optional(z.array(hook)),
  createContainer: optional(z.array(hook)),
  startContainer: optional(z.array(hook)),
  poststart: optional(z.array(hook)),
  poststop: optional(z.array(hook)),
});

const capabilities = z.object({
  bounding: optional(strings),
  effective: optional(strings),
  inheritable: optional(strings),
  permitted: optional(strings),
  ambient: optional(strings),
});

export const processSchema = z.object({
  terminal: optional(boolean),
  consoleSize: optional(z.object({ height: uint32, width: uint32 })),
  user: optional(z.object({
    uid: optional(uint32),
    gid: optional(uint32),
    umask: optional(uint32),
    additionalGids: optional(z.array(uint32)),
  })),
  args: optional(strings),
  env: optional(strings),
  cwd: optional(string),
  capabilities: optional(capabilities),
  rlimits: optional(z.array(z.object({ type: string, soft: uint64, hard: uint64 }))),
  noNewPrivileges: optional(boolean),
  apparmorProfile: optional(string),
  oomScoreAdj: optional(int32),
  scheduler: optional(z.object({
    policy: string,
    nice: optional(int32),
    priority: optional(int32),
    flags: optional(strings),
    runtime: optional(uint64),
    deadline: optional(uint64),
    period: optional(uint64),
  })),
  selinuxLabel: optional(string),
  ioPriority: optional(z.object({ class: string, priority: optional(int32) })),
  execCPUAffinity: optional(z.object({ initial: optional(string), final: optional(string) })),
});

const blockDevice = { major: int64, minor: int64 };
const throttle = optional(z.array(z.object({ ...blockDevice, rate: uint64 })));

export const resourcesSchema = z.object({
  devices: optional(z.array(z.object({
    allow: optional(boolean),
    type: optional(string),
    major: optional(int64),
    minor: optional(int64),
    access: optional(string),
  }))),
  memory: optional(z.object({
    limit: optional(int64),
    reservation: optional(int64),
    swap: optional(int64),
    kernel: optional(int64),
    kernelTCP: optional(int64),
    swappiness: optional(uint64),
    disableOOMKiller: optional(boolean),
    useHierarchy: optional(boolean),
    checkBeforeUpdate: optional(boolean),
  })),
  cpu: optional(z.object({
    shares: optional(uint64),
    quota: optional(int64),
    burst: optional(uint64),
    period: optional(uint64),
    realtimeRuntime: optional(int64),
    realtimePeriod: optional(uint64),
    cpus: optional(string),
    mems: optional(string),
    idle: optional(int64),
  })),
  pids: optional(z.object({ limit: optional(int64) })),
  blockIO: optional(z.object({
    weight: optional(uint16),
    leafWeight: optional(uint16),
    weightDevice: optional(
      z.array(z.object({ ...blockDevice, weight: optional(uint16), leafWeight: optional(uint16) })),
    ),
    throttleReadBpsDevice: throttle,
    throttleWriteBpsDevice: throttle,
    throttleReadIOPSDevice: throttle,
    throttleWriteIOPSDevice: throttle,
  })),
  hugepageLimits: optional(z.array(z.object({ pageSize: string, limit: uint64 }))),
  network: optional(z.object({
    classID: optional(uint32),
    priorities: optional(z.array(z.object({ name: string, priority: uint32 }))),
  })),
  rdma: optional(z.record(string, z.object({ hcaHandles: optional(uint32), hcaObjects: optional(uint32) }))),
  unified: optional(stringMap),
});

const seccomp = z.object({
  defaultAction: optional(string),
  defaultErrnoRet: optional(uint32),
  architectures: optional(strings),
  flags: optional(strings),
  listenerPath: optional(string),
  listenerMetadata: optional(string),
  syscalls: optional(z.array(z.object({
    names: strings,
    action: string,
    errnoRet: optional(uint32),
    args: optional(z.array(z.object({
      index: uint32,
      value: uint64,
      valueTwo: optional(uint64),
      op: string,
    }))),
  }))),
});

const linux = z.object({
  uidMappings: optional(idMappings),
  gidMappings: optional(idMappings),
  sysctl: optional(stringMap),
  resources: optional(resourcesSchema),
  cgroupsPath: optional(string),
  namespaces: optional(z.array(z.object({ type: string, path: optional(string) }))),
  devices: optional(z.array(z.object({
    path: string,
    type: string,
    major: optional(int64),
    minor: optional(int64),
    fileMode: optional(uint32),
    uid: optional(uint32),
    gid: optional(uint32),
  }))),
  netDevices: optional(z.record(string, z.object({ name: optional(string) }))),
  seccomp: optional(seccomp),
  rootfsPropagation: optional(string),
  maskedPaths: optional(strings),
  readonlyPaths: optional(strings),
  mountLabel: optional(string),
  intelRdt: optional(z.object({
    closID: optional(string),
    schemata: optional(strings),
    l3CacheSchema: optional(string),
    memBwSchema: optional(string),
    enableMonitoring: optional(boolean),
  })),
  memoryPolicy: optional(z.object({ mode: optional(string), nodes: optional(string), flags: optional(strings) })),
  personality: optional(z.object({ domain: string, flags: optional(strings) })),
  timeOffsets: optional(z.record(string, z.object({ secs: optional(int64), nanosecs: optional(uint32) }))),
});

/** What `mounts` reads. */
export const mountsSchema = z.array(mount);

export const specSchema = z.object({
  ociVersion: optional(string),
  process: optional(processSchema),
  root: optional(z.object({ path: string, readonly: optional(boolean) })),
  hostname: optional(string),
  domainname: optional(string),
  mounts: optional(z.array(mount)),
  hooks: optional(hooks),
  annotations: optional(stringMap),
  linux: optional(linux),
});

export type Spec = z.output<typeof specSchema>;
export type Process = z.output<typeof processSchema>;
export type Resources = z.output<typeof resourcesSchema>;
export type Mount = z.output<typeof mount>;
export type Hook = z.output<typeof hook>;
export type Linux = z.output<typeof linux>;
export type Seccomp = z.output<typeof seccomp>;
export type Capabilities = z.output<typeof capabilities>;
export type IdMappings = z.output<typeof idMappings>;
