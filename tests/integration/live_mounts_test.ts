/** `mounts add` and `mounts remove`: a running container's mounts, with all the distrust that a running container deserves. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { flip } from "../support/flipper.ts";
import { RUNK } from "../support/runk.ts";
import { exists, type Need, test } from "../support/test.ts";
import { User } from "../support/user.ts";

const ROOT: readonly Need[] = ["root", "cgroups"];

const writable = (c: Config) => (c.root.readonly = false);
const withUserNamespace = (c: Config) => {
  writable(c);
  c.linux.namespaces.push({ type: "user" });
  c.linux.uidMappings = c.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
};

/** A container that sleeps. */
async function running(config: (c: Config) => void = writable, args: readonly string[] = []): Promise<Box> {
  const box = await Box.create({ script: "sleep 1000", config });
  await Deno.mkdir(`${box.directory}/source/below`, { recursive: true });
  await Deno.writeTextFile(`${box.directory}/source/file`, "from outside\n");
  // For root of a user namespace the files are no one's.
  if (config === withUserNamespace) await new Deno.Command("chown", { args: ["-R", "100000", box.rootfs] }).output();
  await box.ok(["run", "--detach", ...args, "--pid-file", "pid", box.id]);
  return box;
}

const change = (box: Box, action: "add" | "remove", mounts: unknown, id = box.id) =>
  box.runk(["mounts", action, id, "-"], { stdin: typeof mounts === "string" ? mounts : JSON.stringify(mounts) });

async function changed(box: Box, action: "add" | "remove", mounts: unknown): Promise<void> {
  const { status, stderr } = await change(box, action, mounts);
  assert.equal(status, 0, stderr);
}

async function refused(box: Box, action: "add" | "remove", mounts: unknown, message: RegExp): Promise<void> {
  const before = await mountinfo(box);
  const { status, stdout, stderr } = await change(box, action, mounts);
  assert.equal(status, 1, `${JSON.stringify(mounts)}: ${stderr}`);
  assert.equal(stdout, "");
  assert.match(stderr, message);
  assert.equal(stderr.trim().split("\n").length, 1, stderr);
  assert.equal(await mountinfo(box), before, `mounts stay as they were: ${stderr}`);
}

const inside = async (box: Box, script: string) => (await box.ok(["exec", box.id, "sh", "-c", script])).stdout;

/** The container's mounts, as the host sees them. */
const mountinfo = async ({ directory }: Box) =>
  await Deno.readTextFile(`/proc/${await Deno.readTextFile(`${directory}/pid`)}/mountinfo`);

/** The mounts on and below a place: place, root, options, type. */
const mountsOn = async (box: Box, place: string) =>
  (await mountinfo(box)).split("\n").map((line) => line.split(" "))
    .filter((fields) => `${fields[4]}/`.startsWith(`${place}/`))
    .map((fields) => [fields[4], fields[5], fields[fields.indexOf("-") + 1]].join(" "));

const LIST = [
  { destination: "/data", source: "source", options: ["rbind", "ro", "nosuid"] },
  { destination: "/file", source: "source/file", type: "bind", options: ["bind", "ro"] },
  { destination: "/new/tmp", source: "tmpfs", type: "tmpfs", options: ["size=64k", "mode=751", "noexec"] },
  { destination: "/read/only", source: "tmpfs", type: "tmpfs", options: ["ro"] },
  { destination: "/new/sys", source: "sysfs", type: "sysfs", options: ["ro"] },
  { destination: "/new/mqueue", source: "mqueue", type: "mqueue" },
];

for (const [name, config] of [["", writable], [" with a user namespace", withUserNamespace]] as const) {
  test(`mounts are added to a running container${name}, and removed by the same file`, ROOT, async () => {
    await using box = await running(config);
    const before = await mountinfo(box);
    const file = `${box.directory}/list.json`;
    await Deno.writeTextFile(file, JSON.stringify(LIST));
    await box.ok(["mounts", "add", box.id, file]);
    assert.deepEqual(
      await mountsOn(box, "/data"),
      ["/data ro,nosuid,relatime ext4"].map((line) =>
        // Whatever file system the bundle is on.
        line.replace("ext4", mountType(before))
      ),
    );
    assert.deepEqual(await mountsOn(box, "/new/tmp"), ["/new/tmp rw,noexec,relatime tmpfs"]);
    assert.deepEqual(await mountsOn(box, "/read/only"), ["/read/only ro,relatime tmpfs"]);
    assert.deepEqual(await mountsOn(box, "/new/mqueue"), ["/new/mqueue rw,relatime mqueue"]);
    const see =
      "cat /data/file /file; stat -c '%a %u:%g' /new/tmp; ls /new/sys/class/net; touch /new/tmp/x && echo made";
    assert.equal(await inside(box, see), "from outside\nfrom outside\n751 0:0\nlo\nmade\n");
    await box.ok(["mounts", "remove", box.id, file]);
    assert.equal(await mountinfo(box), before);
  });
}

