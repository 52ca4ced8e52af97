/** A host that runs runc switches by replacing the file: each manages the containers that the other made. */
import assert from "node:assert/strict";
import { Box, newId } from "../support/box.ts";
import { ClientHost, DOCKER, Docker } from "../support/hosts.ts";
import { run, RUNK } from "../support/runk.ts";
import { test, until, which } from "../support/test.ts";

const RUNC = ["root", "cgroup1", "file:/usr/sbin/runc"] as const;

/** A box in which each program uses the same state root. */
const shared = () =>
  Box.create({
    script: "trap 'exit 0' USR1; while :; do sleep 0.1; done",
    config: (config) => {
      config.linux.resources = { ...config.linux.resources, memory: { limit: 64 * 2 ** 20 }, pids: { limit: 100 } };
      config.annotations = { "org.example": "kept" };
    },
  });
const runc = (box: Box, ...args: string[]) => run("runc", ["--root", box.root, ...args], { cwd: box.directory });

test(
  "containers of Debian's runc are listed, inspected, entered, paused, updated, signalled and deleted",
  RUNC,
  async () => {
    await using box = await shared();
    const ids = [newId(), newId(), newId()] as const;
    const [running, created, stopped] = ids;
    for (const id of [running, stopped]) assert.equal((await runc(box, "run", "--detach", id)).status, 0);
    assert.equal((await runc(box, "create", created)).status, 0);
    assert.equal((await runc(box, "kill", stopped, "KILL")).status, 0);
    await until("it has stopped", async () => (await box.state(stopped)).status === "stopped");

    const [theirs, ours] = await Promise.all([runc(box, "list", "-f", "json"), box.ok(["list", "-f", "json"])]);
    assert.deepEqual(JSON.parse(ours.stdout), JSON.parse(theirs.stdout));
    for (const id of ids) {
      const [theirs, ours] = await Promise.all([runc(box, "state", id), box.ok(["state", id])]);
      assert.deepEqual(JSON.parse(ours.stdout), JSON.parse(theirs.stdout));
    }
    const command = ["cat", "/proc/self/cgroup", "/proc/self/limits"];
    const [inTheirs, inOurs] = [
      await runc(box, "exec", running, ...command),
      await box.ok(["exec", running, ...command]),
    ];
    assert.equal(inOurs.stdout, inTheirs.stdout);
    assert.equal((await box.runk(["exec", running, "sh", "-c", "exit 3"])).status, 3);

    await box.ok(["pause", running]);
    assert.equal(JSON.parse((await runc(box, "state", running)).stdout).status, "paused");
    await box.ok(["resume", running]);
    await box.ok(["update", "--pids-limit", "55", "--memory", "80M", running]);
    const stats = JSON.parse((await box.ok(["events", "--stats", running])).stdout);
    assert.equal(stats.data.pids.limit, 55);
    assert.equal(stats.data.memory.usage.limit, 80 * 2 ** 20);
    const again = await runc(box, "update", "--pids-limit", "66", running);
    assert.equal(again.status, 0, `runc updates what runk has updated: ${again.stderr}`);
    assert.match((await box.ok(["ps", running])).stdout, /sleep/);

    await box.ok(["start", created]);
    await box.ok(["kill", created, "USR1"]);
    await until("it has ended", async () => (await box.state(created)).status === "stopped");
    await box.ok(["delete", created]);
    await box.ok(["delete", stopped]);
    await box.ok(["kill", running, "KILL"]);
    await box.ok(["delete", "--force", running]);
    assert.equal((await box.ok(["list", "--quiet"])).stdout, "");
  },
);

