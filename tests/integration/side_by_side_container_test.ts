/**
 * The same bundle under Debian's runc and under runk: the program in the container finds itself in the same surroundings.
 * Cases and probe are as in side_by_side_process_test.ts.
 */
import type { Config } from "../support/box.ts";
import { type Case, sameAsUnderRunc } from "../support/compare.ts";

const mapping = (containerID: number, hostID: number, size: number) => ({ containerID, hostID, size });
const withUserNamespace = (c: Config) => {
  c.linux.namespaces.push({ type: "user" });
  c.linux.uidMappings = [mapping(0, 100000, 65536)];
  c.linux.gidMappings = [mapping(0, 200000, 65536)];
};
const namespaces = (change: (list: Config[]) => Config[]) => (c: Config) =>
  c.linux.namespaces = change(c.linux.namespaces);
const without = (type: string) => namespaces((list) => list.filter((entry) => entry.type !== type));
const mount = (destination: string, type: string, source: string, ...options: string[]) => (c: Config) =>
  c.mounts.push({ destination, type, source, options });

const CASES: Readonly<Record<string, Case>> = {
  // Namespaces.
  "the host's network": { config: without("network"), then: "test -e /sys/class/net && echo net" },
  "the host's pids": { config: without("pid"), then: "test -e /proc/2/comm && echo kthreadd" },
  "the host's ipc": { config: without("ipc") },
  "the host's host name": { config: (c) => (without("uts")(c), delete c.hostname) },
  "a cgroup namespace": { config: (c) => c.linux.namespaces.push({ type: "cgroup" }) },
  "namespaces by path": {
    config: namespaces((list) =>
      list.map((entry) =>
        ["network", "ipc", "uts"].includes(entry.type) ? { ...entry, path: hostNamespace(entry.type) } : entry
      )
    ),
  },
  "a namespace path that does not exist": {
    config: namespaces((list) =>
      list.map((entry) => entry.type === "network" ? { ...entry, path: "/no/such/ns" } : entry)
    ),
    fails: /\/no\/such\/ns/,
  },
  "a namespace of another type by path": {
    config: namespaces((list) =>
      list.map((entry) => entry.type === "network" ? { ...entry, path: "/proc/self/ns/uts" } : entry)
    ),
    fails: /./,
  },
  "a namespace twice": { config: (c) => c.linux.namespaces.push({ type: "pid" }), fails: /duplicated ns/ },
  "an unknown namespace": { config: (c) => c.linux.namespaces.push({ type: "nosuch" }), fails: /nosuch/ },

  // User namespaces.
  "a user namespace": { config: withUserNamespace },
  "a user namespace and a user in it": {
    config: (c) => {
      withUserNamespace(c);
      c.process.user = { uid: 1000, gid: 1000, additionalGids: [10] };
    },
  },
  "a user namespace of several ranges": {
    config: (c) => {
      withUserNamespace(c);
      c.linux.uidMappings = [mapping(0, 100000, 1000), mapping(1000, 1000, 1), mapping(1001, 101001, 1000)];
      c.linux.gidMappings = [mapping(0, 100000, 1000), mapping(1000, 1000, 1)];
      c.process.user = { uid: 1000, gid: 1000 };
    },
  },
  "a user namespace that maps the host's root": {
    config: (c) => {
      withUserNamespace(c);
      c.linux.uidMappings = c.linux.gidMappings = [mapping(0, 0, 4294967295)];
    },
  },
  "a user namespace with the host's network": {
    config: (c) => (withUserNamespace(c), without("network")(c), bindSys(c)),
  },
  "a user namespace and a cgroup namespace": {
    config: (c) => (withUserNamespace(c), c.linux.namespaces.push({ type: "cgroup" })),
  },
  "a user namespace and devices": {
    config: (c) => {
      withUserNamespace(c);
      c.linux.devices = [{ path: "/dev/kmsg", type: "c", major: 1, minor: 11 }];
    },
  },
  "a user who is not mapped": {
    config: (c) => {
      withUserNamespace(c);
      c.process.user = { uid: 100000, gid: 0 };
    },
    fails: /uid|user/,
  },
  "a user namespace without mappings": {
    config: (c) => c.linux.namespaces.push({ type: "user" }),
    fails: /user namespaces enabled, but no|mappings/,
  },
  "mappings without a user namespace": {
    config: (c) => c.linux.uidMappings = [mapping(0, 100000, 10)],
    says: /level=warning msg="user namespace mappings specified, but user namespace isn't enabled/,
  },

  // Names.
  "a host name": { config: (c) => c.hostname = "a-host.example" },
  "no host name": { config: (c) => delete c.hostname },
  "a host name without a uts namespace": {
    config: without("uts"),
    fails: /unable to set hostname without a private UTS namespace/,
  },

  // Root and paths.
  "a root by an absolute path": { config: (c, box) => c.root.path = box.rootfs },
  "a root that is an id-shifted user's": {
    rootfs: (box) => Deno.chownSync(box.rootfs, 1000, 1000),
  },
  ...Object.fromEntries(
    ["private", "rprivate", "slave", "rslave"].map((
      propagation,
    ) => [`rootfsPropagation ${propagation}`, { config: (c: Config) => c.linux.rootfsPropagation = propagation }]),
  ),
  // runc before 1.2 forgot it for the root itself.
  ...Object.fromEntries(
    ["shared", "rshared"].map((propagation) => [`rootfsPropagation ${propagation}`, {
      config: (c: Config) => c.linux.rootfsPropagation = propagation,
      change: { mounts: (text: string) => text.replaceAll(" shared - ", " - ") },
    }]),
  ),
  "an unknown rootfsPropagation": {
    config: (c) => c.linux.rootfsPropagation = "nosuch",
    fails: /rootfsPropagation=nosuch is not supported/,
  },
  "masked and read-only paths of one's own": {
    rootfs: (box) => {
      Deno.mkdirSync(`${box.rootfs}/secrets`);
      Deno.writeTextFileSync(`${box.rootfs}/secrets/a`, "a");
      Deno.writeTextFileSync(`${box.rootfs}/etc/secret`, "b");
      Deno.mkdirSync(`${box.rootfs}/data`);
    },
    config: (c) => {
      c.root.readonly = false;
      c.linux.maskedPaths = ["/secrets", "/etc/secret", "/nosuch", "/proc/kcore"];
      c.linux.readonlyPaths = ["/data", "/etc/passwd", "/nosuch/either"];
    },
    then:
      "ls -la /secrets | wc -l; stat -c '%F' /etc/secret; touch /data/x 2>&1; echo x 2>&1 >> /etc/passwd; touch /etc/y && echo rest",
  },
  "the root among the read-only paths": {
    config: (c) => (c.root.readonly = false, c.linux.readonlyPaths = ["/"]),
    then: "touch /file /tmp/file 2>&1; true",
    // runc leaves a copy of all mounts on top of the root, which nobody sees.
    change: {
      mounts: (text) => [...new Set(text.split("\n"))].filter((line) => !/^\S+ \/ rw,/.test(line)).sort().join("\n"),
    },
  },
  "a root path that is not clean": {
    config: (c, box) => c.root.path = `../${box.directory.split("/").at(-1)}/./rootfs/`,
  },
  "no masked and read-only paths": {
    config: (c) => (c.linux.maskedPaths = [], c.linux.readonlyPaths = []),
  },

  // Mounts.
  // runc 1.1 gives it the mode of the directory below in any case.
  "a tmpfs with options": {
    config: mount("/tmp", "tmpfs", "tmpfs", "nosuid", "size=1m", "mode=1770", "uid=1000"),
    then: "stat -c '%u' /tmp",
  },
  "a tmpfs that keeps its directory's mode": {
    rootfs: (box) => Deno.chmodSync(`${box.rootfs}/tmp`, 0o1755),
    config: mount("/tmp", "tmpfs", "tmpfs"),
    then: "stat -c %a /tmp",
  },
  "a bind mount, read-only": {
    rootfs: (box) => {
      Deno.mkdirSync(`${box.directory}/data`);
      Deno.writeTextFileSync(`${box.directory}/data/file`, "content");
    },
    config: (c, box) =>
      (c.root.readonly = false) || mount("/mnt/data", "none", `${box.directory}/data`, "rbind", "ro", "nosuid")(c),
    then: "cat /mnt/data/file; touch /mnt/data/x 2>&1",
  },
  "a bind mount of a file": {
    config: (c) => {
      c.root.readonly = false;
      mount("/etc/hosts-of-host", "bind", "/etc/passwd", "bind", "ro")(c);
    },
    then: "stat -c '%F %a' /etc/hosts-of-host",
  },
  "a bind mount relative to the bundle": {
    rootfs: (box) => Deno.mkdirSync(`${box.directory}/volume`),
    config: (c) => {
      c.root.readonly = false;
      mount("/volume", "bind", "volume", "bind")(c);
    },
  },
  "a mount whose destination is a link": {
    rootfs: (box) => Deno.symlinkSync("/tmp", `${box.rootfs}/to-tmp`),
    config: mount("/to-tmp", "tmpfs", "tmpfs"),
  },
  "a mount whose destination climbs": {
    config: (c) => (c.root.readonly = false, mount("/../../made/it", "tmpfs", "tmpfs")(c)),
  },
  "mounts with propagation": {
    rootfs: (box) => Deno.mkdirSync(`${box.directory}/data`),
    config: (c, box) => {
      c.root.readonly = false;
      mount("/a", "none", `${box.directory}/data`, "bind", "rshared")(c);
      mount("/b", "none", `${box.directory}/data`, "bind", "rslave")(c);
      mount("/c", "none", `${box.directory}/data`, "bind", "private")(c);
      mount("/d", "none", `${box.directory}/data`, "bind", "unbindable")(c);
    },
  },
  "a mount source that does not exist": {
    config: mount("/tmp", "bind", "/no/such/source", "bind"),
    fails: /\/no\/such\/source/,
  },
  "a mount over proc": { config: mount("/proc/scsi", "tmpfs", "tmpfs"), fails: /inside \/proc|\/proc/ },

  // Devices.
  devices: {
    config: (c) => {
      c.linux.devices = [
        { path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o600, uid: 1000, gid: 1001 },
        { path: "/dev/loopx", type: "b", major: 7, minor: 0, fileMode: 0o660 },
        { path: "/dev/deep/pipe", type: "p", fileMode: 0o644 },
        { path: "/dev/plain", type: "c", major: 1, minor: 5 },
      ];
    },
  },
  "device rules": {
    config: (c) => {
      c.linux.devices = [{ path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 0o666 }];
      c.linux.resources.devices.push({ allow: true, type: "c", major: 10, minor: 229, access: "rw" });
    },
    then: "(: < /dev/fuse) 2>&1; (: < /dev/null) && echo null; mknod /tmp/sda b 8 0 2>&1",
  },

  // sysctl.
  sysctl: {
    config: (c) =>
      c.linux.sysctl = { "net.ipv4.ip_forward": "1", "kernel.msgmax": "4096", "net/ipv4/conf/lo/forwarding": "1" },
    then: "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/ipv4/conf/lo/forwarding",
  },
  "a sysctl of the host's": {
    config: (c) => c.linux.sysctl = { "vm.swappiness": "1" },
    fails: /vm.swappiness.*is not in a separate kernel namespace/,
  },
  "a sysctl of the network's without its namespace": {
    config: (c) => (without("network")(c), c.linux.sysctl = { "net.ipv4.ip_forward": "1" }),
    fails: /not allowed in host network namespace/,
  },

  // cgroups.
  "an absolute cgroupsPath": { config: (c, box) => c.linux.cgroupsPath = `/${box.id}/${box.id}` },
  "a relative cgroupsPath": { config: (c, box) => c.linux.cgroupsPath = `${box.id}/deep` },
  "a cgroupsPath that climbs": { config: (c, box) => c.linux.cgroupsPath = `/../../${box.id}` },
  "limits of cgroups": {
    config: (c) => {
      Object.assign(c.linux.resources, {
        pids: { limit: 50 },
        memory: { limit: 64 << 20 },
        cpu: { shares: 512, quota: 50000, period: 100000 },
      });
    },
    then:
      "cd /sys/fs/cgroup; cat pids/pids.max memory/memory.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us",
  },
};

const hostNamespace = (type: string) => `/proc/self/ns/${type === "network" ? "net" : type}`;

/** sysfs cannot be mounted for a network namespace that belongs to someone else. */
function bindSys(c: Config): void {
  const entry = c.mounts.find(({ destination }: Config) => destination === "/sys");
  Object.assign(entry, { type: "none", source: "/sys", options: ["rbind", "nosuid", "noexec", "nodev", "ro"] });
  c.mounts = c.mounts.filter(({ destination }: Config) => destination !== "/sys/fs/cgroup");
}

sameAsUnderRunc(CASES);
