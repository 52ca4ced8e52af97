/** Seccomp agents: programs on the host that answer system calls of a container. */
import assert from "node:assert/strict";
import { syscallTable } from "../../src/seccomp/syscalls.ts";
import { Box, type Config } from "../support/box.ts";
import { exists, test, until } from "../support/test.ts";

const NEEDS = ["root", "cgroup1", "file:/usr/bin/python3"] as const;
const TABLE = syscallTable(Deno.build.arch);
const number = (name: string) => TABLE.get(name) ?? -1;
const rule = (names: string[], action: string) => ({ names, action: `SCMP_ACT_${action}` });

/** An agent that answers system calls; ends when it is disposed of. */
class Agent implements AsyncDisposable {
  readonly path: string;
  readonly #log: string;
  readonly #process: Deno.ChildProcess;

  constructor(directory: string, answers: Readonly<Record<number, number>>) {
    this.path = `${directory}/agent.sock`;
    this.#log = `${directory}/agent.log`;
    const script = new URL("../support/seccomp_agent.py", import.meta.url).pathname;
    const args = ["-I", script, this.path, this.#log, JSON.stringify(answers)];
    this.#process = new Deno.Command("/usr/bin/python3", { args, stdin: "null" }).spawn();
  }

  listens(): Promise<boolean> {
    return until("the agent listens", () => exists(this.path));
  }

  /** What it was told, and the numbers of the calls that it was asked about. */
  async heard(): Promise<{ states: { state: Config; descriptors: number }[]; calls: number[] }> {
    const lines = (await Deno.readTextFile(this.#log)).trim().split("\n").map((line) => JSON.parse(line));
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
