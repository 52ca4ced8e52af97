/**
 * A second process in a shared volume exchanges what the runtime is about to mount on, make and write, thousands of times
 * while containers are made (CVE-2021-30465, CVE-2019-19921, CVE-2025-31133, CVE-2025-52881). A container may fail then;
 * nothing outside of its root may be made, written or mounted on.
 */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { flip } from "../support/flipper.ts";
import { test } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const CONTAINERS = 20;
const FLIPS_LEAST = 1000;

/** Everything below a directory: names, types, modes, contents. */
function listing(directory: string): string[] {
  return [...Deno.readDirSync(directory)].flatMap(({ name, isDirectory, isFile }) => {
    const path = `${directory}/${name}`;
    const { mode, uid, gid } = Deno.lstatSync(path);
    const own = `${path} ${mode} ${uid}:${gid} ${isFile ? Deno.readTextFileSync(path) : ""}`;
    return isDirectory ? [own, ...listing(path)] : [own];
  }).sort();
}

/**
 * Makes containers while names in their volume flip between what the volume has and symlinks to `outside`, a directory of
 * the host's beside the bundle; both absolute and climbing ones.
 * @param targets where names lead to instead
 */
async function race(
  volume: string,
  names: readonly string[],
  config: (c: Config, box: Box) => void,
  targets: Readonly<Record<string, string>> = {},
): Promise<void> {
  await using box = await Box.create();
  const [vol, outside] = [`${box.directory}/vol`, `${box.directory}/outside`];
  Deno.mkdirSync(vol);
  Deno.mkdirSync(outside);
  const make = async (script: string) => {
    const { code, stderr } = await new Deno.Command("sh", { args: ["-ec", script], cwd: box.directory }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
  };
  await make(`${volume}; mkdir outside/d; echo secret > outside/file; mknod -m 600 outside/node c 1 5`);
  await box.write((c) => {
    c.process.terminal = false;
    c.root.readonly = false;
    c.process.args = ["/bin/true"];
    c.mounts.push({ destination: "/vol", source: vol, type: "none", options: ["bind"] });
    config(c, box);
  });
  const before = listing(outside);
  const climbing = "../".repeat(20);
  const flipper = flip(
    vol,
    Object.fromEntries(names.map((name, i) => {
      const target = `${outside}${name.startsWith("f") ? "/file" : ""}`;
      return [name, targets[name] ?? (i % 2 ? climbing + target.slice(1) : target)];
    })),
  );
  let made = 0;
  try {
    for (let i = 0; i < CONTAINERS; i++) {
      const { status } = await box.runk(["run", `${box.id}-${i}`]);
      if (status === 0) made++;
    }
  } finally {
    const flips = await flipper.stop();
    assert.ok(flips > FLIPS_LEAST, `only ${flips} exchanges`);
  }
  assert.deepEqual(listing(outside), before, "nothing outside changes");
  assert.ok(!(await Deno.readTextFile("/proc/self/mountinfo")).includes(box.directory), "nothing is mounted outside");
  // With the names at rest the config works: what failed, failed of the race.
  assert.equal((await box.runk(["run", box.id])).status, 0, `${made} of ${CONTAINERS} were made`);
}

test(
  "destinations of mounts that are exchanged while containers are made stay inside (CVE-2021-30465)",
  ROOT,
  () =>
    race("mkdir vol/a vol/b; touch vol/f", ["a", "b", "f"], (c, { directory }) => {
      c.mounts.push(
        { destination: "/vol/a/made/here", type: "tmpfs", source: "tmpfs", options: ["mode=755"] },
        { destination: "/vol/a/file", source: `${directory}/config.json`, type: "none", options: ["bind", "ro"] },
        { destination: "/vol/b", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup"] },
        { destination: "/vol/f", source: `${directory}/config.json`, type: "none", options: ["bind"] },
      );
    }),
);

test(
  "device nodes, working directories and restricted paths that are exchanged stay inside (CVE-2025-31133)",
  ROOT,
  () =>
    race("mkdir vol/a vol/b vol/c; touch vol/f", ["a", "b", "c", "f"], (c) => {
      c.linux.devices = [
        { path: "/vol/a/new-node", type: "c", major: 1, minor: 3, uid: 1000, gid: 1000, fileMode: 0o666 },
        { path: "/vol/b/deep/er/new-node", type: "c", major: 1, minor: 3 },
      ];
      c.process.cwd = "/vol/c/made/for/it";
      c.linux.maskedPaths.push("/vol/f", "/vol/a");
      c.linux.readonlyPaths.push("/vol/b", "/vol/f");
    }),
);

test(
  "a /dev whose files are exchanged masks with nothing but the null device (CVE-2025-31133, CVE-2025-52565)",
  ROOT,
  () =>
    race(
      "mkdir -p vol/pts vol/shm vol/mqueue; mknod -m 666 vol/null c 1 3; mknod -m 666 vol/f c 1 3; echo secret > rootfs/other",
      ["null", "f"],
      (c, { directory }) => {
        c.mounts = c.mounts.filter(({ destination }: Config) => destination !== "/dev" && destination !== "/vol");
        c.mounts.splice(1, 0, { destination: "/dev", source: `${directory}/vol`, type: "none", options: ["bind"] });
        c.linux.maskedPaths = ["/proc/keys", "/etc/passwd", "/dev/f"];
        // In place of a masked file stands the null device, or there is no container.
        c.process.args = ["sh", "-c", "! grep -q secret /etc/passwd /proc/keys || touch /shown; ! test -e /shown"];
      },
      { null: "/other" },
    ),
);
