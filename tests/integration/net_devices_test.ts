/** linux.netDevices: devices of the host move into the container's network namespace, and keep their addresses. */
import assert from "node:assert/strict";
import { Box, busybox, type Config, newId } from "../support/box.ts";
import { test } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;

async function sh(script: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-ec", script] }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}
const ip = `${busybox()} ip`;
let serial = 0;
/** A name for a device that no one else uses: at most 15 characters. */
const deviceName = () => `rk${Deno.pid % 100000}x${++serial}`;

/** Runs a body with new devices of the host, which are gone afterwards. */
async function withDevices(names: readonly string[], body: () => Promise<void>): Promise<void> {
  try {
    for (const name of names) await sh(`${ip} link add ${name} type veth`);
    await body();
  } finally {
    for (const name of names) await sh(`${ip} link del ${name} 2>/dev/null || true`);
  }
}

const config = (netDevices: Config, more: (c: Config) => void = () => {}) => (c: Config) => {
  c.linux.netDevices = netDevices;
  more(c);
};

test("a network device moves into the container with its lasting addresses, and is up", ROOT, async () => {
  const [one, two] = [deviceName(), deviceName()];
  await withDevices([one, two], async () => {
    await sh(`${ip} addr add 192.0.2.7/24 dev ${one}; ${ip} addr add 198.51.100.1/32 dev ${one}
      ${ip} addr add 2001:db8::7/64 dev ${one}; ${ip} link set ${one} up; ${ip} addr add 203.0.113.9/24 dev ${two}`);
    await using box = await Box.create({
      script: `ip addr show ${one}; ip addr show eth7; ip route`,
      config: config({ [one]: {}, [two]: { name: "eth7" } }),
    });
    const { stdout } = await box.ok(["run", box.id]);
    assert.match(stdout, new RegExp(`${one}\\S*: <[^>]*UP,`));
    assert.match(stdout, new RegExp(`inet 192\\.0\\.2\\.7/24 .*scope global ${one}`));
    assert.match(stdout, new RegExp(`inet 198\\.51\\.100\\.1/32 .*scope global ${one}`));
    assert.match(stdout, /inet6 2001:db8::7\/64 scope global/);
    assert.match(stdout, /eth7\S*: <[^>]*UP,/);
    assert.match(stdout, /inet 203\.0\.113\.9\/24 .*scope global eth7\n/);
    assert.doesNotMatch(await sh(`${ip} link`), new RegExp(`${one}|${two}`), "they are the container's");
  });
});

test("a device moves into a network namespace that is joined by path, and stays there", ROOT, async () => {
  const device = deviceName();
  const holder = new Deno.Command("unshare", { args: ["--net", "sleep", "100"] }).spawn();
  try {
    await withDevices([device], async () => {
      await sh(`${ip} addr add 192.0.2.8/24 dev ${device}
        for i in $(seq 100); do [ "$(readlink /proc/${holder.pid}/ns/net)" != "$(readlink /proc/self/ns/net)" ] && exit; sleep 0.05; done`);
      await using box = await Box.create({
        script: `ip addr show ${device}`,
        config: config({ [device]: {} }, (c) => {
          c.linux.namespaces.find(({ type }: Config) => type === "network").path = `/proc/${holder.pid}/ns/net`;
        }),
      });
      assert.match((await box.ok(["run", box.id])).stdout, /192\.0\.2\.8\/24/);
      assert.match(await sh(`nsenter --net=/proc/${holder.pid}/ns/net ${ip} addr show ${device}`), /192\.0\.2\.8\/24/);
    });
  } finally {
    holder.kill("SIGKILL");
    await holder.status;
  }
});

test("a container with a user namespace gets a device, too", ROOT, async () => {
  const device = deviceName();
  await withDevices([device], async () => {
    await sh(`${ip} addr add 192.0.2.9/24 dev ${device}`);
    await using box = await Box.create({
      script: "ip addr show mine",
      config: config({ [device]: { name: "mine" } }, (c) => {
        c.linux.namespaces.push({ type: "user" });
        c.linux.uidMappings = c.linux.gidMappings = [{ containerID: 0, hostID: 100000, size: 65536 }];
      }),
    });
    assert.match((await box.ok(["run", box.id])).stdout, /192\.0\.2\.9\/24/);
  });
});

test("when the container fails, its devices are the host's again, as they were", ROOT, async () => {
  const device = deviceName();
  await withDevices([device], async () => {
    await sh(
      `${ip} addr add 192.0.2.10/24 dev ${device}; ${ip} addr add 2001:db8::10/64 dev ${device}; ${ip} link set ${device} up`,
    );
    await using box = await Box.create({
      config: config({ [device]: { name: "eth0" } }, (c) => c.process.args = ["/no/such/program"]),
    });
    const { status, stderr } = await box.runk(["run", box.id]);
    assert.equal(status, 1);
    assert.match(stderr, /\/no\/such\/program/);
    const after = await sh(`${ip} addr show ${device}`);
    assert.match(after, /<[^>]*UP,/);
    assert.match(after, /192\.0\.2\.10\/24 .*scope global/);
    assert.match(after, /2001:db8::10\/64 scope global/);
  });
});

test(
  "a device that is not there, and a name that is taken, fail with their place; the device stays the host's",
  ROOT,
  async () => {
    const device = deviceName();
    const holder = new Deno.Command("unshare", { args: ["--net", "sleep", "100"] }).spawn();
    const namespace = `/proc/${holder.pid}/ns/net`;
    try {
      await withDevices([device], async () => {
        await sh(
          `for i in $(seq 100); do [ "$(readlink ${namespace})" != "$(readlink /proc/self/ns/net)" ] && break; sleep 0.05; done
        nsenter --net=${namespace} ${ip} link add taken type veth`,
        );
        for (
          const [netDevices, words] of [
            [
              { "no-such-device": {} },
              /no-such-device.*no such device.*\[config.json \/linux\/netDevices\/no-such-device\]/,
            ],
            [
              { [device]: { name: "taken" } },
              new RegExp(`unable to move network device.*${device}.*file exists.*/linux/netDevices/${device}\\]`),
            ],
            [
              { [device]: { name: "lo" } },
              new RegExp(`invalid network device name.*lo.*/linux/netDevices/${device}/name\\]`),
            ],
          ] as const
        ) {
          await using box = await Box.create({
            script: "true",
            config: config(netDevices, (c) => {
              c.linux.namespaces.find(({ type }: Config) => type === "network").path = namespace;
            }),
          });
          const { status, stderr } = await box.runk(["run", newId()]);
          assert.equal(status, 1);
          assert.match(stderr, words);
        }
        assert.match(await sh(`${ip} link show ${device}`), new RegExp(device));
      });
    } finally {
      holder.kill("SIGKILL");
      await holder.status;
    }
  },
);
