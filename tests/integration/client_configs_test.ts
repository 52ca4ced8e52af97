/**
 * The configs that real clients wrote (fixtures/configs), with their paths replaced by ones that are here: each runs as
 * it does under Debian's runc.
 */
import type { Box, Config } from "../support/box.ts";
import { compare, ownCapabilities } from "../support/compare.ts";
import { exists, test } from "../support/test.ts";

const NEEDS = ["root", "cgroups", "file:/usr/sbin/runc"] as const;
const FIXTURES = new URL("../fixtures/configs/", import.meta.url);

/** Bind sources that every machine has and that are meant; others are made. */
const OF_THE_MACHINE = ["/sys", "/sys/fs/cgroup/systemd", "/dev/shm", "/etc/hostname"];
/** What is mounted on a file. */
const IS_FILE = /\/(resolv\.conf|hosts|hostname|h|\.containerenv|docker-init)$/;

/** A source in the box for a bind mount. */
function standIn(box: Box, destination: string, index: number): string {
  const path = `${box.directory}/source-${index}`;
  if (exists(path)) return path;
  if (IS_FILE.test(destination)) Deno.writeTextFileSync(path, "a stand-in\n");
  else Deno.mkdirSync(path);
  return path;
}

/** Puts a client's config in the place of `c`, keeping the program. */
function adopt(c: Config, box: Box, text: string): void {
  const { args } = c.process;
  for (const key of Object.keys(c)) delete c[key];
  Object.assign(c, JSON.parse(text));
  c.root.path = box.rootfs;
  // The clients' own programs and namespaces, which are long gone.
  delete c.hooks;
  for (const namespace of c.linux.namespaces) if (namespace.path) namespace.path = "/proc/self/ns/net";
  c.mounts.forEach((mount: Config, i: number) => {
    const isBind = mount.options?.some((option: string) => /^r?bind$/.test(option));
    if (isBind && !OF_THE_MACHINE.includes(mount.source)) mount.source = standIn(box, mount.destination, i);
  });
  c.linux.cgroupsPath = `/${box.id}`;
  // As Podman does for a user namespace: what is made in the root file system, its root makes.
  const [uid, gid] = [c.linux.uidMappings, c.linux.gidMappings].map((list) => list?.[0].hostID ?? 0);
  for (const path of ["", "etc", "run", "dev"]) {
    Deno.mkdirSync(`${box.rootfs}/${path}`, { recursive: true });
    Deno.chownSync(`${box.rootfs}/${path}`, uid, gid);
  }
  Object.assign(c.process, { args: ["/bin/sh", ...args.slice(1)], terminal: false });
  // A machine may keep rights back from its root; what is asked beyond them is an error under either runtime.
  const own = ownCapabilities();
  for (const set of Object.keys(c.process.capabilities ?? {})) {
    c.process.capabilities[set] = c.process.capabilities[set].filter((name: string) => own.includes(name));
  }
  c.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 128, hard: 256 }];
}

for (const { name } of [...Deno.readDirSync(FIXTURES)].sort((a, b) => (a.name < b.name ? -1 : 1))) {
  if (!name.endsWith(".json") || name.endsWith(".process.json")) continue;
  const text = Deno.readTextFileSync(new URL(name, FIXTURES));
  test(`as under runc: ${name}`, NEEDS, () => compare(name, { config: (c, box) => adopt(c, box, text) }));
}