test("runc lists, inspects, enters, signals and deletes containers of runk's", RUNC, async () => {
  await using box = await shared();
  const [running, created] = [newId(), newId()];
  await box.ok(["run", "--detach", running]);
  await box.ok(["create", created]);
  const [theirs, ours] = await Promise.all([runc(box, "list", "-f", "json"), box.ok(["list", "-f", "json"])]);
  assert.deepEqual(JSON.parse(theirs.stdout), JSON.parse(ours.stdout));
  for (const id of [running, created]) {
    const [theirs, ours] = await Promise.all([runc(box, "state", id), box.ok(["state", id])]);
    assert.deepEqual(JSON.parse(theirs.stdout), JSON.parse(ours.stdout));
  }
  for (const [command, ...rest] of [["pause"], ["resume"], ["exec", "true"], ["kill", "USR1"]] as const) {
    const { status, stderr } = await runc(box, command, running, ...rest);
    assert.equal(status, 0, `${command}: ${stderr}`);
  }
  await until("it has ended", async () => (await box.state(running)).status === "stopped");
  for (const id of [running, created]) {
    const { status, stderr } = await runc(box, "delete", id);
    assert.equal(status, 0, stderr);
  }
  assert.equal((await box.ok(["list", "--quiet"])).stdout, "");
});

const DOCKER_NEEDS = [...RUNC, "file:/usr/sbin/dockerd", "command:containerd"] as const;

test(
  "the runtime is replaced under a running dockerd and containerd, with their containers alive",
  DOCKER_NEEDS,
  async () => {
    const [theirs, ours] = [which("runc")!, await Deno.realPath(RUNK)];
    const docker = await ClientHost.with((host) => Docker.start(host));
    try {
      const { host } = docker;
      const link = host.runtimes.runk;
      await host.turn(link, theirs);
      const sh = async (script: string) => {
        const env = {
          ...docker.env,
          PATH: `${Deno.env.get("PATH")}:/usr/sbin`,
          ADDRESS: docker.socket,
          LINK: link,
          D: host.directory,
          CG: host.cgroup,
        };
        const { status, stdout, stderr } = await run("timeout", ["60", "sh", "-ec", script], { env });
        assert.equal(status, 0, `${script}: ${stdout}${stderr}`);
        return stdout;
      };
      const start = (name: string) =>
        sh(
          `${DOCKER} run -d --name ${name} --runtime runk --network none box sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'`,
        );
      const ctr = (name: string) =>
        sh(`ctr -a $ADDRESS image import $D/image.tar >/dev/null
        ctr -a $ADDRESS run -d --runc-binary $LINK --runc-root $D/ctr --cgroup /$CG/${name} docker.io/library/box:latest ${name} sleep 1000`);
      await start("of-runc");
      await ctr("ctr-of-runc");
      await host.turn(link, ours);
      await sh(`${DOCKER} exec of-runc true`);
      assert.match(await sh(`${DOCKER} exec of-runc cat /proc/1/cmdline`), /trap/);
      await sh(
        `${DOCKER} pause of-runc; ${DOCKER} unpause of-runc; ${DOCKER} update -m 90m --memory-swap 180m of-runc; ${DOCKER} top of-runc`,
      );
      assert.equal(await sh(`${DOCKER} stop -t 20 of-runc >/dev/null; ${DOCKER} wait of-runc`), "5\n");
      await sh(`${DOCKER} rm of-runc`);
      await sh(`ctr -a $ADDRESS task exec --exec-id one ctr-of-runc true; ctr -a $ADDRESS task pause ctr-of-runc
      ctr -a $ADDRESS task resume ctr-of-runc; ctr -a $ADDRESS task kill -s KILL ctr-of-runc
      until ctr -a $ADDRESS task ls | grep ctr-of-runc | grep STOPPED; do sleep 0.1; done
      ctr -a $ADDRESS task delete ctr-of-runc; ctr -a $ADDRESS container delete ctr-of-runc`);
      await start("of-runk");
      await host.turn(link, theirs);
      await sh(`${DOCKER} exec of-runk true; ${DOCKER} pause of-runk; ${DOCKER} unpause of-runk`);
      assert.equal(await sh(`${DOCKER} kill of-runk >/dev/null; ${DOCKER} wait of-runk`), "137\n");
      await sh(`${DOCKER} rm of-runk`);
    } finally {
      await docker.stop();
    }
  },
);
