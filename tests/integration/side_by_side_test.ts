/**
 * The same bundle under Debian's runc and under runk: the program in the container sees the same. Each case changes the
 * default config; a probe prints everything that a process can see (support/probe.ts says what is normalised and why).
 */
import type { Config } from "../support/box.ts";
import { type Case, compare, ownCapabilities } from "../support/compare.ts";
import { test } from "../support/test.ts";

const NEEDS = ["root", "cgroup1", "file:/usr/sbin/runc"] as const;

const CAPS = ["bounding", "effective", "permitted", "inheritable", "ambient"];
const allCaps = (...names: string[]) => Object.fromEntries(CAPS.map((set) => [set, names]));
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

const sorted = (text: string) => text.split("\n").sort().join("\n");

const CASES: Readonly<Record<string, Case>> = {
  "the default config": {},
  "a writable root": { config: (c) => c.root.readonly = false, then: "touch /tmp/x && stat -c %a /tmp/x" },

  // User and groups.
  "a user, a group": { config: (c) => c.process.user = { uid: 1000, gid: 1000 } },
  "a user who is in no passwd": { config: (c) => c.process.user = { uid: 4242, gid: 4343 } },
  "additional groups": {
    config: (c) => c.process.user = { uid: 1000, gid: 1000, additionalGids: [5, 10, 2000000000] },
  },
  "additional groups of root": { config: (c) => c.process.user = { uid: 0, gid: 0, additionalGids: [0, 7] } },
  "a umask": { config: (c) => c.process.user = { uid: 0, gid: 0, umask: 0o077 } },
  "a umask of zero": { config: (c) => c.process.user = { uid: 0, gid: 0, umask: 0 } },

  // Capabilities.
  // runc 1.1 takes them all away, newer ones leave them alone; runk does as those.
  "no capabilities key": {
    config: (c) => delete c.process.capabilities,
    change: { status: (text) => text.replace(/^Cap(Prm|Eff|Bnd).*$/gm, "") },
  },
  "empty capabilities": { config: (c) => c.process.capabilities = {} },
  "all five sets": { config: (c) => c.process.capabilities = allCaps("CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_ADMIN") },
  "ambient capabilities of a user": {
    config: (c) => {
      c.process.user = { uid: 1000, gid: 1000 };
      c.process.capabilities = allCaps("CAP_NET_BIND_SERVICE", "CAP_KILL");
    },
  },
  "capabilities of a user without ambient": {
    config: (c) => {
      c.process.user = { uid: 1000, gid: 1000 };
      c.process.capabilities = { ...allCaps("CAP_NET_BIND_SERVICE"), ambient: [] };
    },
  },
  "a bounding set wider than the rest": {
    config: (c) => c.process.capabilities = { bounding: ["CAP_KILL", "CAP_SYS_PTRACE"], permitted: ["CAP_KILL"] },
  },
  "new privileges allowed": { config: (c) => c.process.noNewPrivileges = false },
  "every privilege": {
    config: (c) => {
      c.process.noNewPrivileges = false;
      c.process.capabilities = allCaps(...ownCapabilities());
      c.root.readonly = false;
      c.linux.maskedPaths = [];
      c.linux.readonlyPaths = [];
    },
  },

  // Environment.
  "no environment": { config: (c) => (delete c.process.env, c.process.args[0] = "/bin/sh") },
  "an empty environment": { config: (c) => (c.process.env = [], c.process.args[0] = "/bin/sh") },
  "HOME is the passwd's": { config: (c) => c.process.user = { uid: 1000, gid: 1000 } },
  "HOME as it is set": { config: (c) => c.process.env.push("HOME=/elsewhere") },
  // runc 1.1 keeps the place of the first entry of a name, newer ones that of the last.
  "an empty HOME over a set one": {
    config: (c) => c.process.env.push("HOME=/elsewhere", "HOME="),
    change: { environment: sorted },
  },
  "an empty HOME": { config: (c) => c.process.env.unshift("HOME="), change: { environment: sorted } },
  "HOME without a passwd": { rootfs: (box) => Deno.removeSync(`${box.rootfs}/etc/passwd`) },
  "HOME with an odd passwd": {
    rootfs: (box) =>
      Deno.writeTextFileSync(
        `${box.rootfs}/etc/passwd`,
        "# comment\n\nbroken\n1000:x:1:1:trap:/trap:\nuser:x:1000:1000:a:b:c\nu2:x:1000:1000::/second:/bin/sh",
      ),
    config: (c) => c.process.user = { uid: 1000, gid: 1000 },
  },
  "HOME with a last line that is not ended": {
    rootfs: (box) => Deno.writeTextFileSync(`${box.rootfs}/etc/passwd`, "user:x:1000:1000::/at/the/end"),
    config: (c) => c.process.user = { uid: 1000, gid: 1000 },
  },
  "HOME with an empty home in passwd": {
    rootfs: (box) => Deno.writeTextFileSync(`${box.rootfs}/etc/passwd`, "user:x:1000:1000:::/bin/sh\n"),
    config: (c) => c.process.user = { uid: 1000, gid: 1000 },
  },
  "duplicates in the environment": {
    config: (c) => c.process.env.push("A=1", "B=2", "A=3", "TERM=dumb", "C="),
    change: { environment: sorted },
  },
  "an environment with odd values": { config: (c) => c.process.env.push("ODD=a=b c\nd", "UTF=ä€", "1=2", "a b=c") },
  "an environment entry without =": { config: (c) => c.process.env.push("NOTHING"), fails: /environment variable/ },
  "an environment entry without a name": { config: (c) => c.process.env.push("=x"), fails: /environment variable/ },

  // args[0].
  "a program on the PATH": { config: (c) => c.process.env = ["PATH=/nowhere:/bin:/sbin"] },
  "a program in a relative PATH": {
    config: (c) => {
      c.process.env = ["PATH=bin"];
      c.process.cwd = "/";
    },
    fails: /exec: \\?"sh\\?": cannot run executable found relative to current directory/,
  },
  "a program by its absolute path": { config: (c) => c.process.args[0] = "/bin/sh" },
  "a program by a relative path": { config: (c) => c.process.args[0] = "./bin/sh" },
  "a program relative to cwd": {
    config: (c) => {
      c.process.cwd = "/bin";
      c.process.args[0] = "./sh";
    },
  },
  "a program that is not on the PATH": {
    config: (c) => c.process.args = ["nosuch"],
    fails: /exec: \\?"nosuch\\?": executable file not found in \$PATH/,
  },
  "a program that does not exist": {
    config: (c) => c.process.args = ["/no/such"],
    fails: /exec: \\?"\/no\/such\\?": stat \/no\/such: no such file or directory/,
  },
  "a program that may not be executed": {
    config: (c) => c.process.args = ["/etc/passwd"],
    fails: /exec: \\?"\/etc\/passwd\\?": permission denied/,
  },
  "a directory as the program": {
    config: (c) => c.process.args = ["/etc"],
    // Go before 1.20 had no word for it.
    fails: {
      runk: /exec: \\?"\/etc\\?": is a directory/,
      runc: /exec: \\?"\/etc\\?": (is a directory|permission denied)/,
    },
  },
  "an empty PATH": { config: (c) => c.process.env = ["PATH="], fails: /executable file not found in \$PATH/ },
  "no args": { config: (c) => c.process.args = [], fails: /args must not be empty/ },

  // cwd.
  "a working directory": { config: (c) => c.process.cwd = "/home/user" },
  "a working directory that is made": {
    config: (c) => {
      c.process.cwd = "/made/for/me";
      c.root.readonly = false;
    },
    then: "stat -c '%n %a %u:%g' /made /made/for /made/for/me",
  },
  "a working directory behind a link": {
    rootfs: (box) => Deno.symlinkSync("/home/user", `${box.rootfs}/link`),
    config: (c) => c.process.cwd = "/link",
  },
  "a working directory that only its user may enter": {
    rootfs: (box) => {
      Deno.chmodSync(`${box.rootfs}/home/user`, 0o700);
      Deno.chownSync(`${box.rootfs}/home/user`, 1000, 1000);
    },
    config: (c) => {
      c.process.cwd = "/home/user";
      c.process.user = { uid: 1000, gid: 1000 };
    },
  },
  "a working directory that the user may not enter": {
    rootfs: (box) => Deno.chmodSync(`${box.rootfs}/root`, 0o700),
    config: (c) => {
      c.process.cwd = "/root";
      c.process.user = { uid: 1000, gid: 1000 };
    },
  },
  "a relative working directory": { config: (c) => c.process.cwd = "tmp", fails: /Cwd must be an absolute path/ },
  "a file as the working directory": { config: (c) => c.process.cwd = "/etc/passwd", fails: /not a directory/ },

  // Limits and preferences.
  "resource limits": {
    config: (c) =>
      c.process.rlimits = [
        { type: "RLIMIT_NOFILE", soft: 512, hard: 768 },
        { type: "RLIMIT_CORE", soft: 0, hard: 0 },
        { type: "RLIMIT_CPU", soft: 100, hard: 200 },
        { type: "RLIMIT_STACK", soft: 1 << 20, hard: 1 << 24 },
        { type: "RLIMIT_NICE", soft: 0, hard: 0 },
        { type: "RLIMIT_MSGQUEUE", soft: 8192, hard: 8192 },
      ],
  },
  "no resource limits": { config: (c) => c.process.rlimits = [] },
  "an unknown resource limit": {
    config: (c) => c.process.rlimits = [{ type: "RLIMIT_NOSUCH", soft: 1, hard: 1 }],
    fails: /wrong rlimit value: RLIMIT_NOSUCH/,
  },
  "an oom_score_adj": { config: (c) => c.process.oomScoreAdj = 321 },
  "an oom_score_adj of zero": { config: (c) => c.process.oomScoreAdj = 0 },

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

  // Options of the command line.
  "--no-pivot": { options: ["--no-pivot"] },
  "--no-new-keyring": { options: ["--no-new-keyring"] },

  // What the caller has does not reach the container.
  "the caller's environment stays outside": { env: { SECRET: "x", HOME: "/caller", LISTEN_FDS: "1" } },
};

const hostNamespace = (type: string) => `/proc/self/ns/${type === "network" ? "net" : type}`;

/** sysfs cannot be mounted for a network namespace that belongs to someone else. */
function bindSys(c: Config): void {
  const entry = c.mounts.find(({ destination }: Config) => destination === "/sys");
  Object.assign(entry, { type: "none", source: "/sys", options: ["rbind", "nosuid", "noexec", "nodev", "ro"] });
  c.mounts = c.mounts.filter(({ destination }: Config) => destination !== "/sys/fs/cgroup");
}

for (const [name, entry] of Object.entries(CASES)) {
  test(`as under runc: ${name}`, NEEDS, () => compare(name, entry));
}