/** The type of the file system that the rootfs is on. */
const mountType = (mountinfo: string) =>
  mountinfo.split("\n").map((line) => line.split(" ")).find((fields) => fields[4] === "/")!.join(" ").split(" - ")[1]!
    .split(" ")[0]!;

test("mounts are added to a container that waits, is paused, or was made without pivot_root", ROOT, async () => {
  await using box = await running(writable, ["--no-pivot"]);
  const entry = [{ destination: "/data", source: "source", options: ["bind"] }];
  await box.ok(["pause", box.id]);
  await changed(box, "add", entry);
  await box.ok(["resume", box.id]);
  assert.equal(await inside(box, "cat /data/file"), "from outside\n");
  await changed(box, "remove", entry);
  await box.ok(["delete", "--force", box.id]);
  await box.ok(["create", box.id]);
  await changed(box, "add", entry);
  await box.ok(["start", box.id]);
  assert.equal(await inside(box, "cat /data/file"), "from outside\n");
});

test("mounts below mounts, and two on one place, come and go in order", ROOT, async () => {
  await using box = await running();
  const before = await mountinfo(box);
  const list = [
    { destination: "/a", source: "tmpfs", type: "tmpfs" },
    { destination: "/a/b", source: "source", options: ["bind"] },
    { destination: "/a/b/below", source: "tmpfs", type: "tmpfs" },
    { destination: "/a", source: "source", options: ["bind"] },
  ];
  await changed(box, "add", list);
  assert.equal(await inside(box, "cat /a/file"), "from outside\n");
  await changed(box, "remove", [list[3]]);
  assert.equal(await inside(box, "cat /a/b/file; ls /a"), "from outside\nb\n");
  await changed(box, "add", [list[3]]);
  await changed(box, "remove", [list[3]]);
  await changed(box, "remove", list.slice(0, 3));
  assert.equal(await mountinfo(box), before);
});

test("a mount that is added maps ids, by the container's user namespace or by its own mappings", ROOT, async () => {
  await using box = await running(withUserNamespace);
  const directory = `${box.directory}/source`;
  const own = [{ containerID: 0, hostID: 100_007, size: 1000 }];
  await changed(box, "add", [
    { destination: "/plain", source: directory, options: ["rbind"] },
    { destination: "/mapped", source: directory, options: ["rbind", "idmap"] },
    { destination: "/own", source: directory, options: ["rbind"], uidMappings: own, gidMappings: own },
  ]);
  assert.equal(await inside(box, "stat -c %u /plain/file /mapped/file /own/file"), "65534\n0\n7\n");
});

test("what is mounted below a source on the host stays with a recursive bind, and what it covers stays covered", [
  ...ROOT,
  "command:mount",
], async () => {
  await using box = await running(withUserNamespace);
  const below = `${box.directory}/source/below`;
  await Deno.writeTextFile(`${below}/hidden`, "secret\n");
  const mount = await new Deno.Command("mount", { args: ["-t", "tmpfs", "tmpfs", below] }).output();
  assert.ok(mount.success);
  try {
    await changed(box, "add", [{ destination: "/data", source: "source", options: ["rbind"] }]);
    assert.deepEqual((await mountsOn(box, "/data")).map((line) => line.split(" ")[0]), ["/data", "/data/below"]);
    // Root of the user namespace may unmount what is its own, and this is not.
    await box.write((c) => {
      withUserNamespace(c);
      for (const set of ["bounding", "effective", "permitted"]) c.process.capabilities[set].push("CAP_SYS_ADMIN");
    });
    assert.equal(
      await inside(box, "umount /data/below 2>/dev/null; cat /data/below/hidden 2>/dev/null; echo end"),
      "end\n",
    );
    await changed(box, "remove", [{ destination: "/data" }]);
  } finally {
    await new Deno.Command("umount", { args: [below] }).output();
  }
});

