/** Seccomp on a real kernel: what programs in a container get for their system calls, beside Debian's runc. */
import assert from "node:assert/strict";
import { syscallTable } from "../../src/seccomp/syscalls.ts";
import { Box, type Config } from "../support/box.ts";
import { clientConfig } from "../support/plans.ts";
import type { Result } from "../support/runk.ts";
import { exists, test } from "../support/test.ts";

const NEEDS = ["root", "cgroups", "file:/usr/bin/python3"] as const;
const BESIDE = [...NEEDS, "file:/usr/sbin/runc"] as const;
const TABLE = syscallTable(Deno.build.arch);
const number = (call: string | number) => (typeof call === "number" ? call : TABLE.get(call)!);

/** Issues system calls, each in a process of its own, and prints what came of it. */
const CALLS = `
import ctypes, json, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
for number, *args in json.loads(sys.argv[1]):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGSYS, lambda *_: (print(number, "trapped", flush=True), os._exit(0)))
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(arg) for arg in (args + [0] * 6)[:6]])
        error = ctypes.get_errno()
        signal.SIGSYS in signal.sigpending()
        print(number, *args, "=", "error %d" % error if result == -1 else "done", flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status != 0: print(number, "ended by signal", os.WTERMSIG(status))
`;

type Call = readonly [name: string | number, ...args: number[]];

/** Has a config run CALLS, with the host's Python. */
function issue(config: Config, calls: readonly Call[]): void {
  const list = JSON.stringify(calls.map(([name, ...args]) => [number(name), ...args]));
  config.process.args = ["/usr/bin/python3", "-I", "-S", "-c", CALLS, list];
  config.mounts.push({ destination: "/usr", type: "none", source: "/usr", options: ["rbind", "ro"] });
}

/** The host's programs need its libraries. */
function linkLibraries(box: Box): void {
  for (const name of ["lib", "lib64"]) {
    if (exists(`/${name}`)) Deno.symlinkSync(`usr/${name}`, `${box.rootfs}/${name}`);
  }
}

/** Runs calls in a container of each runtime; both must print the same, which is returned. */
async function beside(calls: readonly Call[], config: (config: Config) => void): Promise<string> {
  await using box = await Box.create();
  linkLibraries(box);
  await box.write((c) => {
    c.process.terminal = false;
    issue(c, calls);
    config(c);
  });
  const ours = await box.runk(["run", box.id]);
  const theirs = await box.other("runc", ["run", box.id]);
  assert.equal(ours.stderr, "");
  assert.deepEqual(ours, theirs);
  return ours.stdout;
}

const rule = (names: string[], action: string, more = {}) => ({ names, action: `SCMP_ACT_${action}`, ...more });
const when = (index: number, op: string, value: number, valueTwo = 0) => ({
  index,
  op: `SCMP_CMP_${op}`,
  value,
  valueTwo,
});

for (const noNewPrivileges of [true, false]) {
  const how = noNewPrivileges ? "with no_new_privs" : "without no_new_privs";
  test(`actions and conditions do in a container what they do under runc, ${how}`, BESIDE, async () => {
    const seen = await beside(
      [
        ...(["vhangup", "acct", "swapoff", "quotactl", "swapon", "sync", "times"] as const).map((name): Call => [name]),
        ...[0, 1, 2, 0x40000000].flatMap((n): Call[] => [["setpriority", 99, n], ["getpriority", 99, n]]),
        ...[0x1_0000_0002, 0x2_0000_0002, 2].map((n): Call => ["fadvise64", 999, n]),
      ],
      (c) => {
        c.process.noNewPrivileges = noNewPrivileges;
        c.linux.seccomp = {
          defaultAction: "SCMP_ACT_ALLOW",
          syscalls: [
            rule(["vhangup"], "ERRNO", { errnoRet: 95 }),
            rule(["acct"], "KILL"),
            rule(["swapoff"], "KILL_PROCESS"),
            rule(["quotactl"], "TRAP"),
            rule(["swapon"], "TRACE"),
            rule(["sync", "no_such_call"], "LOG"),
            rule(["times"], "ERRNO"),
            rule(["setpriority"], "ERRNO", { errnoRet: 7, args: [when(0, "EQ", 99), when(1, "GT", 1)] }),
            rule(["getpriority"], "ERRNO", { errnoRet: 8, args: [when(1, "MASKED_EQ", 3, 2)] }),
            rule(["fadvise64"], "ERRNO", { errnoRet: 9, args: [when(1, "EQ", 0x1_0000_0002)] }),
            rule(["fadvise64"], "ERRNO", { errnoRet: 9, args: [when(1, "GE", 0x2_0000_0000)] }),
          ],
        };
      },
    );
    for (
      const line of [
        `${number("vhangup")} = error 95`,
        `${number("acct")} ended by signal 31`,
        `${number("quotactl")} trapped`,
      ]
    ) {
      assert.ok(seen.includes(line + "\n"), `${line} in\n${seen}`);
    }
  });
}

