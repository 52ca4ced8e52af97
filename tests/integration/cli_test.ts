/** The command line, as runc's users and programs know it: grammar, help, exit statuses, logs, and the name runc. */
import assert from "node:assert/strict";
import { Box } from "../support/box.ts";
import { run, RUNK, runk } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";
import { programFor } from "../support/user.ts";

const ROOT = ["root", "cgroups"] as const;
const COMMANDS = ["create", "delete", "exec", "kill", "list", "run", "spec", "start", "state"];

test("help is on standard output with status 0, however it is asked for; each command has its own", [], async () => {
  for (const args of [[], ["--help"], ["-h"], ["help"], ["h"]]) {
    const { status, stdout, stderr } = await runk(args);
    assert.deepEqual({ status, stderr }, { status: 0, stderr: "" }, args.join(" "));
    assert.match(stdout, /^NAME:\n {3}runk - Open Container Initiative runtime\n/);
    for (const command of COMMANDS) assert.match(stdout, new RegExp(`^ {3}${command} {2,}\\S`, "m"));
    assert.match(stdout, /^ {3}--log-format value .*default: "text"/m);
    assert.doesNotMatch(stdout, /^ {3}init /m);
  }
  for (const command of COMMANDS) {
    const ways = command === "run" ? [[command, "--help"], [command, "-h"], ["help", command]] : [[command, "--help"]];
    const texts = await Promise.all(ways.map((args) => runk(args)));
    for (const { status, stdout } of texts) {
      assert.equal(status, 0);
      assert.match(stdout, new RegExp(`^NAME:\n {3}runk ${command} - .+\n\nUSAGE:\n {3}runk ${command} `));
      assert.equal(stdout, texts[0]!.stdout);
    }
  }
  for (const args of [["--version"], ["-v"]]) {
    const { status, stdout } = await runk(args);
    assert.equal(status, 0);
    assert.match(stdout, /^runk version \d+\.\d+\.\d+\n(\w+: \S+\n)+$/);
    assert.match(stdout, /^spec: 1\.\d+\.\d+$/m);
  }
});

