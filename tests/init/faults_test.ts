/**
 * What is left when making a container fails: every step of a whole plan is made to fail, and every step is made the
 * last that its process does. Afterwards nothing may be there: no process, cgroup, mount, state or descriptor.
 *
 * One step in STRIDE is tried; RUNK_TEST_EVERY_STEP=1 tries them all, which takes a minute.
 */
import assert from "node:assert/strict";
import { call } from "../../ffi/call.ts";
import { Memory } from "../../ffi/memory.ts";
import { poll } from "../../ffi/poll.ts";
import { deleteContainer } from "../../src/container/delete.ts";
import { create, prepare } from "../../src/container/create.ts";
import type { Runtime } from "../../src/container/runtime.ts";
import { RunkError } from "../../src/errors.ts";
import type { Step } from "../../src/plan/types.ts";
import { Box, type Config } from "../support/box.ts";
import { withFault } from "../support/fault.ts";
import { descriptors } from "../support/machine.ts";
import { exists, test } from "../support/test.ts";

const ROOT = ["root", "cgroups"] as const;
const STRIDE = Deno.env.get("RUNK_TEST_EVERY_STEP") === "1" ? 1 : 13;
const RLIMIT_CORE = 4;

/** A config that uses much: user and cgroup namespaces, binds, hooks in both lanes, limits, devices, sysctls, a user. */
function muchOfEverything(config: Config, directory: string): void {
  const hook = [{ path: "/bin/true" }];
  config.hooks = { createRuntime: hook, createContainer: [{ path: "/bin/true" }] };
  config.linux.namespaces.push({ type: "cgroup" }, { type: "time" });
  config.linux.timeOffsets = { boottime: { secs: 100 } };
  config.linux.sysctl = { "net.ipv4.ip_unprivileged_port_start": "80" };
  config.linux.devices = [{ path: "/dev/fuse", type: "c", major: 10, minor: 229 }];
  config.linux.resources.memory = { limit: 64 * 1024 * 1024 };
  config.linux.resources.pids = { limit: 64 };
  config.mounts.push({ destination: "/host/etc", source: "/etc", type: "bind", options: ["rbind", "ro"] });
  config.mounts.push({ destination: "/deep/er", source: "tmpfs", type: "tmpfs", options: ["mode=700"] });
  config.mounts.push({ destination: "/again", source: `${directory}/rootfs/deep`, type: "bind", options: ["rbind"] });
  config.process.user = { uid: 1000, gid: 1000, additionalGids: [5] };
  config.process.oomScoreAdj = 100;
  config.root.readonly = false;
  config.annotations = { directory };
}

const withUserNamespace = (config: Config) => {
  config.linux.namespaces.push({ type: "user" });
  config.linux.uidMappings = config.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
};

const SUBJECTS: readonly (readonly [string, (config: Config, directory: string) => void])[] = [
  ["a container with much of everything", muchOfEverything],
  ["a container in a user namespace", withUserNamespace],
];

for (const [subject, config] of SUBJECTS) {
  for (const fault of ["fails", "dies"] as const) {
    test(`nothing is left of ${subject} when a step ${fault}`, ROOT, async () => {
      // A process that dies of a signal leaves no core file.
      call("prlimit64", 0, RLIMIT_CORE, new Memory(16), 0);
      await using box = await Box.create({ script: "sleep 100" });
      await box.write((c) => {
        c.process.terminal = false;
        config(c, box.directory);
      });
      const warnings: string[] = [];
      const runtime: Runtime = {
        root: box.root,
        planCache: undefined,
        poll,
        program: "runk",
        environment: () => ["PATH=/usr/bin:/bin"],
        warn: (message) => warnings.push(message),
        debug: undefined,
      };
      const options = {
        id: box.id,
        cgroupManager: "cgroupfs",
        bundle: box.directory,
        attended: false,
        gate: "fifo",
        pidFile: `${box.directory}/pid`,
      } as const;
      const prepared = await prepare(runtime, options);
      const { steps } = await prepared.plan();
      const cgroups = prepared.request.cgroups.map(({ path }) => path);
      const look = () => ({
        descriptors: descriptors().length,
        mounts: Deno.readTextFileSync("/proc/self/mountinfo").split("\n").filter((line) =>
          line.includes(box.directory)
        ),
        children: Deno.readTextFileSync(`/proc/self/task/${Deno.pid}/children`).trim(),
      });
      const attempt = (index: number) =>
        create(runtime, prepared, { inputs: {}, patch: (image) => withFault(image, index, fault) });
      // Whatever is opened once and kept is open from here on.
      await attempt(0).catch(() => {});
      const before = look();
      const [tried, ran]: [number[], number[]] = [[], []];
      for (let index = 0; index < steps.length; index += STRIDE) {
        const step = steps[index]!;
        const where = `step ${index} of ${steps.length} (${step.lane} lane, ${step.call ?? step.op}: ${step.task.why})`;
        tried.push(index);
        try {
          const record = await attempt(index);
          // A step that this container does not come to, or that comes after the gate.
          ran.push(index);
          assert.ok(!isAlwaysTaken(step, steps), `create succeeds though its ${where} ${fault}`);
          await deleteContainer(runtime, record.id, { force: true });
          call("wait4", record.init_process_pid, 0, 0, 0);
        } catch (error) {
          if (!(error instanceof RunkError)) throw new Error(`${where}: ${error}`, { cause: error });
          assert.match(error.message, /^unable to start container process: ./, where);
          if (fault === "fails") assert.match(error.message, /EIO|input\/output error/, `${where}: ${error.message}`);
        }
        const left = [
          ...cgroups.filter(exists),
          ...[`${box.root}/${box.id}`, `${box.directory}/pid`, `${box.directory}/.pid`].filter(exists),
        ].filter((path) => path !== `${box.directory}/pid` || ran.at(-1) !== index);
        assert.deepEqual(left, [], `left after ${where} ${fault}`);
        assert.deepEqual(look(), before, `after ${where} ${fault}`);
        await Deno.remove(`${box.directory}/pid`).catch(() => {});
      }
      console.log(
        `${tried.length} of ${steps.length} steps tried, ${ran.length} of them not come to before the start gate`,
      );
      assert.ok(tried.length - ran.length > tried.length / 4, "the faults hit steps that run");
      assert.deepEqual(warnings, []);
    });
  }
}

/** Steps in the middle of the host lane's way to the gate, of which there is no doubt that they run. */
function isAlwaysTaken({ call }: Step, steps: readonly Step[]): boolean {
  return call !== undefined && ["socketpair", "pivot_root", "sethostname", "setresuid", "capset"].includes(call) &&
    steps.filter((step) => step.call === call).length === 1;
}
