/** Hooks: when each kind runs and where, what it is told, and what a failing one does. */
import assert from "node:assert/strict";
import { Box, type Config } from "../support/box.ts";
import { exists, test, until } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const ON_HOST = ["prestart", "createRuntime", "poststart", "poststop"] as const;
const KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const;

/** A hook that runs a shell script; inside the container's root the shell is busybox. */
const hook = (script: string, more: Record<string, unknown> = {}) => ({
  path: "/bin/sh",
  args: ["sh", "-c", script],
  env: ["PATH=/usr/bin:/bin"],
  ...more,
});

/** Where hooks of each kind can write: startContainer sees the container's root only. */
const placeOf = (box: Box, kind: string) => (kind === "startContainer" ? "/tmp" : box.directory);
const read = (box: Box, kind: string, name: string) =>
  Deno.readTextFileSync(`${kind === "startContainer" ? `${box.rootfs}/tmp` : box.directory}/${name}`);

async function hookBox(make: (kind: string, box: Box) => Config, change: (c: Config) => void = () => {}): Promise<Box> {
  const box = await Box.create();
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["sh", "-c", "echo the program >> /tmp/order"];
    c.root.readonly = false;
    c.annotations = { "a.b/c": "<1>", first: "ä" };
    c.hooks = Object.fromEntries(KINDS.map((kind) => [kind, make(kind, box)]));
    change(c);
  });
  return box;
}

test("the six kinds run in their order, each list in its own, around the program", ROOT, async () => {
  await using box = await hookBox((kind, box) => {
    const order = kind === "startContainer" ? "/tmp/order" : `${box.rootfs}/tmp/order`;
    return [hook(`echo ${kind} 1 >> ${order}`), hook(`echo ${kind} 2 >> ${order}`)];
  });
  const order = () => Deno.readTextFile(`${box.rootfs}/tmp/order`);
  await box.ok(["create", box.id]);
  const twice = (...kinds: string[]) => kinds.flatMap((kind) => [`${kind} 1`, `${kind} 2`]);
  const created = twice("prestart", "createRuntime", "createContainer");
  assert.deepEqual((await order()).trim().split("\n"), created);
  await box.ok(["start", box.id]);
  await until("it has ended", async () => (await box.state()).status === "stopped");
  // poststart runs on the host while the program runs: their order among each other is open.
  const started = (await order()).trim().split("\n").slice(created.length);
  assert.deepEqual(started.slice(0, 2), twice("startContainer"));
  assert.deepEqual(started.slice(2).sort(), [...twice("poststart"), "the program"]);
  await box.ok(["delete", box.id]);
  assert.deepEqual((await order()).trim().split("\n").slice(-2), twice("poststop"));
});

test("each hook reads the state on its input: keys, status, pid and annotations as with runc", ROOT, async () => {
  await using box = await hookBox((kind, box) => [
    hook(`cat > ${placeOf(box, kind)}/${kind}.json; ${kind === "startContainer" ? "echo $$ > /tmp/own" : "true"}`),
  ]);
  await box.write((c) => {
    const { hooks, annotations, root, process } = JSON.parse(Deno.readTextFileSync(`${box.directory}/config.json`));
    Object.assign(c, { hooks, annotations, root });
    Object.assign(c.process, { terminal: false, args: ["sleep", "100"], env: process.env });
  });
  await box.ok(["create", box.id]);
  const { pid } = await box.state();
  await box.ok(["start", box.id]);
  await box.ok(["delete", "--force", box.id]);
  const states = Object.fromEntries(KINDS.map((kind) => [kind, JSON.parse(read(box, kind, `${kind}.json`))]));
  const common = {
    ociVersion: "1.3.0",
    id: box.id,
    bundle: box.directory,
    annotations: { "a.b/c": "<1>", first: "ä" },
  };
  const { annotations, ...rest } = common;
  assert.deepEqual(states, {
    prestart: { ...rest, status: "creating", pid, annotations },
    createRuntime: { ...rest, status: "creating", pid, annotations },
    createContainer: { ...rest, status: "creating", pid: 1, annotations },
    startContainer: { ...rest, status: "created", pid: 1, annotations },
    poststart: { ...rest, status: "running", pid, annotations },
    poststop: { ...rest, status: "stopped", annotations },
  });
  for (const kind of KINDS) {
    const text = read(box, kind, `${kind}.json`);
    const keys = ["ociVersion", "id", "status", ...(kind === "poststop" ? [] : ["pid"]), "bundle", "annotations"];
    assert.deepEqual(Object.keys(JSON.parse(text)), keys);
    assert.match(text, /^\{.*\}$/, "compact, without a line end");
    assert.match(text, /\\u003c1\\u003e/, "escaped as Go does");
  }
});

