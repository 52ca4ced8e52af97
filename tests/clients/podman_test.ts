/** Podman (root, conmon) and buildah: the same commands with runc and with runk. */
import assert from "node:assert/strict";
import { ClientHost } from "../support/hosts.ts";
import { compareSides, type Script } from "../support/side_by_side.ts";
import { run } from "../support/runk.ts";
import { test } from "../support/test.ts";

const NEEDS = ["root", "cgroup1", "command:podman", "command:conmon", "command:runc"] as const;

/** A store, configuration and temporary directory of our own; the host's network, which needs no plugins. */
async function start(host: ClientHost): Promise<ClientHost> {
  const { directory, runtimes } = host;
  await Deno.writeTextFile(
    `${directory}/containers.conf`,
    `[containers]
netns = "host"
cgroups = "enabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "${directory}/podman-tmp"
runtime_supports_nocgroup = ["runk"]
[engine.runtimes]
runc = ["${runtimes.runc}"]
runk = ["${runtimes.runk}"]
`,
  );
  await Deno.writeTextFile(
    `${directory}/storage.conf`,
    `[storage]
driver = "overlay"
runroot = "${directory}/podman-run"
graphroot = "${directory}/podman"
`,
  );
  const { status, stderr } = await run("podman", ["load", "--quiet", "--input", host.image], {
    env: environment(host),
  });
  if (status !== 0) throw new Error(`podman load: ${stderr}`);
  return host;
}

const environment = ({ directory }: ClientHost): Record<string, string> => ({
  CONTAINERS_CONF: `${directory}/containers.conf`,
  CONTAINERS_STORAGE_CONF: `${directory}/storage.conf`,
  PATH: `${Deno.env.get("PATH")}:/usr/sbin:/sbin`,
});

let started: Promise<ClientHost> | undefined;
const podman = () => (started ??= ClientHost.with(start));
Deno.test.afterAll(async () => {
  const host = await started?.catch(() => undefined);
  if (host === undefined) return;
  await run("podman", ["rm", "--all", "--force", "--time", "0"], { env: environment(host) });
  await run("podman", ["pod", "rm", "--all", "--force", "--time", "0"], { env: environment(host) });
  await host.remove();
});

function same(name: string, script: Script, needs: readonly `command:${string}`[] = []): void {
  test(`podman: ${name}`, [...NEEDS, ...needs], async () => {
    const host = await podman();
    const env = { ...environment(host), CGROUP: host.cgroup };
    await compareSides(script, host.side("runc", env), host.side("runk", env));
  });
}

const PODMAN = "podman --runtime $RUNTIME";
const OPTIONS = "--cgroup-parent /$CGROUP";
const RUN = `${PODMAN} run ${OPTIONS}`;
const START = `${RUN} -d --name $N box sh -c 'trap "exit 5" TERM; echo started; while :; do sleep 0.1; done'`;
const REMOVE = { sh: `${PODMAN} rm -f -t 0 $N`, compare: "nothing" } as const;

same("run passes output, input and exit status on", [
  { sh: `${RUN} --rm box echo hello`, expect: /^hello\n$/ },
  { sh: `echo typed | ${RUN} --rm -i box cat`, expect: /^typed\n$/ },
  { sh: `${RUN} --rm box sh -c 'echo out; echo err >&2; exit 3'`, status: 3 },
  { sh: `${RUN} --rm box no-such-command`, status: 127, compare: "stdout" },
  { sh: `${RUN} --rm box /etc/passwd`, status: 126, compare: "stdout" },
  { sh: `${RUN} --rm --no-such-flag box true`, status: 125, compare: "stdout" },
  { sh: `${RUN} --rm box sh -c 'sh -c "kill -9 \\$\\$"; exit $?'`, status: 137 },
  {
    sh: `script -qefc "${RUN} --rm -it box sh -c 'tty; exit 4'" /dev/null </dev/null`,
    status: 4,
    expect: /\/dev\/pts\/0/,
  },
]);

