/** containerd's ctr and its runc shim: the same commands with runc and with runk. */
import { dissolveHierarchies } from "../support/cgroups.ts";
import { type Release, releases } from "../support/containerd_releases.ts";
import { ClientHost, Containerd } from "../support/hosts.ts";
import { compareSides, type Script } from "../support/side_by_side.ts";
import { test } from "../support/test.ts";

const NEEDS = ["root", "cgroup1", "command:containerd", "command:ctr", "command:runc"] as const;

const started = new Map<Release, Promise<Containerd>>();
Deno.test.afterAll(async () => {
  for (const starting of started.values()) {
    const containerd = await starting.catch(() => undefined);
    await containerd?.stop();
    await containerd?.host.remove();
  }
});

async function start(host: ClientHost, { programs }: Release): Promise<Containerd> {
  const containerd = await Containerd.start(host, { programs });
  const { status, stderr } = await containerd.ctr("--namespace", host.cgroup, "images", "import", host.image);
  if (status !== 0) throw new Error(`ctr images import: ${stderr}`);
  return containerd;
}

const RELEASES = await releases();

function same(name: string, script: Script): void {
  for (const release of RELEASES) {
    test(`ctr of ${release.name} containerd: ${name}`, NEEDS, async () => {
      await dissolveHierarchies();
      if (!started.has(release)) started.set(release, ClientHost.with((host) => start(host, release)));
      const { host, socket, path } = await started.get(release)!;
      const env = (runtime: "runc" | "runk") => ({
        PATH: path,
        CONTAINERD_ADDRESS: socket,
        CONTAINERD_NAMESPACE: host.cgroup,
        CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS: "1",
        BINARY: host.runtimes[runtime],
        CGROUP: `/${host.cgroup}`,
      });
      await compareSides(script, host.side("runc", env("runc")), host.side("runk", env("runk")));
    });
  }
}

const OPTIONS = "--runc-binary $BINARY --runc-root $DIR/root --cgroup $CGROUP/$N";
const IMAGE = "docker.io/library/box:latest";
const RUN = `ctr run ${OPTIONS}`;
const START =
  `${RUN} -d --pid-file $DIR/pid --mount type=bind,src=$DIR,dst=/v,options=rbind ${IMAGE} $N sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'`;
const REMOVE = [
  {
    sh: "ctr task kill -s KILL $N; until ctr task ls | grep $N | grep -q STOPPED; do sleep 0.1; done",
    compare: "nothing",
  },
  "ctr task delete $N",
  "ctr container delete $N",
] as const;

same("run passes output, input and exit status on", [
  { sh: `${RUN} --rm ${IMAGE} $N echo hello`, expect: /^hello\n$/ },
  // This ctr never closes the input of a task when its own ends before the task is there.
  {
    sh: `(echo typed; until ctr task ls | grep "$N .*RUNNING" >&2; do sleep 0.1; done) 2>/dev/null |
      ${RUN} --rm ${IMAGE} $N cat`,
    expect: /^typed\n$/,
  },
  { sh: `${RUN} --rm ${IMAGE} $N sh -c 'echo out; echo err >&2; exit 3'`, status: 3 },
  { sh: `${RUN} --rm ${IMAGE} $N no-such-command`, status: 1, compare: "stdout" },
  { sh: "ctr containers delete $N", compare: "nothing", status: "same" },
  {
    sh: `script -qefc "${RUN} --rm -t ${IMAGE} $N sh -c 'tty; exit 4'" /dev/null </dev/null`,
    status: 4,
    compare: "nothing",
  },
]);

same("run has the options of a container", [
  {
    sh:
      `${RUN} --rm --read-only --env A=b --cwd /tmp --cap-add CAP_SYS_TIME --cap-drop CAP_KILL --mount type=bind,src=$DIR,dst=/v,options=rbind:ro \
      --no-pivot ${IMAGE} $N sh -c 'pwd; echo $A; grep Cap /proc/self/status; touch /x /v/x'`,
    status: 1,
  },
  { sh: `${RUN} --rm --memory-limit 67108864 --cpus 0.5 ${IMAGE} $N cat /proc/self/oom_score_adj` },
  { sh: `${RUN} --rm --net-host ${IMAGE} $N ip link` },
  { sh: `${RUN} --rm --privileged ${IMAGE} $N true`, status: "same", compare: "stdout" },
]);

same("a task is run in the background, entered, signalled and deleted", [
  { sh: START },
  {
    sh: `[ "$(cat $DIR/pid)" = "$(ctr task ls | awk -v id=$N '$1 == id { print $2 }')" ] && echo same`,
    expect: /same/,
  },
  { sh: "ctr task ls | awk -v id=$N '$1 == id { print $3 }'", expect: /^RUNNING$/m },
  // This ctr may end before it has passed all output on: what a process says goes to a file.
  { sh: "ctr task exec --exec-id one $N sh -c 'echo out >/v/out; exit 6'; echo $?; cat out", expect: /^6\nout\n$/ },
  {
    sh: "echo typed | ctr task exec --exec-id two --cwd /tmp $N sh -c '(cat; pwd) >/v/out'; cat out",
    expect: /^typed\n\/tmp\n$/,
  },
  {
    sh:
      `script -qefc "ctr task exec -t --exec-id three $N sh -c 'tty >/v/out; exit 7'" /dev/null </dev/null >/dev/null; echo $?; cat out`,
    compare: "stdout",
    expect: /^7\n\/dev\/pts\/0\n$/,
  },
  { sh: "ctr task exec --exec-id four $N no-such-command", status: 1, compare: "stdout" },
  { sh: "ctr task exec --exec-id five --user 1000:1000 $N sh -c 'test $(id -u) = 1000'" },
  "ctr task pause $N",
  { sh: "ctr task ls | awk -v id=$N '$1 == id { print $3 }'", expect: /^PAUSED$/m },
  "ctr task resume $N",
  { sh: "ctr task ps $N | wc -l", compare: "nothing", expect: /^[23]$/m },
  {
    sh:
      "ctr task metrics $N | awk '/^memory.usage_in_bytes|^memory.limit_in_bytes|^cpuacct.usage / { print $1, ($2 > 0) }'",
    expect: /memory.usage_in_bytes 1/,
  },
  { sh: "ctr task kill -s TERM $N; until ctr task ls | grep $N | grep -q STOPPED; do sleep 0.1; done" },
  "ctr task delete $N",
  "ctr container delete $N",
]);

same("a task that is killed is gone, and its shim with it", [
  { sh: START },
  ...REMOVE,
  { sh: 'pgrep -f -- "-id $N"', status: 1 },
  { sh: "ls $DIR/root/* | wc -l", expect: /^0$/m },
]);