test("hooks run in the namespaces and the directory that the specification gives them", ROOT, async () => {
  await using box = await hookBox((kind, box) => [
    hook(
      `{ for n in mnt pid uts net; do readlink /proc/self/ns/$n; done; pwd -P; } > ${placeOf(box, kind)}/${kind}.ns`,
    ),
  ]);
  await box.write((c) => {
    const { hooks, root } = JSON.parse(Deno.readTextFileSync(`${box.directory}/config.json`));
    Object.assign(c, { hooks, root });
    Object.assign(c.process, { terminal: false, args: ["sleep", "100"] });
  });
  await box.ok(["run", "-d", box.id]);
  const { pid } = await box.state();
  const namespaces = (of: number | "self") =>
    ["mnt", "pid", "uts", "net"].map((n) => Deno.readLinkSync(`/proc/${of}/ns/${n}`));
  const [host, container] = [namespaces("self"), namespaces(pid)];
  await box.ok(["delete", "--force", box.id]);
  for (const kind of KINDS) {
    const lines = read(box, kind, `${kind}.ns`).trim().split("\n");
    const isInside = kind === "createContainer" || kind === "startContainer";
    assert.deepEqual(lines.slice(0, 4), isInside ? container : host, kind);
    assert.equal(
      lines[4],
      kind === "createContainer" ? box.rootfs : kind === "startContainer" ? "/" : box.directory,
      kind,
    );
  }
});

test("a hook gets its arguments as they are, its own environment, and no descriptor but its three", ROOT, async () => {
  const script = "env > $0.env; echo $0 $1 > $0.args; ls -l /proc/self/fd > $0.fds";
  await using box = await hookBox((kind, box) => [{
    path: "/bin/sh",
    args: ["sh", "-c", script, `${placeOf(box, kind)}/${kind}`, "a b"],
    env: ["ONLY=this", "PATH=/usr/bin:/bin"],
  }]);
  await box.ok(["run", box.id]);
  for (const kind of KINDS) {
    assert.equal(read(box, kind, `${kind}.args`), `${placeOf(box, kind)}/${kind} a b\n`);
    const variables = read(box, kind, `${kind}.env`).trim().split("\n").filter((line) =>
      !/^(PWD|SHLVL|_|OLDPWD)=/.test(line)
    );
    assert.deepEqual(variables.sort(), ["ONLY=this", "PATH=/usr/bin:/bin"], kind);
    const descriptors = [...read(box, kind, `${kind}.fds`).matchAll(/ (\d+) -> (\S+)/g)].map(([, fd, to]) =>
      `${fd} ${to}`
    );
    // ls's own directory is the fourth.
    assert.deepEqual(descriptors.filter((line) => !/^3 \/proc\/\d+\/fd$/.test(line)), [
      "0 /memfd:state",
      `1 ${placeOf(box, kind)}/${kind}.fds`,
      "2 /memfd:stderr",
    ], kind);
  }
});

