/**
 * The two disks of a virtual machine: the root file system with Debian's kernel beside it, made once and kept, and the
 * payload of one run, with deno, the program under test and the tests.
 */
import { exists } from "../../files.ts";

/** What the guests need besides a minimal Debian. */
const GUEST_PACKAGES = [
  ...[
    "systemd",
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "apparmor",
    "kmod",
    "procps",
    "iproute2",
    "strace",
    "python3",
  ],
  ...[
    "busybox-static",
    "uidmap",
    "runc",
    "crun",
    "criu",
    "containerd",
    "podman",
    "netavark",
    "iptables",
    "ca-certificates",
  ],
];
const KERNEL_PACKAGE = "linux-image-cloud-amd64";
/** Made larger than its content; the file is sparse. */
const ROOT_SIZE = "3G";
/** Milliseconds after which no one works on a half made disk any more. */
const ABANDONED = 60 * 60 * 1000;
const PAYLOAD_SLACK = 64 * 1024 * 1024;

const UNUSED_UNITS = [
  ...["containerd.service", "podman.service", "podman.socket", "podman-restart.service", "podman-auto-update.service"],
  ...["podman-auto-update.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"],
  ...["e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service"],
];

/** The first process of the machine without systemd: all controllers in one hierarchy, then the tests. */
const PLAIN_INIT = `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount /dev/nvme0n2 /payload
ip link set lo up
hostname runk-vm
/bin/sh /payload/run
busybox poweroff -f
`;

/** With systemd: a service that runs the tests when the machine is up, and then switches it off. */
const SERVICE = `[Unit]
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=HOME=/root TERM=dumb
ExecStartPre=/bin/mount /dev/nvme0n2 /payload
ExecStart=/bin/sh /payload/run
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
Delegate=yes
[Install]
WantedBy=default.target
`;