test(
  "paths that file systems take are the caller's, whatever the container has under the same names",
  ROOT,
  async () => {
    await using box = await running();
    const layers = Array.from({ length: 40 }, (_, i) => `${box.directory}/layers/${"x".repeat(40)}-${i}`);
    for (const [i, path] of layers.entries()) {
      await Deno.mkdir(path, { recursive: true });
      await Deno.writeTextFile(`${path}/${i}`, "host's\n");
      await Deno.mkdir(box.rootfs + path, { recursive: true });
      await Deno.writeTextFile(`${box.rootfs}${path}/${i}`, "container's\n");
    }
    for (const [place, list] of [["/two", layers.slice(0, 2)], ["/many", layers]] as const) {
      const overlay = {
        destination: place,
        type: "overlay",
        source: "overlay",
        options: [`lowerdir=${list.join(":")}`, "ro"],
      };
      await changed(box, "add", [overlay]);
      assert.equal(await inside(box, `cd ${place}; ls | wc -l; cat *  | uniq`), `${list.length}\nhost's\n`);
      assert.equal((await mountsOn(box, place)).length, 1, "nothing else is left on the place");
      await changed(box, "remove", [overlay]);
    }
  },
);

test("of mounts of which one fails none stays, and the error names it", ROOT, async () => {
  await using box = await running();
  const first = [
    { destination: "/one", source: "source", options: ["rbind", "ro"] },
    { destination: "/two", source: "tmpfs", type: "tmpfs" },
  ];
  const failing: readonly (readonly [Config, RegExp])[] = [
    [{ destination: "/x", source: "nowhere", options: ["bind"] }, /open_tree.*no such file or directory/],
    [{ destination: "/x", source: "tmpfs", type: "tmpfs", options: ["size=many"] }, /Bad value for 'size'/],
    [{ destination: "/x", source: "x", type: "nofs" }, /fsopen.*: no such device \(ENODEV\)/],
    [{ destination: "/bin/busybox/x", source: "source", options: ["bind"] }, /not a directory/],
    [{ destination: "/bin/busybox", source: "source", options: ["bind"] }, /not a directory/],
    [{ destination: "/one/new", source: "source", options: ["bind"] }, /read-only file system/],
    [{ destination: "/proc", source: "source", options: ["bind"] }, /not of type proc/],
    [{ destination: "/link/sys", source: "source", options: ["bind"] }, /inside \/proc/],
  ];
  await Deno.symlink("/proc", `${box.rootfs}/link`);
  for (const [mount, message] of failing) {
    await refused(
      box,
      "add",
      [...first, mount],
      new RegExp(`${message.source}.*\\[standard input /2(/destination)?\\]`),
    );
  }
});

test("what cannot be added is refused before anything is mounted", ROOT, async () => {
  await using box = await running();
  const first = { destination: "/one", source: "source", options: ["bind"] };
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [{ destination: "/x", source: "proc", type: "proc" }, /a procfs shows the processes of its maker.*\/1\]/],
    [{ destination: "/x", source: "cgroup", type: "cgroup" }, /cgroups can be mounted by create only/],
    [
      { destination: "/proc/sys", source: "source", options: ["bind"] },
      /cannot be mounted because it is inside \/proc/,
    ],
    [{ destination: "/dev", options: ["bind", "remount", "ro"], source: "x" }, /a remount changes a mount/],
    [
      { destination: "/", source: "source", options: ["bind"] },
      /on the top of rootfs.*\[standard input \/1\/destination\]/,
    ],
    [{ destination: "/x", type: "tmpfs", source: "x".repeat(256) }, /takes more than 255 bytes/],
    [{ destination: "/x", options: ["bind"] }, /a bind mount needs a source/],
    [{ destination: 7 }, /standard input is wrong at one place: \/1\/destination: expected string, got number 7/],
  ];
  for (const [mount, message] of wrong) await refused(box, "add", [first, mount], message);
  for (const action of ["add", "remove"] as const) {
    await refused(box, action, "[", /standard input is not JSON/);
    await refused(box, action, { destination: "/x" }, /expected array, got an object/);
    await changed(box, action, []);
  }
  const missing = await box.runk(["mounts", "add", box.id, "nothing.json"]);
  assert.match(missing.stderr, /open nothing.json: no such file or directory/);
  assert.match((await box.runk(["mounts", "move", box.id, "-"])).stderr, /unknown action/);
  assert.match((await change(box, "add", [first], `${box.id}-other`)).stderr, /container does not exist/);
  await box.ok(["kill", box.id, "KILL"]);
  assert.match((await change(box, "add", [first])).stderr, /container not running/);
});

test("a mount that is not there is not removed, nor any other of the list", ROOT, async () => {
  await using box = await running();
  await changed(box, "add", [{ destination: "/data", source: "source", options: ["bind"] }]);
  for (const destination of ["/nowhere", "/etc", "/data/below", "/etc/passwd/x"]) {
    const message = new RegExp(`nothing is mounted on .*"${destination}..*\\[standard input /1\\]`);
    await refused(box, "remove", [{ destination: "/data" }, { destination }], message);
    await refused(box, "remove", [{ destination }, { destination: "/data" }], /\[standard input \/0\]/);
  }
  await refused(box, "remove", [{ destination: "/x/.." }], /the root of a container cannot be removed/);
});