test(
  "a hook without an environment has the caller's; in the container startContainer has the process's",
  ROOT,
  async () => {
    await using box = await hookBox((kind, box) => {
      const out = `${placeOf(box, kind)}/${kind}.env`;
      return [{
        path: "/bin/sh",
        args: ["sh", "-c", `cat /proc/self/environ | tr "\\0" "\\n" > ${out}`],
      }];
    });
    await box.ok(["run", box.id], { env: { FROM_CALLER: "yes" } });
    for (const kind of ON_HOST) {
      const text = read(box, kind, `${kind}.env`);
      assert.match(text, /FROM_CALLER=yes/, kind);
      // Set by dist/runk.js for its own engine.
      assert.doesNotMatch(text, /DENO_(DIR|LOG)|GLIBC_TUNABLES/, kind);
    }
    assert.doesNotMatch(read(box, "createContainer", "createContainer.env"), /FROM_CALLER/);
    assert.match(read(box, "startContainer", "startContainer.env"), /TERM=xterm/);
  },
);

test("while hooks of create run, the container is not there yet for others, and its id is taken", ROOT, async () => {
  await using box = await Box.create();
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["true"];
    c.hooks = {
      createRuntime: [hook(`: > ${box.directory}/in; while [ ! -e ${box.directory}/go ]; do sleep 0.05; done`)],
    };
  });
  const creating = box.runk(["create", box.id]);
  await until("the hook runs", () => exists(`${box.directory}/in`));
  const state = await box.runk(["state", box.id]);
  assert.match(state.stderr, /container does not exist/);
  assert.equal(state.status, 1);
  const second = await box.runk(["create", box.id]);
  assert.match(second.stderr, /container with given ID already exists/);
  await Deno.writeTextFile(`${box.directory}/go`, "");
  assert.equal((await creating).status, 0);
  assert.equal((await box.state()).status, "created");
  await box.ok(["delete", box.id]);
});

const FAILURES = {
  "exits with 3": [
    () => hook("echo some words; echo more words >&2; exit 3"),
    /exit status 3, stdout: some words\\n, stderr: more words/,
  ],
  "is killed": [() => hook("kill -9 $$"), /signal: killed/],
  "is not there": [() => ({ path: "/no/such/hook" }), /\/no\/such\/hook: no such file or directory/],
  "is not executable": [() => ({ path: "/etc/passwd" }), /\/etc\/passwd: permission denied/],
  "runs past its timeout": [() => hook("exec sleep 100", { timeout: 1 }), /hook ran past specified timeout of 1\.0s/],
} as const;

test("a hook of create that fails fails the create, with its place and words, and nothing is left", ROOT, async () => {
  await using box = await Box.create();
  for (const kind of ["prestart", "createRuntime", "createContainer"]) {
    for (const [what, [make, message]] of Object.entries(FAILURES)) {
      await box.write((c) => {
        c.process.terminal = false;
        c.process.args = ["true"];
        c.hooks = { [kind]: [hook("true"), make()] };
      });
      for (const command of what === "exits with 3" ? ["create", "run"] : ["create"]) {
        const { status, stderr } = await box.runk([command, box.id]);
        const about = `${kind} ${what}, ${command}: ${stderr}`;
        assert.equal(status, 1, about);
        assert.match(stderr, new RegExp(`error running ${kind} hook #1`), about);
        assert.match(stderr, message, about);
        assert.ok(!exists(`${box.root}/${box.id}`), about);
      }
    }
  }
});

test("a startContainer hook that fails ends the container before its program", ROOT, async () => {
  await using box = await Box.create();
  const failing = async (...hooks: unknown[]) => {
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sh", "-c", "echo the program"];
      c.process.rlimits = [{ type: "RLIMIT_CORE", soft: 0, hard: 0 }];
      c.linux.seccomp = {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_KILL" }],
      };
      c.hooks = { startContainer: hooks };
    });
    const { status, stdout, stderr } = await box.runk(["run", box.id]);
    assert.deepEqual({ status, stdout }, { status: 255, stdout: "" });
    return stderr;
  };
  const line = (number: number, end: string) => `error running startContainer hook #${number}: /bin/sh${end}\n`;
  assert.equal(await failing(hook("echo why >&2; exit 1")), "why\n" + line(0, ": exit status 1"));
  assert.equal(await failing(hook("true"), hook("exit 130")), line(1, ": exit status 130"));
  assert.equal(await failing(hook("kill -9 $$")), line(0, ": signal: killed"));
  assert.equal(await failing(hook("exec mkdir /dev/shm/x")), line(0, ": signal: bad system call"));
  assert.equal(await failing({ ...hook("sleep 100"), timeout: 1 }), line(0, ""));
});

