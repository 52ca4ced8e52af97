/** Seccomp agents: programs on the host that answer system calls of a container. */
import assert from "node:assert/strict";
import { supportedSeccompFlags } from "../../src/host/seccomp_support.ts";
import { syscallTable } from "../../src/seccomp/syscalls.ts";
import { Box, type Config } from "../support/box.ts";
import { exists, test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroups", "file:/usr/bin/python3"] as const;
const TABLE = syscallTable(Deno.build.arch);
const number = (name: string) => TABLE.get(name) ?? -1;
const rule = (names: string[], action: string) => ({ names, action: `SCMP_ACT_${action}` });

/** An agent that answers system calls; ends when it is disposed of. */
class Agent implements AsyncDisposable {
  readonly path: string;
  readonly #log: string;
  readonly #process: Deno.ChildProcess;

  /** @param gate a file that the agent waits for before it answers any call */
  constructor(directory: string, answers: Readonly<Record<number, number>>, gate?: string) {
    this.path = `${directory}/agent.sock`;
    this.#log = `${directory}/agent.log`;
    const script = new URL("../support/seccomp_agent.py", import.meta.url).pathname;
    const args = ["-I", script, this.path, this.#log, JSON.stringify(answers), ...(gate === undefined ? [] : [gate])];
    this.#process = new Deno.Command("/usr/bin/python3", { args, stdin: "null" }).spawn();
  }

  listens(): Promise<boolean> {
    return until("the agent listens", () => exists(this.path));
  }

  /** What it was told, and the numbers of the calls that it was asked about. */
  async heard(): Promise<{ states: { state: Config; descriptors: number }[]; calls: number[] }> {
    // Without the line that is being written.
    const text = await Deno.readTextFile(this.#log);
    const lines = text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
    return {
      states: lines.filter(({ state }) => state),
      calls: lines.filter(({ call }) => call !== undefined).map(({ call }) => call),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
  }
}

for (const noNewPrivileges of [true, false]) {
  const how = noNewPrivileges ? "with no_new_privs" : "without no_new_privs";
  test(`an agent is told of the container and of processes in it, and answers their calls, ${how}`, NEEDS, async () => {
    await using box = await Box.create({ script: "hostname agreed && hostname; sleep 100" });
    await using agent = new Agent(box.directory, {
      [number("sethostname")]: 0,
      [number("mkdirat")]: -18,
      [number("mkdir")]: -18,
    });
    await agent.listens();
    const names = [
      "sethostname",
      "mkdir",
      "mkdirat",
      "close",
      "openat",
      "read",
      "close_range",
      "execve",
      "capset",
      "sendto",
    ];
    await box.write((c) => {
      c.process.terminal = false;
      c.process.noNewPrivileges = noNewPrivileges;
      c.process.args = ["sh", "-c", "hostname agreed; hostname > /tmp/name; mkdir /tmp/x 2>> /tmp/name; sleep 100"];
      c.root.readonly = false;
      c.annotations = { "com.example.<key>": 'a "value"' };
      c.linux.seccomp = {
        defaultAction: "SCMP_ACT_ALLOW",
        listenerPath: agent.path,
        listenerMetadata: 'for the agent: "pid":0,',
        syscalls: [rule(names, "NOTIFY")],
      };
    });
    await box.ok(["create", box.id]);
    const { pid } = await box.state();
    await box.ok(["start", box.id]);
    const seen = await until(
      "the program is done",
      () => Deno.readTextFile(`${box.rootfs}/tmp/name`).then((text) => (/link/.test(text) ? text : ""), () => ""),
    );
    assert.match(seen, /^runk\n/, "sethostname was answered, not done");
    assert.match(seen, /[Cc]ross-device link|Invalid cross/);
    const { states: [first], calls } = await agent.heard();
    const ociVersion = "1.3.0";
    assert.deepEqual(first, {
      state: {
        ociVersion,
        fds: ["seccompFd"],
        pid,
        metadata: 'for the agent: "pid":0,',
        state: {
          ociVersion,
          id: box.id,
          status: "creating",
          pid,
          bundle: box.directory,
          annotations: { "com.example.<key>": 'a "value"' },
        },
      },
      descriptors: 1,
    });
    assert.ok(calls.includes(number("sethostname")) && calls.includes(number("execve")));

    await box.ok(["exec", "--pid-file", "pid", box.id, "hostname", "again"]);
    const { states } = await agent.heard();
    const running = states[1]!.state;
    assert.equal(running.state.status, "running");
    assert.equal(running.state.pid, pid);
    assert.equal(running.pid, Number(await Deno.readTextFile(`${box.directory}/pid`)));
    await box.ok(["delete", "-f", box.id]);
  });
}

test("a container whose agent is not there is one error, and nothing is left", NEEDS, async () => {
  await using box = await Box.create({
    config: (c) => (c.linux.seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      listenerPath: "/run/no such agent",
      syscalls: [rule(["sethostname"], "NOTIFY")],
    }),
  });
  for (const command of ["create", "run"]) {
    const { status, stderr } = await box.runk([command, box.id]);
    assert.equal(status, 1);
    assert.match(
      stderr,
      /failed to connect with seccomp agent specified in the seccomp profile: dial unix \/run\/no such agent: /,
    );
    assert.match(stderr, /no such file or directory .*config\.json \/linux\/seccomp\/listenerPath/);
    assert.equal(stderr.trim().split("\n").length, 1);
  }
});

test("with WAIT_KILLABLE_RECV a signal does not take back a call that the agent has in hand", NEEDS, async () => {
  const chdir = number("chdir");
  // The shell has a handler for the signal, and is itself in the call that the agent has in hand.
  const script =
    "trap 'echo signal >> /tmp/out' USR1; cd /tmp && echo answered >> /tmp/out; echo done >> /tmp/out; sleep 100";
  const isKnown = supportedSeccompFlags().has("WAIT_KILLABLE_RECV");
  if (!isKnown) console.log("this kernel has no WAIT_KILLABLE_RECV: only what is without it is looked at");
  for (const flags of [undefined, ...(isKnown ? [["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]] : [])]) {
    await using box = await Box.create();
    const gate = `${box.directory}/gate`;
    await using agent = new Agent(box.directory, { [chdir]: 0 }, gate);
    await agent.listens();
    await box.write((c) => {
      c.process.terminal = false;
      c.process.args = ["sh", "-c", script];
      c.root.readonly = false;
      c.linux.seccomp = {
        defaultAction: "SCMP_ACT_ALLOW",
        listenerPath: agent.path,
        flags,
        syscalls: [rule(["chdir"], "NOTIFY")],
      };
    });
    await box.ok(["run", "--detach", box.id]);
    const calls = async () => (await agent.heard()).calls.length;
    await until("the agent has the call in hand", async () => await calls() === 1);
    const { pid } = await box.state();
    const signals = (name: string) =>
      BigInt(`0x${new RegExp(`^${name}:\\s*(\\w+)$`, "m").exec(Deno.readTextFileSync(`/proc/${pid}/status`))![1]}`);
    const usr1 = 1n << 9n;
    const isPending = () => ((signals("SigPnd") | signals("ShdPnd")) & usr1) !== 0n;
    assert.ok((signals("SigCgt") & usr1) !== 0n, "the shell has its handler");
    await box.ok(["kill", box.id, "USR1"]);
    const out = () => Deno.readTextFile(`${box.rootfs}/tmp/out`).catch(() => "");
    const isOver = () => until("the call is over", async () => (await out()).includes("done"));
    // A call that may be interrupted is, and the agent answers in vain; the other has the signal wait for the answer.
    if (flags === undefined) await isOver();
    else assert.ok(isPending(), "the signal waits");
    await Deno.writeTextFile(gate, "");
    await isOver();
    assert.deepEqual((await out()).trim().split("\n").toSorted(), [
      ...(flags === undefined ? [] : ["answered"]),
      ...["done", "signal"],
    ]);
  }
});