/** Directory in which disks are kept between runs. */
export const cacheDirectory = (): string =>
  Deno.env.get("RUNK_VM_CACHE") ??
    `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? "/root"}/.cache`}/runk-vm`;

async function output(program: string, args: readonly string[], options: Deno.CommandOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args], stdin: "null", ...options })
    .output();
  const decoder = new TextDecoder();
  if (code !== 0) {
    throw new Error(`${program} ${args[0]} ended with ${code}: ${decoder.decode(stderr).trim().slice(-2000)}`);
  }
  return decoder.decode(stdout);
}

export interface System {
  readonly kernel: string;
  readonly root: string;
}

/** Kernel and root disk: from the cache, or made. Takes root, apt and debootstrap. */
export async function systemDisk(cache: string): Promise<System> {
  const depends = await output("apt-cache", ["depends", "--important", KERNEL_PACKAGE]);
  const kernelPackage = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (kernelPackage === undefined) throw new Error(`apt knows no ${KERNEL_PACKAGE}: run apt-get update first`);
  const recipe = JSON.stringify([kernelPackage, GUEST_PACKAGES, PLAIN_INIT, SERVICE, UNUSED_UNITS, ROOT_SIZE]);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(recipe));
  const directory = `${cache}/${new Uint8Array(digest).toHex().slice(0, 16)}`;
  const system = { kernel: `${directory}/vmlinuz`, root: `${directory}/root.ext4` };
  if (exists(directory)) return system;
  await Deno.mkdir(cache, { recursive: true });
  const work = await Deno.makeTempDir({ dir: cache, prefix: "new-" });
  try {
    await makeSystem(work, kernelPackage);
    // Others were made from another recipe, or never came to their end; one may be under way.
    for await (const { name } of Deno.readDir(cache)) {
      const path = `${cache}/${name}`;
      const age = Date.now() - (await Deno.stat(path)).mtime!.getTime();
      if (!name.startsWith("new-") || age > ABANDONED) await Deno.remove(path, { recursive: true });
    }
    await Deno.rename(work, directory);
  } catch (error) {
    await Deno.remove(work, { recursive: true });
    throw error;
  }
  return system;
}

async function makeSystem(work: string, kernelPackage: string): Promise<void> {
  const root = `${work}/root`;
  console.log(`vm: fetching ${kernelPackage}`);
  await output("apt-get", ["-qq", "update"]);
  await output("apt-get", ["-qq", "download", kernelPackage], { cwd: work });
  const deb = [...Deno.readDirSync(work)].find(({ name }) => name.endsWith(".deb"))!.name;
  const { release, mirror } = await debian();
  console.log(`vm: making a root file system of ${release}`);
  try {
    await output("debootstrap", ["--variant=minbase", `--include=${GUEST_PACKAGES.join(",")}`, release, root, mirror]);
  } catch (error) {
    const log = await Deno.readTextFile(`${root}/debootstrap/debootstrap.log`).catch(() => "");
    throw new Error(`${log.slice(-2000)}\n${error instanceof Error ? error.message : error}`);
  }
  // Not into the root itself: the archive's /lib would take the place of the link to /usr/lib.
  await output("dpkg-deb", ["-x", `${work}/${deb}`, `${work}/kernel`]);
  const [version] = [...Deno.readDirSync(`${work}/kernel/lib/modules`)];
  await Deno.rename(`${work}/kernel/boot/vmlinuz-${version!.name}`, `${work}/vmlinuz`);
  await Deno.rename(`${work}/kernel/lib/modules`, `${root}/usr/lib/modules`);
  await output("chroot", [root, "/usr/sbin/depmod", version!.name]);
  await Deno.mkdir(`${root}/payload`);
  await Deno.writeTextFile(`${root}/sbin/plain-init`, PLAIN_INIT, { mode: 0o755 });
  await Deno.writeTextFile(`${root}/etc/systemd/system/runk-tests.service`, SERVICE);
  await output("systemctl", ["--root", root, "enable", "runk-tests.service"]).catch(() =>
    output("chroot", [root, "systemctl", "enable", "runk-tests.service"])
  );
  // What comes with packages and is no part of a test only takes time.
  await output("chroot", [root, "systemctl", "disable", ...UNUSED_UNITS]);
  for (const name of ["var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"]) {
    await Deno.remove(`${root}/${name}`, { recursive: true });
  }
  await makeDisk(root, `${work}/root.ext4`, ROOT_SIZE);
  await Deno.remove(root, { recursive: true });
  await Deno.remove(`${work}/${deb}`);
  await Deno.remove(`${work}/kernel`, { recursive: true });
}

/** This machine's release of Debian, and where apt gets it from. */
async function debian(): Promise<{ release: string; mirror: string }> {
  const release = /^VERSION_CODENAME=(\w+)/m.exec(await Deno.readTextFile("/etc/os-release"))?.[1] ?? "bookworm";
  const targets = await output("apt-get", ["indextargets", "--format", "$(RELEASE) $(REPO_URI)"]);
  const line = targets.split("\n").find((line) => line.startsWith(release + " "));
  return { release, mirror: line?.split(" ")[1] ?? "http://deb.debian.org/debian" };
}

const makeDisk = (directory: string, disk: string, size: string) =>
  output("mke2fs", ["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", directory, disk, size]);

export interface Payload {
  /** Test files, from the project's root. */
  readonly tests: readonly string[];
  /** The program under test. */
  readonly program: string;
  /** Only tests whose names match. */
  readonly filter: string | undefined;
}

/** The script that the guest runs: the report goes to the second serial port between two marks. */
const runScript = ({ tests, filter }: Payload, program: string) => `
export NO_COLOR=1 RUNK=${program} PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export DENO_DIR=/tmp/deno DENO_NO_UPDATE_CHECK=1 RUNK_PATIENCE=10
# The kernel maps the ids of ext4, and not those of a tmpfs.
export TMPDIR=/var/tmp
stty -F /dev/ttyS1 raw 2>/dev/null
cd /payload/project
/payload/deno test --allow-all --no-check --no-config --no-lock --node-modules-dir=manual --junit-path=/tmp/report.xml ${
  filter === undefined ? "" : `--filter '${filter.replaceAll("'", "'\\''")}'`
} ${tests.join(" ")}
echo "tests ended with status $?"
cat /tmp/report.xml >/dev/ttyS1
sync
`;

/** npm packages, and scopes of them, that the code or the tests load there: without a network, from node_modules. */
const LIBRARIES = ["zod", "@bufbuild", "@connectrpc"];

/** A disk with everything that one run needs. */
export async function payloadDisk(payload: Payload, directory: string): Promise<string> {
  const tree = `${directory}/payload`;
  const project = `${tree}/project`;
  await Deno.mkdir(`${project}/dist`, { recursive: true });
  await output("cp", ["-r", "ffi", "src", "tests", "bundles", "main.ts", "deno.json", project]);
  await Deno.mkdir(`${project}/node_modules`);
  await output("cp", ["-rL", ...LIBRARIES.map((name) => `node_modules/${name}`), `${project}/node_modules`]);
  await Deno.copyFile(await Deno.realPath(Deno.execPath()), `${tree}/deno`);
  await Deno.chmod(`${tree}/deno`, 0o755);
  const name = payload.program.slice(payload.program.lastIndexOf("/") + 1);
  const program = `${project}/dist/${name}`;
  await Deno.copyFile(payload.program, program);
  if (name.endsWith(".js")) {
    // It begins with the name of the deno that made it.
    const text = await Deno.readTextFile(program);
    await Deno.writeTextFile(program, text.replace(Deno.execPath(), "/payload/deno"));
  }
  await Deno.chmod(program, 0o755);
  await Deno.writeTextFile(`${tree}/run`, runScript(payload, `/payload/project/dist/${name}`));
  const disk = `${directory}/payload.ext4`;
  const bytes = Number((await output("du", ["-sb", tree])).split("\t")[0]) + PAYLOAD_SLACK;
  await makeDisk(tree, disk, `${Math.ceil(bytes / 1024)}K`);
  await Deno.remove(tree, { recursive: true });
  return disk;
}