test(
  "wrong command lines: what is wrong and the help on standard output, the error on standard error, statuses 1 and 3",
  [],
  async () => {
    const wrong: Readonly<Record<string, readonly [number, RegExp, RegExp]>> = {
      "nosuch": [3, /^$/, /No help topic for 'nosuch'/],
      "help nosuch": [3, /^$/, /No help topic for 'nosuch'/],
      "--nosuch list": [
        1,
        /^Incorrect Usage: flag provided but not defined: -nosuch\n\nNAME:\n {3}runk - /,
        /flag provided but not defined: -nosuch/,
      ],
      "run --nosuch x": [
        1,
        /^Incorrect Usage: flag provided but not defined: -nosuch\n\nNAME:\n {3}runk run - /,
        /flag provided but not defined: -nosuch/,
      ],
      "exec -td x": [1, /^Incorrect Usage: /, /flag provided but not defined: -td/],
      "create -d x": [1, /^Incorrect Usage: /, /flag provided but not defined: -d"/],
      "run --bundle": [1, /^Incorrect Usage: flag needs an argument: -bundle/, /flag needs an argument: -bundle/],
      "--root": [1, /^Incorrect Usage: flag needs an argument: -root/, /flag needs an argument: -root/],
      "run --preserve-fds x id": [1, /^Incorrect Usage: invalid value/, /invalid value \\"x\\" for flag -preserve-fds/],
      "run --detach=maybe id": [1, /^Incorrect Usage: invalid/, /-detach/],
      "run": [1, /^Incorrect Usage\.\n\nNAME:\n {3}runk run/, /: \\"run\\" requires exactly 1 argument\(s\)/],
      "run a b": [1, /^Incorrect Usage\./, /\\"run\\" requires exactly 1 argument\(s\)/],
      "list a": [1, /^Incorrect Usage\./, /\\"list\\" requires exactly 0 argument\(s\)/],
      "exec": [1, /^Incorrect Usage\./, /\\"exec\\" requires a minimum of 1 argument\(s\)/],
      "kill": [1, /^Incorrect Usage\./, /\\"kill\\" requires a minimum of 1 argument\(s\)/],
      "kill a b c": [1, /^Incorrect Usage\./, /\\"kill\\" requires a maximum of 2 argument\(s\)/],
      "list --format xml": [1, /^$/, /invalid format option \\"xml\\": table or json is expected/],
      "--log-format xml list": [1, /^$/, /invalid log-format: xml: text or json is expected/],
      "--root /etc/passwd list": [1, /^$/, /open \/etc\/passwd: not a directory/],
      "spec --bundle /no/such": [1, /^$/, /cannot write \/no\/such\/config.json: no such file or directory/],
      "run --preserve-fds=-1 id": [1, /^$/, /invalid --preserve-fds -1: it is a number of descriptors/],
      "state a/b": [1, /^$/, /invalid container ID format: letters, digits and _ \+ - . are allowed/],
      "--log /no/such/log list": [1, /^$/, /open \/no\/such\/log: no such file or directory/],
      "--root / list": [1, /^$/, /Option --root argument should not be set to \//],
      "--root /tmp/.. list": [1, /^$/, /Option --root argument should not be set to \//],
      "--rootless maybe list": [1, /^$/, /rootless/],
      "exec nobody true": [255, /^$/, /container does not exist/],
      "exec nobody": [255, /^$/, /exec args cannot be empty/],
      "kill nobody NOSUCH": [1, /^$/, /unknown signal \\"NOSUCH\\"/],
      "state nobody": [1, /^$/, /container does not exist/],
    };
    for (const [line, [code, out, error]] of Object.entries(wrong)) {
      const { status, stdout, stderr } = await runk(line.split(" "));
      assert.equal(status, code, line);
      assert.match(stdout, out, line);
      assert.match(stderr, error, line);
      assert.match(stderr, /^time="[^"]+" level=error msg=".*"\n$/, `${line}: one line`);
    }
  },
);

test(
  "flags: one or two dashes, = or a blank, before and behind operands, -- ends them; exec passes its command's on",
  ROOT,
  async () => {
    await using box = await Box.create({ script: "sleep 100", config: (c) => c.process.args = ["sleep", "100"] });
    await box.ok(["-debug=false", "run", "-detach", "--pid-file=pid", box.id, "--no-pivot=false", "-no-subreaper"]);
    assert.ok(exists(`${box.directory}/pid`));
    assert.equal((await box.ok(["exec", box.id, "echo", "-n", "--help", "--", "-x"])).stdout, "--help -- -x");
    assert.equal(
      (await box.ok(["exec", "-e", "A=1,2", "--env", "B=3", "-cwd", "/tmp", box.id, "sh", "-c", "echo $A $B $PWD"]))
        .stdout,
      "1,2 3 /tmp\n",
    );
    assert.equal(
      (await box.ok(["exec", "--user", "1000:1000", "-g", "5", "-g", "6", "--", box.id, "id", "-G"])).stdout,
      "1000 5 6\n",
    );
    assert.equal((await box.ok(["list", "-q=true", "--format", "json"])).stdout, box.id + "\n", "quiet wins");
    await box.ok(["kill", box.id, "9"]);
    await until("it has ended", async () => (await box.state()).status === "stopped");
    await box.ok(["delete", "--", box.id]);
  },
);

test("spec writes a config that run takes, where it is told, and never over another", ROOT, async () => {
  await using box = await Box.create();
  const other = `${box.directory}/other`;
  await Deno.mkdir(other);
  await box.ok(["spec", "--bundle", other]);
  const text = await Deno.readTextFile(`${other}/config.json`);
  assert.match(text, /^\{\n\t"ociVersion": "1\.\d+\.\d+",\n\t"process": \{\n/);
  assert.match(text, /\n\}$/);
  assert.equal((await Deno.stat(`${other}/config.json`)).mode! & 0o777, 0o666 & ~Deno.umask());
  const again = await box.runk(["spec", "-b", other]);
  assert.equal(again.status, 1);
  assert.match(again.stderr, /File config\.json exists\. Remove it first/);
  assert.equal((await box.runk(["spec"])).status, 1);
});

test(
  "the text log: one line with time, level and message, quoted as Go quotes; standard error has it without --log",
  ROOT,
  async () => {
    await using box = await Box.create();
    const { stderr } = await box.runk(["kill", "nobody", 'A"\t<\x01\x7f>ä\\']);
    assert.match(
      stderr,
      /^time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)" level=error msg="unknown signal \\".*\\""\n$/,
    );
    // The message quotes the text, and the line the message: Go's %q twice.
    assert.ok(stderr.includes(String.raw`unknown signal \"A\\\"\\t<\\x01\\x7f>ä\\\\\"`), stderr);
    const log = `${box.directory}/log`;
    for (let i = 0; i < 2; i++) {
      const toFile = await box.runk(["--log", log, "state", "nobody"]);
      assert.deepEqual(toFile, { status: 1, stdout: "", stderr: "container does not exist\n" });
    }
    const lines = (await Deno.readTextFile(log)).trim().split("\n");
    assert.equal(lines.length, 2, "appended");
    assert.match(lines[0]!, /^time="[^"]+" level=error msg="container does not exist"$/);
    assert.equal((await Deno.stat(log)).mode! & 0o777, 0o644);
  },
);

test("the JSON log: one object a line with level, msg and time, which clients read", ROOT, async () => {
  await using box = await Box.create();
  const log = `${box.directory}/log.json`;
  await box.runk(["--log", log, "--log-format", "json", "kill", "nobody", "<&>"]);
  await box.write((
    c,
  ) => (c.process.args = ["nosuch"], c.process.terminal = false, c.process.capabilities.bounding = ["CAP_NOSUCH"]));
  const failed = await box.runk(["--log", log, "--log-format=json", "create", box.id]);
  assert.equal(failed.status, 1);
  const text = await Deno.readTextFile(log);
  assert.match(text, /\\u003c\\u0026\\u003e/);
  const lines = text.trim().split("\n").map((line) => JSON.parse(line));
  for (const line of lines) {
    assert.deepEqual(Object.keys(line), ["level", "msg", "time"]);
    assert.ok(!Number.isNaN(Date.parse(line.time)));
  }
  assert.deepEqual(lines.map(({ level }) => level), ["error", "warning", "error"]);
  assert.match(lines[1].msg, /CAP_NOSUCH/);
  assert.match(
    lines[2].msg,
    /^runk create failed: unable to start container process: error during container init: exec: "nosuch": executable file not found in \$PATH/,
  );
  assert.equal(failed.stderr, lines[2].msg + "\n", "people see the plain message");
});

test("standard output of create, start, kill and delete is empty: it is the container's", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  for (const args of [["create", box.id], ["start", box.id], ["kill", box.id, "KILL"]]) {
    assert.deepEqual(await box.runk(args), { status: 0, stdout: "", stderr: "" }, args[0]);
  }
  await until("it has ended", async () => (await box.state()).status === "stopped");
  assert.deepEqual(await box.runk(["delete", box.id]), { status: 0, stdout: "", stderr: "" });
});

test("started as runc it speaks and defaults as runc", ROOT, async () => {
  await using box = await Box.create({ script: "true" });
  const runc = `${box.directory}/runc`;
  await Deno.symlink(RUNK, runc);
  const version = await run(runc, ["--version"]);
  assert.match(version.stdout, /^runc version 1\.\d+\.\d+\n/);
  assert.match((await run(runc, [])).stdout, /^NAME:\n {3}runc - Open Container Initiative runtime\n/);
  assert.match((await run(runc, ["--help"])).stdout, /default: "\/run\/runc"/);
  assert.match(
    (await run(runc, ["run"])).stderr,
    new RegExp(`"${runc}: \\\\"run\\\\" requires exactly 1 argument\\(s\\)"`),
  );
  await box.write((c) => (c.process.args = ["nosuch"], c.process.terminal = false));
  const failed = await run(runc, ["--root", box.root, "run", box.id], { cwd: box.directory });
  assert.match(
    failed.stderr,
    /msg="runc run failed: unable to start container process: error during container init: exec: /,
  );
  await box.write((c) => (c.process.args = ["hostname"], c.process.terminal = false));
  assert.equal((await run(runc, ["--root", box.root, "run", box.id], { cwd: box.directory })).stdout, "runk\n");
});

test("the state root: relative ones are the caller's, users' are under $XDG_RUNTIME_DIR", ROOT, async () => {
  await using box = await Box.create({ script: "sleep 100" });
  const result = await run(RUNK, ["--root", "state", "run", "-d", box.id], { cwd: box.directory });
  assert.equal(result.status, 0, result.stderr);
  assert.ok(exists(`${box.root}/${box.id}/state.json`));
  await box.ok(["delete", "--force", box.id]);
  const runtime = `${box.directory}/runtime`;
  await Deno.mkdir(runtime);
  await Deno.chown(runtime, 1000, 1000);
  // Real root ignores the variable; a user's root is made, sticky and private.
  assert.equal((await runk(["list"], { env: { XDG_RUNTIME_DIR: runtime } })).status, 0);
  assert.deepEqual([...Deno.readDirSync(runtime)], []);
  const asUser = [
    "--reuid",
    "1000",
    "--regid",
    "1000",
    "--clear-groups",
    "env",
    `XDG_RUNTIME_DIR=${runtime}`,
    "HOME=/",
  ];
  const listed = await run("setpriv", [...asUser, await programFor(box.directory), "list"]);
  assert.equal(listed.status, 0, listed.stderr);
  const { mode, uid } = await Deno.stat(`${runtime}/runk`);
  assert.deepEqual([mode! & 0o7777, uid], [0o1700, 1000]);
});

test("neither a home, nor a readable directory, nor an environment is needed to start", ROOT, async () => {
  await using box = await Box.create({ script: "echo works" });
  const PATH = Deno.env.get("PATH") ?? "/usr/bin:/bin";
  const result = await run(
    "env",
    ["-i", `PATH=${PATH}`, RUNK, "--root", box.root, "run", "-b", box.directory, box.id],
    { cwd: "/" },
  );
  assert.deepEqual(result, { status: 0, stdout: "works\n", stderr: "" });
  // Nothing of Deno's is written into a home.
  const home = `${box.directory}/home`;
  await Deno.mkdir(home);
  await box.ok(["run", box.id], { env: { HOME: home, DENO_DIR: "" } });
  assert.deepEqual([...Deno.readDirSync(home)], []);
});

test(
  "--debug tells the flags of the seccomp filter and the CPUs that exec begins on, as they are in the plan",
  ROOT,
  async () => {
    await using box = await Box.create({
      script: "sleep 100",
      config: (c) => {
        c.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", flags: ["SECCOMP_FILTER_FLAG_LOG"] };
        c.linux.seccomp.syscalls = [{ names: ["swapon"], action: "SCMP_ACT_ERRNO" }];
        c.process.execCPUAffinity = { initial: "1" };
      },
    });
    for (const command of [["run", "-d", box.id], ["exec", box.id, "true"]]) {
      const { stderr } = await box.ok(["--debug", ...command]);
      assert.match(stderr, /level=debug msg="seccomp filter flags: 2"/);
      assert.equal(/level=debug msg="nsexec: affinity: 0x2"/.test(stderr), command[0] === "exec");
      assert.doesNotMatch((await box.ok(["exec", box.id, "true"])).stderr, /flags|affinity/);
    }
  },
);
