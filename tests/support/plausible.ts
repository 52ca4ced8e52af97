/** Configs that could be meant: most are accepted, and between them they use every part of a config that plans know. */
import fc from "./random.ts";
import { CAPABILITIES, RLIMITS } from "../../src/abi/names.ts";
import { knownMountOptions } from "../../src/spec/mount_options.ts";
import type { Spec } from "../../src/spec/schema.ts";

const some = <const T extends readonly unknown[]>(...values: T) => fc.constantFrom<T[number][]>(...values);
const name = fc.stringMatching(/^[a-z][a-z0-9_.-]{0,8}$/);
const path = fc.array(fc.oneof(name, some("ü", "a b", "..", "$x", '"')), { minLength: 1, maxLength: 3 })
  .map((parts) => "/" + parts.join("/"));
const id = fc.oneof(some(0, 1, 1000, 65_534, 4_294_967_294), fc.nat(100_000));
const list = <T>(values: fc.Arbitrary<T>, maxLength = 3) => fc.array(values, { maxLength });
/** Each member is there or not. */
const maybe = <T>(members: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(members, { requiredKeys: [] });
const size = fc.oneof(some(-1, 0, 1024, 2n ** 63n - 1n), fc.nat());

const namespaces = fc.uniqueArray(
  fc.record(
    { type: some("pid", "network", "ipc", "uts", "cgroup", "time"), path: some(undefined, "", "/proc/1/ns/x") },
    {
      requiredKeys: ["type"],
    },
  ),
  { selector: ({ type }) => type, maxLength: 6 },
);

const mount = fc.oneof(
  fc.record({
    destination: path,
    type: some("tmpfs"),
    source: name,
    options: list(some("ro", "nosuid", "mode=700", "size=1k", "tmpcopyup", "rprivate")),
  }),
  fc.record({
    destination: path,
    source: path,
    options: list(some(...knownMountOptions())).map((options) => ["rbind", ...options.filter((o) => o !== "bind")]),
  }),
  fc.record({ destination: some("/proc", "proc"), type: some("proc"), source: some("proc") }),
  fc.record({
    destination: some("/sys"),
    type: some("sysfs"),
    source: some("sysfs"),
    options: list(some("ro", "noexec")),
  }),
  fc.record({
    destination: some("/sys/fs/cgroup"),
    type: some("cgroup"),
    source: some("cgroup"),
    options: list(some("ro", "nosuid")),
  }),
  fc.record({ destination: some("/dev"), type: some("tmpfs"), source: some("tmpfs"), options: some([], ["mode=755"]) }),
  fc.record({ destination: some("/dev/mqueue"), type: some("mqueue"), source: some("mqueue") }),
  fc.record({
    destination: path,
    type: some("overlay"),
    source: some("overlay"),
    options: some(["lowerdir=/a:/b"], ["lowerdir=/a", "upperdir=/u", "workdir=/w"]),
  }),
);

const hook = fc.record({ path, args: list(name), env: list(name.map((name) => `${name}=x`)), timeout: some(1, 10) }, {
  requiredKeys: ["path"],
});
const hooks = maybe({
  prestart: list(hook, 2),
  createRuntime: list(hook, 2),
  createContainer: list(hook, 2),
  startContainer: list(hook, 2),
  poststart: list(hook, 2),
  poststop: list(hook, 2),
});

const capabilities = maybe({
  bounding: list(some(...CAPABILITIES), 5),
  effective: list(some(...CAPABILITIES, "CAP_NOT_YET"), 5),
  permitted: list(some(...CAPABILITIES), 5),
  inheritable: list(some(...CAPABILITIES), 2),
  ambient: list(some(...CAPABILITIES), 2),
});

const limit = fc.tuple(some(...RLIMITS), some(0, 1024, 2n ** 64n - 1n))
  .map(([type, hard]) => ({ type, soft: hard === 0 ? 0 : 1, hard }));

const process = fc.record({
  terminal: fc.boolean(),
  consoleSize: some({ height: 24, width: 80 }),
  user: maybe({ uid: id, gid: id, umask: some(0, 0o22, 0o777), additionalGids: list(id) }),
  args: fc.array(fc.oneof(name, path, some("", "a\nb")), { minLength: 1, maxLength: 4 }),
  env: list(
    fc.oneof(
      name.map((name) => `${name}=1`),
      some("PATH=/bin:/usr/bin", "PATH=", "PATH=.:x::", "HOME=", "HOME=/h", "A"),
    ),
  ),
  cwd: path,
  capabilities,
  rlimits: fc.uniqueArray(limit, { selector: ({ type }) => type, maxLength: 3 }),
  noNewPrivileges: fc.boolean(),
  oomScoreAdj: some(-1000, 0, 1000),
  scheduler: some({ policy: "SCHED_OTHER", nice: 5 }, { policy: "SCHED_FIFO", priority: 3 }, { policy: "SCHED_BATCH" }),
  ioPriority: some({ class: "IOPRIO_CLASS_BE", priority: 4 }),
}, { requiredKeys: ["args", "cwd"] });

const resources = maybe({
  devices: list(
    fc.record({
      allow: fc.boolean(),
      type: some("a", "c", "b"),
      major: some(1, 5, -1),
      minor: some(3, -1),
      access: some("r", "rwm"),
    }),
  ),
  memory: maybe({ limit: size, reservation: size, swappiness: some(0, 60) }),
  cpu: maybe({
    shares: some(2, 1024, 262_144),
    quota: some(-1, 50_000),
    period: some(100_000),
    cpus: some("0", "0-1"),
  }),
  pids: maybe({ limit: some(-1, 0, 100) }),
});

const ID_MAPPINGS = [{ containerID: 0, hostID: 200_000, size: 1000 }];
const mappings = some([{ containerID: 0, hostID: 100_000, size: 65_536 }], [{ containerID: 0, hostID: 1000, size: 1 }]);
const seccomp = some(
  { defaultAction: "SCMP_ACT_ALLOW" },
  {
    defaultAction: "SCMP_ACT_ERRNO",
    architectures: ["SCMP_ARCH_X86_64"],
    syscalls: [{
      names: ["execve", "read", "write", "close", "openat", "exit_group", "close_range"],
      action: "SCMP_ACT_ALLOW",
    }],
  },
  {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["mkdir", "no_such"], action: "SCMP_ACT_ERRNO", errnoRet: 1 }],
  },
);

