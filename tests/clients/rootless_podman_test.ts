/** Podman of an ordinary user: the same commands with runc and with runk. */
import assert from "node:assert/strict";
import { test } from "../support/test.ts";
import { User } from "../support/user.ts";

const NEEDS = ["root", "command:podman", "command:newuidmap", "command:useradd", "command:setpriv"] as const;

const ENGINE = `[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[containers]
log_driver = "k8s-file"
`;

/** Commands, each with $PODMAN and the flags that a container needs here. */
const SCRIPT = `
RUN="$PODMAN run --network=host --ulimit nofile=1024:1024 --ulimit nproc=1024:1024"
$RUN --rm --rootfs "$ROOTFS" sh -c 'id; cat /proc/self/uid_map | tr -s " "; grep ^Cap /proc/self/status'
echo "status $?"
$RUN --rm --user 7:8 --rootfs "$ROOTFS" sh -c 'id; exit 9'
echo "status $?"
$RUN --rm --rootfs "$ROOTFS" no-such-command
echo "status $?"
$RUN -d --name box --rootfs "$ROOTFS" sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done' >/dev/null
$PODMAN exec --user 1:1 --env A=b box sh -c 'id; echo $A'
$PODMAN exec box cat /proc/1/cmdline | tr '\\0' ' '
$PODMAN stop box
$PODMAN wait box
$PODMAN rm box
$PODMAN unshare sh -c 'umount "$STORAGE/vfs" 2>/dev/null; true'
`;

test("podman of an ordinary user runs, execs, stops and removes with runk as with runc", NEEDS, async () => {
  await using user = await User.create();
  const { directory } = user;
  await Deno.writeTextFile(`${directory}/containers.conf`, ENGINE);
  await Deno.writeTextFile(`${directory}/storage.conf`, '[storage]\ndriver = "vfs"\n');
  const home = `${directory}/home`;
  await Deno.mkdir(home);
  await Deno.chown(home, user.uid, user.uid);
  const side = async (runtime: string) => {
    const storage = `${home}/storage-${runtime.split("/").at(-1)}`;
    const { status, stdout, stderr } = await user.run("sh", ["-c", SCRIPT], {
      HOME: home,
      CONTAINERS_CONF: `${directory}/containers.conf`,
      CONTAINERS_STORAGE_CONF: `${directory}/storage.conf`,
      STORAGE: storage,
      ROOTFS: `${directory}/rootfs`,
      PODMAN: `podman --root=${storage} --runroot=${directory}/run/${runtime.split("/").at(-1)} --runtime=${runtime}`,
    });
    assert.equal(status, 0, stderr);
    return { stdout, stderr };
  };
  const [theirs, ours] = [await side("/usr/sbin/runc"), await side(`${directory}/bin/runk`)];
  assert.match(ours.stdout, /status 9\n[^]*status 127\n[^]*uid=1[^]*gid=1[^]*\nb\nsh -c trap/, ours.stderr);
  assert.equal(ours.stdout, theirs.stdout);
});
