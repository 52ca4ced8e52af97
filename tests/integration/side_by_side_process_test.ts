/**
 * The same bundle under Debian's runc and under runk: the program in the container is the same process. Each case changes
 * the default config; a probe prints everything that a process can see (support/probe.ts says what is normalised and why).
 */
import { type Case, ownCapabilities, sameAsUnderRunc } from "../support/compare.ts";

const CAPS = ["bounding", "effective", "permitted", "inheritable", "ambient"];
const allCaps = (...names: string[]) => Object.fromEntries(CAPS.map((set) => [set, names]));
const sorted = (text: string) => text.split("\n").sort().join("\n");

const CASES: Readonly<Record<string, Case>> = {
  "the default config": {},
  "a writable root": { config: (c) => c.root.readonly = false, then: "touch /tmp/x && stat -c %a /tmp/x" },

  // User and groups.
  "a user, a group": { config: (c) => c.process.user = { uid: 1000, gid: 1000 } },
  "a user who is in no passwd": { config: (c) => c.process.user = { uid: 4242, gid: 4343 } },
  "additional groups": {
    config: (c) => c.process.user = { uid: 1000, gid: 1000, additionalGids: [5, 10, 2000000000] },
  },
  // The limits are set from outside, by one who may not have CAP_SYS_RESOURCE.
  "root in another group": { config: (c) => c.process.user = { uid: 0, gid: 50 } },
  "the user that is no user": {
    config: (c) => c.process.user = { uid: 4294967295, gid: 0 },
    fails: /uids and gids must be in range/,
  },
  "the group that is no group": {
    config: (c) => c.process.user = { uid: 1000, gid: 4294967295 },
    fails: /uids and gids must be in range/,
  },
  "additional groups of root": { config: (c) => c.process.user = { uid: 0, gid: 0, additionalGids: [0, 7] } },
  "a umask": { config: (c) => c.process.user = { uid: 0, gid: 0, umask: 0o077 } },
  "a umask of zero": { config: (c) => c.process.user = { uid: 0, gid: 0, umask: 0 } },

  // Capabilities.
  // runc 1.1 takes them all away, newer ones leave them alone; runk does as those.
  "no capabilities key": {
    config: (c) => delete c.process.capabilities,
    change: { status: (text) => text.replace(/^Cap(Prm|Eff|Bnd).*$/gm, "") },
  },
  "empty capabilities": { config: (c) => c.process.capabilities = {} },
  "all five sets": { config: (c) => c.process.capabilities = allCaps("CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_ADMIN") },
  "ambient capabilities of a user": {
    config: (c) => {
      c.process.user = { uid: 1000, gid: 1000 };
      c.process.capabilities = allCaps("CAP_NET_BIND_SERVICE", "CAP_KILL");
    },
  },
  "capabilities of a user without ambient": {
    config: (c) => {
      c.process.user = { uid: 1000, gid: 1000 };
      c.process.capabilities = { ...allCaps("CAP_NET_BIND_SERVICE"), ambient: [] };
    },
  },
  "a bounding set wider than the rest": {
    config: (c) => c.process.capabilities = { bounding: ["CAP_KILL", "CAP_SYS_PTRACE"], permitted: ["CAP_KILL"] },
  },
  "new privileges allowed": { config: (c) => c.process.noNewPrivileges = false },
  "every privilege": {
    config: (c) => {
      c.process.noNewPrivileges = false;
      c.process.capabilities = allCaps(...ownCapabilities());
      c.root.readonly = false;
      c.linux.maskedPaths = [];
      c.linux.readonlyPaths = [];
    },
  },

  // Environment.
  "no environment": { config: (c) => (delete c.process.env, c.process.args[0] = "/bin/sh") },
  "an empty environment": { config: (c) => (c.process.env = [], c.process.args[0] = "/bin/sh") },
  "HOME is the passwd's": { config: (c) => c.process.user = { uid: 1000, gid: 1000 } },
  "HOME as it is set": { config: (c) => c.process.env.push("HOME=/elsewhere") },
  // runc 1.1 keeps the place of the first entry of a name, newer ones that of the last.
  "an empty HOME over a set one": {
    config: (c) => c.process.env.push("HOME=/elsewhere", "HOME="),
    change: { environment: sorted },
  },
  "an empty HOME": { config: (c) => c.process.env.unshift("HOME="), change: { environment: sorted } },
  "HOME without a passwd": { rootfs: (box) => Deno.removeSync(`${box.rootfs}/etc/passwd`) },
  "HOME with an odd passwd": {
    rootfs: (box) =>
      Deno.writeTextFileSync(
        `${box.rootfs}/etc/passwd`,
        "# comment\n\nbroken\n1000:x:1:1:trap:/trap:\nuser:x:1000:1000:a:b:c\nu2:x:1000:1000::/second:/bin/sh",
      ),
    config: (c) => c.process.user = { uid: 1000, gid: 1000 },
  },
  "HOME with a last line that is not ended": {
    rootfs: (box) => Deno.writeTextFileSync(`${box.rootfs}/etc/passwd`, "user:x:1000:1000::/at/the/end"),
    config: (c) => c.process.user = { uid: 1000, gid: 1000 },
  },
  "HOME with an empty home in passwd": {
    rootfs: (box) => Deno.writeTextFileSync(`${box.rootfs}/etc/passwd`, "user:x:1000:1000:::/bin/sh\n"),
    config: (c) => c.process.user = { uid: 1000, gid: 1000 },
  },
  "duplicates in the environment": {
    config: (c) => c.process.env.push("A=1", "B=2", "A=3", "TERM=dumb", "C="),
    change: { environment: sorted },
  },
  "an environment with odd values": { config: (c) => c.process.env.push("ODD=a=b c\nd", "UTF=ä€", "1=2", "a b=c") },
  "an environment entry without =": { config: (c) => c.process.env.push("NOTHING"), fails: /environment variable/ },
  "an environment entry without a name": { config: (c) => c.process.env.push("=x"), fails: /environment variable/ },

  // args[0].
  "a program on the PATH": { config: (c) => c.process.env = ["PATH=/nowhere:/bin:/sbin"] },
  "a program in a relative PATH": {
    config: (c) => {
      c.process.env = ["PATH=bin"];
      c.process.cwd = "/";
    },
    fails: /exec: \\?"sh\\?": cannot run executable found relative to current directory/,
  },
  "a program by its absolute path": { config: (c) => c.process.args[0] = "/bin/sh" },
  "a program by a relative path": { config: (c) => c.process.args[0] = "./bin/sh" },
  "a program relative to cwd": {
    config: (c) => {
      c.process.cwd = "/bin";
      c.process.args[0] = "./sh";
    },
  },
  "a program that is not on the PATH": {
    config: (c) => c.process.args = ["nosuch"],
    fails: /exec: \\?"nosuch\\?": executable file not found in \$PATH/,
  },
  "a program that does not exist": {
    config: (c) => c.process.args = ["/no/such"],
    fails: /exec: \\?"\/no\/such\\?": stat \/no\/such: no such file or directory/,
  },
  "a program that may not be executed": {
    config: (c) => c.process.args = ["/etc/passwd"],
    fails: /exec: \\?"\/etc\/passwd\\?": permission denied/,
  },
  "a directory as the program": {
    config: (c) => c.process.args = ["/etc"],
    // Go before 1.20 had no word for it.
    fails: {
      runk: /exec: \\?"\/etc\\?": is a directory/,
      runc: /exec: \\?"\/etc\\?": (is a directory|permission denied)/,
    },
  },
  "an empty PATH": { config: (c) => c.process.env = ["PATH="], fails: /executable file not found in \$PATH/ },
  "no args": { config: (c) => c.process.args = [], fails: /args must not be empty/ },

  // cwd.
  "a working directory": { config: (c) => c.process.cwd = "/home/user" },
  "a working directory that is made": {
    config: (c) => {
      c.process.cwd = "/made/for/me";
      c.root.readonly = false;
    },
    then: "stat -c '%n %a %u:%g' /made /made/for /made/for/me",
  },
  "a working directory behind a link": {
    rootfs: (box) => Deno.symlinkSync("/home/user", `${box.rootfs}/link`),
    config: (c) => c.process.cwd = "/link",
  },
  "a working directory that only its user may enter": {
    rootfs: (box) => {
      Deno.chmodSync(`${box.rootfs}/home/user`, 0o700);
      Deno.chownSync(`${box.rootfs}/home/user`, 1000, 1000);
    },
    config: (c) => {
      c.process.cwd = "/home/user";
      c.process.user = { uid: 1000, gid: 1000 };
    },
  },
  "a working directory that the user may not enter": {
    rootfs: (box) => Deno.chmodSync(`${box.rootfs}/root`, 0o700),
    config: (c) => {
      c.process.cwd = "/root";
      c.process.user = { uid: 1000, gid: 1000 };
    },
  },
  "a relative working directory": { config: (c) => c.process.cwd = "tmp", fails: /Cwd must be an absolute path/ },
  "a file as the working directory": { config: (c) => c.process.cwd = "/etc/passwd", fails: /not a directory/ },

  // Limits and preferences.
  "resource limits": {
    config: (c) =>
      c.process.rlimits = [
        { type: "RLIMIT_NOFILE", soft: 512, hard: 768 },
        { type: "RLIMIT_CORE", soft: 0, hard: 0 },
        { type: "RLIMIT_CPU", soft: 100, hard: 200 },
        { type: "RLIMIT_STACK", soft: 1 << 20, hard: 1 << 24 },
        { type: "RLIMIT_NICE", soft: 0, hard: 0 },
        { type: "RLIMIT_MSGQUEUE", soft: 8192, hard: 8192 },
      ],
  },
  "no resource limits": { config: (c) => c.process.rlimits = [] },
  "an unknown resource limit": {
    config: (c) => c.process.rlimits = [{ type: "RLIMIT_NOSUCH", soft: 1, hard: 1 }],
    fails: /wrong rlimit value: RLIMIT_NOSUCH/,
  },
  "an oom_score_adj": { config: (c) => c.process.oomScoreAdj = 321 },
  "an oom_score_adj of zero": { config: (c) => c.process.oomScoreAdj = 0 },

  // Options of the command line.
  "--no-pivot": { options: ["--no-pivot"] },
  "--no-new-keyring": { options: ["--no-new-keyring"] },

  // What the caller has does not reach the container.
  "the caller's environment stays outside": { env: { SECRET: "x", HOME: "/caller", LISTEN_FDS: "1" } },
};

sameAsUnderRunc(CASES);