test("a poststart hook that fails ends the container and the command", ROOT, async () => {
  await using box = await Box.create();
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["sleep", "100"];
    c.hooks = { poststart: [hook("exit 4")] };
  });
  for (const args of [["run"], ["run", "-d"]]) {
    const { status, stderr } = await box.runk([...args, box.id]);
    assert.equal(status, 1);
    assert.match(stderr, /error running poststart hook #0: exit status 4/);
    assert.ok(!exists(`${box.root}/${box.id}`));
  }
  await box.ok(["create", box.id]);
  const started = await box.runk(["start", box.id]);
  assert.match(started.stderr, /error running poststart hook #0: exit status 4/);
  assert.equal(started.status, 1);
  await until("it is killed", async () => (await box.state()).status === "stopped");
  await box.ok(["delete", box.id]);
});

test("a poststop hook that fails fails the delete, but the container is gone", ROOT, async () => {
  await using box = await Box.create();
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["true"];
    c.hooks = { poststop: [hook(`test ! -e ${box.root}/${box.id} && exit 5`)] };
  });
  await box.ok(["create", box.id]);
  const { status, stderr } = await box.runk(["delete", box.id]);
  assert.equal(status, 1);
  assert.match(stderr, /error running poststop hook #0: exit status 5/);
  assert.ok(!exists(`${box.root}/${box.id}`));
  // In the foreground it is a warning: the program's status counts.
  const run = await box.runk(["run", box.id]);
  assert.equal(run.status, 0);
  assert.match(run.stderr, /level=warning msg=".*error running poststop hook #0/);
});

test("hooks that say a lot, or leave a child with their output, hold no one up", ROOT, async () => {
  await using box = await Box.create();
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = ["echo", "done"];
    c.hooks = {
      createRuntime: [hook("head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2; sleep 2 & exit 0")],
      poststop: [hook("cat > /dev/null; sleep 2 & exit 0")],
    };
  });
  const { stdout, stderr } = await box.ok(["run", box.id]);
  assert.deepEqual({ stdout, stderr }, { stdout: "done\n", stderr: "" });
  await until("the children have ended", () => {
    for (const { name } of Deno.readDirSync("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      try {
        if (Deno.readLinkSync(`/proc/${name}/cwd`).startsWith(box.directory)) return false;
      } catch {
        // gone
      }
    }
    return true;
  });
});

test("a hook may enter the container's mount namespace and mount more at the rootfs's path", ROOT, async () => {
  for (
    const [kind, propagation] of [["prestart", "rslave"], ["createRuntime", "slave"], ["createContainer", "slave"]]
  ) {
    await using box = await Box.create({ script: "cat /tmp/of-host" });
    await Deno.writeTextFile(`${box.directory}/file`, "of the host\n");
    await Deno.writeTextFile(`${box.rootfs}/tmp/of-host`, "");
    const [from, to] = [`${box.directory}/file`, `${box.rootfs}/tmp/of-host`];
    // The pid is the only digits behind "pid".
    const enter = `nsenter --mount --target "$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/')"`;
    const script = `${kind === "createContainer" ? "" : enter} mount --bind ${from} ${to}`;
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["cat", "/tmp/of-host"];
      c.linux.rootfsPropagation = propagation;
      c.hooks = { [kind!]: [hook(script)] };
    });
    for (const flags of [[], ["--no-pivot"]]) {
      assert.equal((await box.ok(["run", ...flags, box.id])).stdout, "of the host\n", `${kind} ${flags}`);
    }
    assert.equal(await Deno.readTextFile(to), "", "the host's own tree is as it was");
  }
});