/** Calls that Docker's profile refuses or lets through, with arguments that do no harm where they come through. */
const ORDINARY: readonly Call[] = [
  ...["unshare", "setns", "mount", "umount2", "pivot_root", "keyctl", "add_key", "bpf", "perf_event_open", "clone3"]
    .map((
      name,
    ): Call => [name, 0, 0, 0]),
  ...["io_uring_setup", "userfaultfd", "open_by_handle_at", "kexec_load", "init_module", "acct", "swapon", "reboot"]
    .map((
      name,
    ): Call => [name, 0x7fffffff, 0, 0]),
  ...["mkdirat", "openat", "statx", "faccessat2", "ptrace", "process_vm_readv", "chroot", "sethostname"].map((
    name,
  ): Call => [
    name,
    0x7fffffff,
    0,
    0,
  ]),
  ...[0, 8, 0x20000, 0x20008, 0xffffffff, 1, 0x40000].map((persona): Call => ["personality", persona]),
  ...[500, 1000, 0x3fffffff, "mseal"].map((name): Call => [name as string]),
];

test("Docker's own profile does what it does under runc, for root and for another user", BESIDE, async () => {
  const { seccomp } = clientConfig("docker-default.json").linux!;
  for (const uid of [0, 1000]) {
    const seen = await beside(ORDINARY, (c) => {
      c.process.noNewPrivileges = false;
      c.process.user = { uid, gid: uid };
      c.linux.seccomp = seccomp;
    });
    assert.match(seen, new RegExp(`^${number("unshare")} 0 0 0 = error 1$`, "m"));
    assert.match(seen, new RegExp(`^${number("clone3")} 0 0 0 = error 38$`, "m"));
    assert.match(seen, /^500 = error 38$/m, "newer than the profile");
  }
});

test("Podman's own profile does what it does under runc", BESIDE, async () => {
  await beside(ORDINARY, (c) => (c.linux.seccomp = clientConfig("podman-default.json").linux!.seccomp));
});

test(
  "a filter without no_new_privs costs the process no capability that it has, and leaves it none that it has not",
  NEEDS,
  async () => {
    const status = async (noNewPrivileges: boolean, uid: number, profile: boolean): Promise<Result> => {
      await using box = await Box.create({
        script: "grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status",
        config: (c) => {
          c.process.noNewPrivileges = noNewPrivileges;
          c.process.user = { uid, gid: uid };
          const caps = ["CAP_KILL", "CAP_CHOWN"];
          c.process.capabilities = {
            bounding: caps,
            effective: caps,
            permitted: caps,
            inheritable: ["CAP_KILL"],
            ambient: ["CAP_KILL"],
          };
          if (profile) c.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule(["sync"], "ERRNO")] };
        },
      });
      return await box.ok(["run", box.id]);
    };
    for (const uid of [0, 1000]) {
      for (const noNewPrivileges of [true, false]) {
        const [plain, confined] = [await status(noNewPrivileges, uid, false), await status(noNewPrivileges, uid, true)];
        assert.equal(confined.stdout, plain.stdout.replace("Seccomp:\t0", "Seccomp:\t2"));
      }
    }
  },
);

test("exec runs processes under the container's filter, whatever the bundle says by then", NEEDS, async () => {
  await using box = await Box.create({
    script: "sleep 100",
    config: (
      c,
    ) => (c.linux.seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [rule(["sethostname"], "ERRNO", { errnoRet: 95 })],
    }),
  });
  await box.ok(["run", "-d", box.id]);
  const hostname = () => box.runk(["exec", "--cap", "CAP_SYS_ADMIN", box.id, "hostname", "other"]);
  assert.match((await hostname()).stderr, /Operation not supported|Not supported/i);
  await box.write((c) => (c.process.terminal = false));
  assert.match((await hostname()).stderr, /not supported/i);
  const lines = await box.ok(["exec", box.id, "grep", "Seccomp:", "/proc/self/status"]);
  assert.equal(lines.stdout, "Seccomp:\t2\n");
  await box.ok(["delete", "-f", box.id]);
});

/** A profile that lets through what there was before a call of that number, but for some. */
const upTo = (last: number, without: string[] = []) => ({
  defaultAction: "SCMP_ACT_ERRNO",
  syscalls: [
    rule([...TABLE].filter(([name, n]) => n <= last && !without.includes(name)).map(([name]) => name), "ALLOW"),
  ],
});

