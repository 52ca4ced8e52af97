/** systemd units that are containers: readiness, stopping, socket activation, by the real service manager. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test } from "../support/test.ts";

const NEEDS = ["root", "systemd", "command:systemd-notify"] as const;
const UNITS = "/run/systemd/system";

const systemctl = (...args: string[]) => run("systemctl", args);
const property = async (unit: string, name: string) =>
  (await systemctl("show", "--property", name, "--value", unit)).stdout.trim();

/** A bundle whose root has the machine's own programs, because systemd-notify is not a part of busybox. */
async function hostBox(script: string): Promise<Box> {
  const box = await Box.create({
    script,
    config: (config: Config) => {
      config.root.readonly = false;
      config.process.env = ["PATH=/bin:/usr/bin"];
      config.mounts.push({ destination: "/usr", source: "/usr", options: ["rbind", "ro"] });
    },
  });
  for (const name of ["lib", "lib64"]) await Deno.symlink(`usr/${name}`, `${box.rootfs}/${name}`);
  return box;
}

/** Units in /run for as long as the body runs. */
async function withUnits(units: Record<string, string>, body: () => Promise<void>): Promise<void> {
  for (const [name, text] of Object.entries(units)) await Deno.writeTextFile(`${UNITS}/${name}`, text);
  await systemctl("daemon-reload");
  try {
    await body();
  } finally {
    await systemctl("stop", ...Object.keys(units));
    for (const name of Object.keys(units)) await Deno.remove(`${UNITS}/${name}`);
    await systemctl("daemon-reload");
    await systemctl("reset-failed");
  }
}

const service = (box: Box, command: string) =>
  `[Service]
Type=notify
NotifyAccess=all
Environment=PATH=/usr/sbin:/usr/bin:/sbin:/bin
WorkingDirectory=${box.directory}
ExecStart=${RUNK} --root ${box.root} ${command} ${box.id}
ExecStopPost=${RUNK} --root ${box.root} delete --force ${box.id}
TimeoutStartSec=300
TimeoutStopSec=60
`;

test(
  "a unit with Type=notify is active when the service in the container says so, and stops with it",
  NEEDS,
  async () => {
    await using box = await hostBox(
      "trap 'touch /tmp/stopped; exit 0' TERM; sleep 1; touch /tmp/early; systemd-notify --ready; sleep 1000 & wait",
    );
    const unit = `${box.id}.service`;
    await withUnits({ [unit]: service(box, "run") }, async () => {
      const started = await systemctl("start", unit);
      assert.equal(
        started.status,
        0,
        started.stderr + (await run("journalctl", ["-n", "20", "--no-pager", "-u", unit])).stdout,
      );
      assert.ok(exists(`${box.rootfs}/tmp/early`), "start waited for the service");
      assert.equal(await property(unit, "ActiveState"), "active");
      const pid = await property(unit, "MainPID");
      assert.match(await Deno.readTextFile(`/proc/${pid}/cmdline`), new RegExp(`run\\0${box.id}`));
      const stopped = await systemctl("stop", unit);
      assert.equal(stopped.status, 0, stopped.stderr);
      assert.ok(exists(`${box.rootfs}/tmp/stopped`), "the service was asked to stop");
      assert.equal(await property(unit, "Result"), "success");
    });
  },
);

test("a unit whose runk does not stay watches the container's own process", NEEDS, async () => {
  await using box = await hostBox("trap 'exit 0' TERM; systemd-notify --ready; sleep 1000 & wait");
  const unit = `${box.id}.service`;
  await withUnits({ [unit]: service(box, "run --detach") }, async () => {
    const started = await systemctl("start", unit);
    assert.equal(started.status, 0, started.stderr);
    assert.equal(await property(unit, "ActiveState"), "active");
    assert.equal(Number(await property(unit, "MainPID")), (await box.state()).pid);
  });
});

test("a socket unit's sockets reach the container, by number and name", NEEDS, async () => {
  await using box = await hostBox(
    'echo "$LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES $$" > /tmp/listen; test -S /proc/self/fd/3 && echo socket >> /tmp/listen; ' +
      "trap 'exit 0' TERM; systemd-notify --ready; sleep 1000 & wait",
  );
  const name = box.id;
  const socket = `[Socket]\nListenStream=${box.directory}/activated.sock\nFileDescriptorName=web\n`;
  await withUnits({ [`${name}.socket`]: socket, [`${name}.service`]: service(box, "run") }, async () => {
    assert.equal((await systemctl("start", `${name}.socket`)).status, 0);
    using _connection = await Deno.connect({ transport: "unix", path: `${box.directory}/activated.sock` });
    const started = await systemctl("start", `${name}.service`);
    assert.equal(started.status, 0, started.stderr);
    assert.equal(await Deno.readTextFile(`${box.rootfs}/tmp/listen`), "1 1 web 1\nsocket\n");
  });
});