const linux = fc.record({
  namespaces: namespaces.map((list) => [...list, { type: "mount" }]),
  users: some(undefined, "own", "/proc/1/ns/user"),
  uidMappings: mappings,
  gidMappings: mappings,
  sysctl: some({}, { "net.ipv4.ip_forward": "1" }, { "kernel.msgmax": "1" }, { "net/ipv4/conf/a.b/x": "1" }),
  resources,
  cgroupsPath: fc.oneof(path, name, some("")),
  devices: list(
    fc.record({
      path,
      type: some("c", "b", "p", "u"),
      major: some(1, 10),
      minor: some(3, 200),
      fileMode: some(0o600),
      uid: id,
      gid: id,
    }, { requiredKeys: ["path", "type"] }),
  ),
  seccomp,
  rootfsPropagation: some("", "shared", "rslave", "private", "unbindable"),
  maskedPaths: list(path),
  readonlyPaths: list(path),
  timeOffsets: some({ monotonic: { secs: 5 } }),
  personality: some({ domain: "LINUX32" }),
}, { requiredKeys: ["namespaces"] }).map(({ users, uidMappings, gidMappings, ...rest }) => {
  if (users === undefined) return rest;
  if (users !== "own") return { ...rest, namespaces: [...rest.namespaces, { type: "user", path: users }] };
  const own = {
    uidMappings: uidMappings ?? gidMappings ?? ID_MAPPINGS,
    gidMappings: gidMappings ?? uidMappings ?? ID_MAPPINGS,
  };
  return { ...rest, ...own, namespaces: [...rest.namespaces, { type: "user" }] };
});

/** Without what the namespaces of the config do not allow. */
function consistent(spec: Spec): Spec {
  const { namespaces = [], uidMappings, gidMappings, timeOffsets, sysctl, ...linux } = spec.linux ?? {};
  const has = (type: string) => namespaces.some((namespace) => namespace.type === type);
  const isNew = (type: string) => namespaces.some((namespace) => namespace.type === type && !namespace.path);
  const { hostname, domainname, ...rest } = spec;
  return {
    ...rest,
    ...(has("uts") ? { hostname, domainname } : {}),
    linux: {
      ...linux,
      namespaces,
      ...(isNew("user") ? { uidMappings: uidMappings ?? gidMappings, gidMappings: gidMappings ?? uidMappings } : {}),
      ...(isNew("time") ? { timeOffsets } : {}),
      ...(has("network") && has("ipc") ? { sysctl } : {}),
    },
  } as Spec;
}

/** Configs; the checks refuse some of them. */
export const plausibleSpecs: fc.Arbitrary<Spec> = fc.record({
  ociVersion: some("1.3.0"),
  process,
  root: fc.record({ path: fc.oneof(path, some("rootfs")), readonly: fc.boolean() }, { requiredKeys: ["path"] }),
  hostname: name,
  domainname: name,
  mounts: list(mount, 5),
  hooks,
  annotations: fc.dictionary(name, fc.string(), { maxKeys: 3 }),
  linux,
}, { requiredKeys: ["process", "root", "linux"] }).map((spec) => consistent(spec as unknown as Spec));