same("run has the options of a container", [
  {
    sh: `${RUN} --rm --read-only --cap-add SYS_TIME --cap-drop KILL -u 1000:1000 -w /tmp -e A=b \
      --hostname inside -v $DIR:/v:ro --security-opt no-new-privileges --oom-score-adj 100 box sh -c '
        id -u; pwd; echo $A; hostname; grep -E "Cap|NoNew" /proc/self/status; cat /proc/self/oom_score_adj; touch /x /v/x'`,
    status: 1,
  },
  {
    sh: `${RUN} -d --name $N -m 64m --cpus 0.5 --pids-limit 50 box sleep 100 >/dev/null
      pid=$(podman inspect -f '{{.State.Pid}}' $N)
      for file in memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max; do
        cat /sys/fs/cgroup/\${file%/*}$(grep -E ":(.*,)?\${file%/*}(,.*)?:" /proc/$pid/cgroup | cut -d: -f3)/\${file#*/}
      done`,
    expect: /^67108864\n50000\n50\n$/,
  },
  REMOVE,
  { sh: `${RUN} --rm --init box true`, status: "same", compare: "nothing" },
  { sh: `${RUN} --rm --pid=host --ipc=host --uts=host box sh -c 'test $$ -gt 2 && echo shared'`, expect: /shared/ },
  { sh: `${RUN} --rm --privileged box true`, status: "same", compare: "stdout" },
  { sh: `${RUN} --rm --shm-size 2m --device /dev/fuse box sh -c 'grep " /dev/shm " /proc/mounts; ls /dev/fuse'` },
]);

// runc has no such containers.
test("podman: with --cgroups=disabled a container has no cgroup of its own", NEEDS, async () => {
  const host = await podman();
  const args = ["--runtime", "runk", "run", "--rm", "--cgroups=disabled", "box", "cat", "/proc/self/cgroup"];
  const { status, stdout, stderr } = await run("podman", args, { env: environment(host) });
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stdout, /libpod/);
});

same("a container is entered, paused, inspected, stopped and restarted", [
  { sh: START, compare: "stdout" },
  { sh: "podman exec $N sh -c 'echo out; echo err >&2; exit 6'", status: 6 },
  { sh: "podman exec -u 1000 -w /tmp -e A=b $N sh -c 'id -u; pwd; echo $A'", expect: /^1000\n\/tmp\nb\n$/ },
  {
    sh: `script -qefc "podman exec -it $N sh -c 'tty; exit 7'" /dev/null </dev/null`,
    status: 7,
    expect: /\/dev\/pts\/0/,
  },
  { sh: "podman exec $N no-such-command", status: 127, compare: "nothing" },
  {
    sh: "podman exec -d $N touch /tmp/detached && until podman exec $N test -e /tmp/detached; do sleep 0.1; done",
    compare: "nothing",
  },
  {
    sh: "podman pause $N && podman inspect -f '{{.State.Status}}' $N && podman unpause $N",
    expect: /paused/,
    compare: "stdout",
  },
  // A shell's child has its arguments, too, until it executes a program.
  { sh: "podman top $N args | sort -u | grep -c trap", expect: /^1$/m },
  { sh: "podman stats --no-stream --format '{{.Name}} {{.PIDs}}' $N", compare: "nothing", expect: / [12]$/m },
  { sh: "podman stop -t 20 $N && podman wait $N", expect: /^5$/m },
  { sh: "podman restart $N >/dev/null && podman logs $N | sort -u", expect: /started/ },
  { sh: "podman kill $N >/dev/null && podman wait $N", expect: /^137$/m },
  {
    sh: "podman inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.OCIRuntime}}' $N | cut -d' ' -f1-2",
    expect: /exited 137/,
  },
  REMOVE,
]);

