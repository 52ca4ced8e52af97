/** Id-mapped mounts: whose files they show. */
import assert from "node:assert/strict";
import type { Config } from "../support/box.ts";
import { add, bind, NEEDS, seen, withUserNamespace } from "../support/mounts.ts";
import { sh } from "../support/shell.ts";
import { test } from "../support/test.ts";

/** A directory on a disk: before Linux 6.3 a tmpfs, which /tmp may be, has no mapping of ids. Another is mounted in it. */
async function onDisk(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "runk-test-" });
  try {
    await sh(
      `cd ${directory}; chmod 755 .; mkdir -p tree/below other; touch tree/file other/x; mount --bind other tree/below
      chown 1000:2000 tree tree/file other/x`,
    );
    await body(`${directory}/tree`);
  } finally {
    await sh(`umount ${directory}/tree/below; rm -rf ${directory}`);
  }
}

/** Owners of /tmp and what is in it, as a container sees them through an id-mapped mount of `tree`. */
const owners = (tree: string, options: string[], mapping: Config, inUserNamespace: boolean) =>
  seen("stat -c '%n %u:%g' /tmp /tmp/file /tmp/below /tmp/below/x; touch /tmp/new && stat -c %u /tmp/new", {
    config: (c) => {
      if (inUserNamespace) withUserNamespace(c);
      for (const set of ["effective", "permitted", "bounding"]) c.process.capabilities[set].push("CAP_DAC_OVERRIDE");
      const entry = bind(tree, "/tmp", ...options);
      if (mapping !== undefined) entry.uidMappings = entry.gidMappings = mapping;
      add(entry)(c);
    },
  });

test(
  "an id-mapped mount shows other owners, of one mount with idmap and of the tree with ridmap",
  NEEDS,
  () =>
    onDisk(async (tree) => {
      const mapping = [{ containerID: 0, hostID: 0, size: 1000 }, { containerID: 1000, hostID: 5000, size: 5000 }];
      const ids = async (...options: string[]) =>
        (await owners(tree, options, mapping, false)).split("\n").slice(0, 4).map((line) => line.split(" ")[1]);
      assert.deepEqual(await ids("rbind", "idmap"), ["5000:6000", "5000:6000", "0:0", "1000:2000"]);
      assert.deepEqual(await ids("rbind", "ridmap"), ["5000:6000", "5000:6000", "0:0", "5000:6000"]);
      assert.deepEqual(await ids("rbind"), ["5000:6000", "5000:6000", "0:0", "1000:2000"], "mappings alone say idmap");
    }),
);

test(
  "an option has mappings of its own, as with crun, which may be relative to the container's user namespace",
  NEEDS,
  () =>
    onDisk(async (tree) => {
      const ids = async (inUserNamespace: boolean, ...options: string[]) =>
        (await owners(tree, ["rbind", ...options], undefined, inUserNamespace)).split("\n").slice(0, 4)
          .map((line) => line.split(" ")[1]);
      const list = "0-0-1000#1000-5000-5000";
      assert.deepEqual(await ids(false, `idmap=uids=${list};gids=${list}`), [
        ...["5000:6000", "5000:6000"],
        ...["0:0", "1000:2000"],
      ]);
      assert.deepEqual(await ids(false, `ridmap=gids=${list};uids=${list}`), [
        ...["5000:6000", "5000:6000"],
        ...["0:0", "5000:6000"],
      ]);
      const relative = "@0-0-1000#@1000-5000-5000";
      assert.deepEqual(await ids(true, `ridmap=uids=${relative};gids=${relative}`), [
        ...["5000:6000", "5000:6000"],
        ...["0:0", "5000:6000"],
      ]);
    }),
);

test(
  "an id-mapped mount without mappings takes those of the container's user namespace",
  NEEDS,
  () =>
    onDisk(async (tree) => {
      const lines = (await owners(tree, ["rbind", "ridmap"], undefined, true)).trim().split("\n");
      assert.deepEqual(lines, [
        "/tmp 1000:2000",
        "/tmp/file 1000:2000",
        "/tmp/below 0:0",
        "/tmp/below/x 1000:2000",
        "0",
      ]);
      assert.equal((await Deno.stat(`${tree}/new`)).uid, 0, "root's new file is root's outside, too");
      const plain = await owners(tree, ["rbind"], undefined, true).catch((error) => String(error));
      assert.match(plain, /touch: \/tmp\/new/, "without it the directory is no one's");
    }),
);

test(
  "id-mapped mounts with the same mappings share a user namespace, and no process stays",
  NEEDS,
  () =>
    onDisk(async (tree) => {
      const text = await seen("stat -c %u /a /b /c; ls -d /proc/[0-9]*", {
        config: (c) => {
          c.root.readonly = false;
          for (const [place, size] of [["/a", 5000], ["/b", 5000], ["/c", 6000]] as const) {
            const ids = [{ containerID: 0, hostID: 100000, size }];
            add({ ...bind(tree, place), uidMappings: ids, gidMappings: ids })(c);
          }
        },
      });
      assert.deepEqual(text.trim().split("\n"), ["101000", "101000", "101000", "/proc/1"]);
    }),
);