test("a symlink of the container decides on no mount that is removed", ROOT, async () => {
  await using box = await running();
  const list = [{ destination: "/volume/data", source: "source", options: ["bind"] }];
  await changed(box, "add", list);
  // /proc/sys is read-only by a mount on it: with the mount gone, the container would write to the kernel.
  const trap = "mv /volume /moved && mkdir /volume && ln -s /proc/sys /volume/data";
  await inside(box, trap);
  await refused(box, "remove", list, /nothing is mounted on/);
  await inside(box, "rm -r /volume && ln -s /proc /volume");
  await refused(box, "remove", [{ destination: "/volume/sys" }], /leads through a symbolic link of the container/);
  assert.match(await inside(box, "echo 1 > /proc/sys/kernel/sysrq || echo held"), /held/);
  await changed(box, "remove", [{ destination: "/moved/data" }]);
});

const TRIES = 10;

test("destinations that are exchanged while mounts are added stay inside (CVE-2021-30465)", ROOT, async () => {
  await using box = await running();
  const outside = `${box.directory}/outside`;
  await Deno.mkdir(outside);
  await Deno.writeTextFile(`${outside}/file`, "host's\n");
  await Deno.mkdir(`${box.rootfs}/vol/a`, { recursive: true });
  await Deno.mkdir(`${box.rootfs}/vol/b`);
  const climbing = "../".repeat(20) + outside.slice(1);
  const flipper = flip(`${box.rootfs}/vol`, { a: outside, b: climbing });
  let added = 0;
  const list = [
    { destination: "/vol/a/made/here", source: "tmpfs", type: "tmpfs" },
    { destination: "/vol/b/file", source: "source/file", options: ["bind"] },
  ];
  try {
    for (let i = 0; i < TRIES; i++) added += Number((await change(box, "add", list)).status === 0);
  } finally {
    assert.ok(await flipper.stop() > 1000);
  }
  assert.deepEqual([...Deno.readDirSync(outside)].map(({ name }) => name), ["file"], "nothing is made outside");
  assert.equal(await Deno.readTextFile(`${outside}/file`), "host's\n");
  assert.ok(!(await Deno.readTextFile("/proc/self/mountinfo")).includes(box.directory), "nothing is mounted outside");
  await changed(box, "add", list);
  assert.ok(exists(`${box.rootfs}/vol/a/made/here`), `${added} of ${TRIES} were added`);
});

test("a container that runc made gets mounts, too", [...ROOT, "command:runc"], async () => {
  await using box = await Box.create({ script: "sleep 1000", config: withUserNamespace });
  await new Deno.Command("chown", { args: ["-R", "100000", box.rootfs] }).output();
  const made = await box.other("runc", ["run", "--detach", box.id]);
  assert.equal(made.status, 0, made.stderr);
  const list = [
    { destination: "/data", source: "rootfs/etc", options: ["rbind", "ro"] },
    { destination: "/new", source: "tmpfs", type: "tmpfs", options: ["mode=700"] },
  ];
  for (const action of ["add", "remove"]) {
    const { status, stderr } = await box.other(RUNK, ["mounts", action, box.id, "-"], { stdin: JSON.stringify(list) });
    assert.equal(status, 0, stderr);
    if (action === "remove") continue;
    const look = ["exec", box.id, "sh", "-c", "head -c 4 /data/passwd; stat -c ' %u %a' /new"];
    assert.equal((await box.other("runc", look)).stdout, "root 0 700\n");
  }
});

test(
  "an ordinary user's container gets mounts, too",
  [...ROOT, "cgroup1", "command:useradd", "command:setpriv"],
  async () => {
    await using user = await User.create();
    await user.write("sleep 1000", writable);
    await user.ok(["run", "--detach", user.id]);
    const list = [
      { destination: "/data", source: "rootfs/etc", options: ["rbind", "ro"] },
      { destination: "/new", source: "tmpfs", type: "tmpfs", options: ["mode=700"] },
    ];
    await Deno.writeTextFile(`${user.directory}/list.json`, JSON.stringify(list));
    await user.ok(["mounts", "add", user.id, "list.json"]);
    const { stdout } = await user.ok(["exec", user.id, "sh", "-c", "head -c 4 /data/passwd; stat -c ' %u %a' /new"]);
    assert.equal(stdout, "root 0 700\n");
    await user.ok(["mounts", "remove", user.id, "list.json"]);
    assert.match((await user.runk(["mounts", "remove", user.id, "list.json"])).stderr, /nothing is mounted on/);
  },
);