same("a container is attached to, updated, checked for health, and shares its namespaces", [
  {
    sh: `${RUN} -di --name $N --health-cmd 'test -e /tmp/healthy' --health-interval disable box sh`,
    compare: "nothing",
  },
  {
    sh:
      `[ "$(podman exec $N readlink /proc/self/ns/ipc)" = "$(${RUN} --rm --ipc=container:$N --pid=container:$N box readlink /proc/self/ns/ipc)" ] && echo shared`,
    expect: /shared/,
  },
  { sh: "podman healthcheck run $N", status: 1, compare: "nothing" },
  { sh: "podman exec $N touch /tmp/healthy; podman healthcheck run $N", compare: "nothing" },
  {
    sh: `podman update -m 100m --cpus 0.7 $N >/dev/null
      pid=$(podman inspect -f '{{.State.Pid}}' $N)
      for file in memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us; do
        cat /sys/fs/cgroup/\${file%/*}$(grep -E ":(.*,)?\${file%/*}(,.*)?:" /proc/$pid/cgroup | cut -d: -f3)/\${file#*/}
      done`,
    expect: /^104857600\n70000\n$/,
  },
  { sh: "(echo 'echo typed'; echo exit 4) | podman attach $N >/dev/null; podman logs $N", expect: /^typed$/m },
  { sh: "podman wait $N", expect: /^4$/m },
  { sh: "podman start $N && podman stop -t 0 $N && podman wait $N", expect: /^137$/m, compare: "nothing" },
  REMOVE,
]);

same("ids are mapped, and root inside is no one outside", [
  {
    sh:
      `${RUN} --rm --uidmap 0:3000000:2000 --gidmap 0:3000000:2000 -v $DIR:/v box sh -c 'cat /proc/self/uid_map; id -u; touch /v/x /x'`,
    status: 1,
    expect: /^\s+0\s+3000000\s+2000\n0\n$/,
  },
]);

const RUNTIME_PATH = "$(podman --runtime $RUNTIME info -f '{{.Host.OCIRuntime.Path}}')";
const BUILDAH_RUN = `buildah run --runtime ${RUNTIME_PATH} --isolation oci --network host --terminal=false`;

const KUBE = `apiVersion: v1
kind: Pod
metadata: {name: $N}
spec:
  hostNetwork: true
  containers:
  - {name: one, image: docker.io/library/box:latest, imagePullPolicy: Never, command: [sleep, "100"]}`;

same("pods share what they share", [
  {
    sh: `${PODMAN} pod create ${OPTIONS} --name $N --infra-image box --infra-command 'sleep 1000' --share ipc,uts`,
    compare: "nothing",
  },
  { sh: `${PODMAN} run -d --pod $N --name $N-one box sleep 100`, compare: "nothing" },
  {
    sh:
      `[ "$(podman exec $N-one readlink /proc/self/ns/ipc)" = "$(${PODMAN} run --rm --pod $N box readlink /proc/self/ns/ipc)" ] && echo shared`,
    expect: /shared/,
  },
  { sh: `podman pod stop -t 0 $N && podman pod ps --format '{{.Status}}' --filter name=$N`, compare: "nothing" },
  // Without all v1 hierarchies, this podman cannot remove a pod's cgroups.
  { sh: `podman pod rm -f -t 0 $N`, status: "same", compare: "nothing" },
  { sh: `cat >pod.yaml <<END\n${KUBE}\nEND\n${PODMAN} play kube pod.yaml`, compare: "nothing" },
  { sh: "podman exec $N-one echo entered", expect: /^entered$/m },
  { sh: "podman play kube --down pod.yaml", status: "same", compare: "nothing" },
]);

same("buildah runs commands in a container of its own", [
  { sh: "buildah from --name $N box", compare: "nothing" },
  {
    sh: `${BUILDAH_RUN} $N sh -c 'echo out; echo err >&2; echo made >/made; exit 6'`,
    status: 6,
    expect: /^out$/m,
    blur: [[/.*level=(error|warning).*\n/g, ""]],
  },
  { sh: `${BUILDAH_RUN} --user 1000 $N sh -c 'id -u; cat /made'`, expect: /^1000\nmade\n$/, compare: "stdout" },
  { sh: "buildah rm $N", compare: "nothing" },
], ["command:buildah"]);

same("buildah runs the steps of a build", [
  {
    sh:
      `printf 'FROM box\\nRUN echo built > /result && id -u\\nUSER 1000\\nRUN id -u; test ! -w /result\\n' >Containerfile
      buildah build --runtime ${RUNTIME_PATH} --isolation oci --network host \
        --security-opt seccomp=unconfined --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 -q -t $N . 2>&1 | grep -Ev '^[0-9a-f]*$|level=warning' | sort`,
  },
  { sh: `${RUN} --rm $N cat /result`, expect: /built/ },
  { sh: "podman rmi -f $N", compare: "nothing" },
], ["command:buildah"]);