test(
  "a profile older than the calls that runk likes is enough to start a container",
  NEEDS,
  async () => {
    await using box = await Box.create({
      script: "echo started; ls /proc/self/fd | wc -l",
      config: (c) => {
        c.process.noNewPrivileges = false;
        // No statx, faccessat2, close_range, clone3, openat2.
        c.linux.seccomp = upTo(number("execveat"), [
          "sendto",
          "recvfrom",
          "sendmsg",
          "recvmsg",
          "setresuid",
          "setgroups",
          "prctl",
        ]);
      },
    });
    const ours = await box.runk(["run", box.id]);
    assert.deepEqual(ours, { status: 0, stdout: "started\n4\n", stderr: "" });
  },
);

test(
  "a profile that would stop its own container is one error that says which call is needed for what",
  NEEDS,
  async () => {
    for (
      const [call, noNewPrivileges] of [["execve", true], ["execve", false], ["capset", false], [
        "write",
        false,
      ]] as const
    ) {
      await using box = await Box.create({
        script: "true",
        config: (c) => {
          c.process.noNewPrivileges = noNewPrivileges;
          c.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule([call], "ERRNO")] };
        },
      });
      const { status, stderr } = await box.runk(["run", box.id]);
      assert.equal(status, 1);
      assert.match(
        stderr,
        new RegExp(`the seccomp profile answers ${call} with ERRNO\\(EPERM\\), but it is needed behind the filter to `),
      );
      assert.match(stderr, /config\.json \/linux\/seccomp\/syscalls/);
    }
    // With no_new_privs the filter is loaded when all that is done.
    await using box = await Box.create({
      script: "echo fine",
      config: (
        c,
      ) => (c.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule(["capset", "close_range"], "KILL")] }),
    });
    assert.equal((await box.ok(["run", box.id])).stdout, "fine\n");
  },
);

test("a profile under which not even the end can be called ends the container all the same", NEEDS, async () => {
  await using box = await Box.create({
    config: (config) => config.linux.seccomp = { defaultAction: "SCMP_ACT_TRACE" },
  });
  const { status, stdout } = await box.runk(["run", box.id]);
  assert.equal(stdout, "");
  assert.equal(status, 139, "a fault, where execve and exit_group answer ENOSYS");
});

test("startContainer hooks run behind the filter, also one that stops clone3", NEEDS, async () => {
  for (const noNewPrivileges of [false, true]) {
    await using box = await Box.create({
      script: "cat /tmp/hook",
      config: (c) => {
        c.root.readonly = false;
        c.process.noNewPrivileges = noNewPrivileges;
        c.linux.seccomp = clientConfig("docker-default.json").linux!.seccomp;
        const args = ["sh", "-c", "grep ^Seccomp: /proc/self/status > /tmp/hook"];
        c.hooks = { startContainer: [{ path: "/bin/sh", args }] };
      },
    });
    assert.equal((await box.ok(["run", box.id])).stdout, "Seccomp:\t2\n");
  }
});

test("every flag is taken by the kernel, and a wrong profile is one error that leaves nothing", NEEDS, async () => {
  const flags = ["TSYNC", "SPEC_ALLOW", "LOG"].map((flag) => `SECCOMP_FILTER_FLAG_${flag}`);
  for (const list of [undefined, [], ...flags.map((flag) => [flag]), flags]) {
    await using box = await Box.create({
      script: "echo fine",
      config: (c) => (c.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", ...(list && { flags: list }) }),
    });
    assert.equal((await box.ok(["run", box.id])).stdout, "fine\n");
  }
  const wrong: [unknown, RegExp][] = [
    [{ defaultAction: "SCMP_ACT_NONE" }, /SCMP_ACT_NONE is not a valid action .*\/linux\/seccomp\/defaultAction/],
    [{ defaultAction: 1 }, /\/linux\/seccomp\/defaultAction: expected string, got number 1/],
    [
      { defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule(["read"], "ERRNO", { errnoRet: -1 })] },
      /\/syscalls\/0\/errnoRet: expected integer/,
    ],
    [
      { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: "read", action: "SCMP_ACT_LOG" }] },
      /\/syscalls\/0\/names: expected array/,
    ],
    [{
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [rule(["read"], "LOG", { args: [{ index: 0, op: "SCMP_CMP_EQ", value: 2 ** 65 }] })],
    }, /\/args\/0\/value/],
    [{ defaultAction: "SCMP_ACT_ALLOW", flags: ["FAST"] }, /seccomp flag FAST is not known/],
  ];
  for (const [seccomp, message] of wrong) {
    await using box = await Box.create({ config: (c) => (c.linux.seccomp = seccomp) });
    const { status, stderr } = await box.runk(["create", box.id]);
    assert.equal(status, 1);
    assert.match(stderr, message);
  }
});
