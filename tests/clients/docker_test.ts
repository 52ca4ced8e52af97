/** Docker: the same commands with runc and with runk, under a dockerd of the test's own. */
import { dissolveHierarchies } from "../support/cgroups.ts";
import { ClientHost, Docker } from "../support/hosts.ts";
import { RUNK } from "../support/runk.ts";
import { compareSides, type Script } from "../support/side_by_side.ts";
import { test, which } from "../support/test.ts";

const NEEDS = ["root", "cgroup1", "file:/usr/sbin/dockerd", "command:containerd", "command:runc"] as const;

let started: Promise<Docker> | undefined;
const docker = () => (started ??= ClientHost.with((host) => Docker.start(host, { hasBridge: true })));
Deno.test.afterAll(async () => await (await started?.catch(() => undefined))?.stop());

function same(name: string, script: Script): void {
  test(`docker: ${name}`, NEEDS, async () => {
    await dissolveHierarchies();
    const host = await docker();
    await compareSides(script, host.side("runc"), host.side("runk"));
  });
}

const RUN = "docker run --runtime $RUNTIME --network none";
/** A container $N in the background, that ends at once when it is told to. */
const START =
  `${RUN} -d --name $N box sh -c 'trap "exit 5" TERM; trap "exit 7" USR2; echo started; while :; do sleep 0.1; done'`;
const REMOVE = { sh: "docker rm -f $N", compare: "nothing" } as const;
/** A command with a terminal: its standard output is what the terminal shows. */
const onTerminal = (command: string, input = "") =>
  `printf '${input}' | script -qefc ${JSON.stringify(command)} /dev/null`;

same("run passes output, input and exit status on", [
  { sh: `${RUN} --rm box echo hello`, expect: /^hello\n$/ },
  { sh: `echo typed | ${RUN} --rm -i box cat`, expect: /^typed\n$/ },
  { sh: `${RUN} --rm box sh -c 'echo out; echo err >&2; exit 3'`, status: 3 },
]);

same("failures have the exit statuses that scripts rely on", [
  { sh: `${RUN} --rm box no-such-command`, status: 127, compare: "stdout" },
  { sh: `${RUN} --rm box /etc/passwd`, status: 126, compare: "stdout" },
  { sh: `${RUN} --rm box /no/such/file`, status: 127, compare: "stdout" },
  { sh: `${RUN} --rm -w /etc/passwd box true`, status: "same", compare: "stdout" },
  { sh: `${RUN} --rm --no-such-flag box true`, status: 125, compare: "stdout" },
  { sh: `${RUN} --rm --device /dev/no-such-device box true`, status: "same", compare: "stdout" },
  { sh: `${RUN} --name $N box sh -c 'sh -c "kill -9 \\$\\$"; exit $?'`, status: 137 },
  { sh: "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' $N", expect: /^exited 137/ },
  REMOVE,
]);

same("a terminal has its size, echoes, and passes the exit status on", [
  { sh: onTerminal(`${RUN} --rm -it box sh -c 'tty; test -t 0 && echo terminal; exit 4'`), status: 4 },
  {
    sh: onTerminal(`${RUN} --rm -it box sh`, "echo $((6 * 7))\\nexit 3\\n"),
    status: 3,
    expect: /42/,
    compare: "nothing",
  },
]);

same("limits and devices hold in the container", [
  {
    sh: `${RUN} --rm -m 64m --cpus 0.5 --cpu-shares 512 --pids-limit 50 -v /sys/fs/cgroup:/c:ro box sh -c '
      for file in memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max; do
        cat /c/\${file%/*}\$(sed -n "s/^.*:\${file%/*}[,:]\\([a-z,]*:\\)*//p" /proc/self/cgroup | head -1)/\${file#*/}
      done 2>/dev/null; cat /c/pids/*/*/pids.max | sort -u | tail -1'`,
    compare: "nothing",
  },
  {
    sh: `${RUN} -d --name $N -m 64m --cpus 0.5 --cpu-shares 512 --pids-limit 50 --cpuset-cpus 0 box sleep 100 >/dev/null
      pid=$(docker inspect -f '{{.State.Pid}}' $N)
      for file in memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus; do
        cat /sys/fs/cgroup/\${file%/*}$(grep -E ":(.*,)?\${file%/*}(,.*)?:" /proc/$pid/cgroup | cut -d: -f3)/\${file#*/}
      done`,
    expect: /^67108864\n50000\n512\n50\n0\n$/,
  },
  REMOVE,
  { sh: `${RUN} --rm --device /dev/fuse:/dev/f:rw box sh -c 'ls -l /dev/f; exec 3<>/dev/f && echo opened'` },
  { sh: `${RUN} --rm box sh -c 'mknod /tmp/d b 1 0 && cat /tmp/d'`, status: "same" },
]);

same("file systems are as asked", [
  {
    sh:
      `${RUN} --rm --read-only --tmpfs /t:size=1m,mode=1770 box sh -c 'touch /x; touch /t/y && ls -ld /t && grep " /t " /proc/mounts'`,
  },
  { sh: `echo of the host > $DIR/file; ${RUN} --rm -v $DIR:/v:ro box sh -c 'cat /v/file; touch /v/new'`, status: 1 },
  {
    sh: `${RUN} --rm -v $DIR:/v:rw -v /dev/null:/n box sh -c 'touch /v/new; grep -c " /v " /proc/self/mountinfo'`,
  },
  { sh: `${RUN} --rm --mount type=volume,dst=/data box sh -c 'echo kept > /data/x; cat /data/x'` },
  { sh: `${RUN} --rm --shm-size 2m box sh -c 'grep " /dev/shm " /proc/mounts'` },
  { sh: `${RUN} --rm -w /made/by/docker box pwd` },
]);

same("rights are as asked", [
  { sh: `${RUN} --rm box grep Cap /proc/self/status` },
  {
    sh:
      `${RUN} --rm --cap-add NET_ADMIN --cap-add SYS_TIME --cap-drop CHOWN --cap-drop KILL box grep Cap /proc/self/status`,
  },
  {
    sh:
      `${RUN} --rm --cap-drop ALL -u 1000:1000 --group-add 7 box sh -c 'grep -E "Cap|Groups" /proc/self/status; id -u; id -g'`,
  },
  {
    sh:
      `echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}' >seccomp.json
      ${RUN} --rm --security-opt seccomp=$PWD/seccomp.json box sh -c 'grep Seccomp: /proc/self/status; mkdir /tmp/x'`,
    status: 1,
    expect: /2$/m,
  },
  { sh: `${RUN} --rm --security-opt seccomp=unconfined box grep Seccomp: /proc/self/status`, expect: /0$/m },
  { sh: `${RUN} --rm --security-opt no-new-privileges box grep NoNewPrivs /proc/self/status`, expect: /1/ },
  {
    sh: `${RUN} --rm --ulimit nofile=100:200 --ulimit core=0 box sh -c 'ulimit -n; ulimit -Hn; ulimit -c'`,
    expect: /^100\n200\n0\n$/,
  },
  {
    sh:
      `${RUN} --rm --sysctl kernel.msgmax=4096 --sysctl net.ipv4.ip_forward=1 box cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward`,
    expect: /^4096\n1\n$/,
  },
  // Where the daemon lacks a capability, neither can.
  {
    sh:
      `${RUN} --rm --privileged box sh -c 'grep CapEff /proc/self/status; ls /dev | wc -l; grep -c " ro" /proc/mounts'`,
    status: "same",
  },
  { sh: `${RUN} --rm --oom-score-adj 321 box cat /proc/self/oom_score_adj`, expect: /^321$/m },
]);

same("namespaces are as asked", [
  { sh: `${RUN} --rm --init box sh -c 'tr "\\0" " " < /proc/1/cmdline'`, expect: /docker-init/ },
  {
    sh: `${RUN} --rm --hostname inside --domainname example.org box sh -c 'hostname; cat /proc/sys/kernel/domainname'`,
    expect: /^inside\nexample.org\n$/,
  },
  {
    sh: `${RUN} --rm --pid=host box sh -c 'test $$ -gt 2 && echo shared'`,
    expect: /shared/,
  },
  { sh: `${RUN} -d --name $N --ipc=shareable box sleep 100`, compare: "stdout" },
  {
    sh:
      `[ "$(docker exec $N readlink /proc/self/ns/ipc)" = "$(${RUN} --rm --ipc=container:$N --pid=container:$N box readlink /proc/self/ns/ipc)" ] && echo shared`,
    expect: /shared/,
  },
  REMOVE,
  { sh: `${RUN} --rm --uts=host --cgroupns=host box sh -c 'hostname'` },
  { sh: `${RUN} --rm box ip -o addr`, expect: /127.0.0.1/ },
  { sh: `docker run --runtime $RUNTIME --rm --network host box ip link | wc -l` },
]);

same("exec runs as asked in a container that runs", [
  { sh: START, compare: "stdout" },
  { sh: `docker exec $N sh -c 'echo out; echo err >&2; exit 6'`, status: 6 },
  { sh: `docker exec -u 1000:5 -w /tmp -e A=b $N sh -c 'id -u; id -g; pwd; echo $A'`, expect: /^1000\n5\n\/tmp\nb\n$/ },
  { sh: `echo typed | docker exec -i $N cat`, expect: /^typed$/m },
  { sh: onTerminal("docker exec -it $N sh -c 'tty; exit 9'"), status: 9 },
  { sh: `docker exec --privileged $N grep CapEff /proc/self/status`, status: "same", compare: "stdout" },
  { sh: "docker exec $N no-such-command", status: "same", compare: "nothing" },
  { sh: "docker exec $N /etc/passwd", status: "same", compare: "nothing" },
  { sh: "docker exec -d $N touch /tmp/detached && until docker exec $N test -e /tmp/detached; do sleep 0.1; done" },
  REMOVE,
]);

same("a container is stopped, restarted, signalled, waited for and logged", [
  { sh: START, compare: "stdout" },
  { sh: "until docker logs $N | grep -q started; do sleep 0.1; done" },
  { sh: "docker stop -t 20 $N; docker wait $N", expect: /^5$/m },
  { sh: "docker start $N && docker restart -t 20 $N && docker logs $N | sort -u", expect: /started/ },
  { sh: "docker kill -s USR2 $N; docker wait $N", expect: /^7$/m },
  { sh: "docker start $N; docker kill $N; docker wait $N", expect: /^137$/m },
  {
    sh: "docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' $N",
    expect: /^exited 137 false$/m,
  },
  REMOVE,
]);

same("a container is paused, updated and looked into", [
  { sh: START, compare: "stdout" },
  "docker pause $N",
  { sh: "docker exec $N true", status: 1, compare: "stdout" },
  { sh: "docker inspect -f '{{.State.Status}}' $N", expect: /^paused$/m },
  "docker unpause $N",
  "docker update -m 100m --memory-swap 200m --cpus 0.7 --cpu-shares 300 --pids-limit 77 $N",
  {
    sh: `pid=$(docker inspect -f '{{.State.Pid}}' $N)
      for file in memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max; do
        cat /sys/fs/cgroup/\${file%/*}$(grep -E ":(.*,)?\${file%/*}(,.*)?:" /proc/$pid/cgroup | cut -d: -f3)/\${file#*/}
      done`,
    expect: /^104857600\n70000\n300\n77\n$/,
  },
  // A shell's child has its arguments, too, until it executes a program.
  { sh: "docker top $N -o pid,args | sed 's/^[0-9]* *//' | sort -u | grep -c trap", expect: /^1$/m },
  REMOVE,
]);

same("statistics tell of a container that runs, and its end by lack of memory of that", [
  { sh: `${RUN} -d --name $N -m 64m box sleep 100`, compare: "stdout" },
  {
    sh: "docker stats --no-stream --format '{{.PIDs}} {{.MemUsage}}' $N",
    blur: [[/[0-9.]+[KM]iB \//, "some of"]],
    expect: /^1 [1-9].* \/ 64MiB$/m,
  },
  REMOVE,
  { sh: `${RUN} --rm -m 16m --memory-swap 16m box tail /dev/zero`, status: 137 },
]);

same("a container is attached to, started again with its streams, and restarted by itself", [
  {
    sh: `${RUN} -di --name $N box sh -c 'while read line && [ $line != end ]; do echo "read $line"; done; exit 4'`,
    compare: "stdout",
  },
  // What comes last may not reach who is attached, but the log.
  { sh: "(echo typed; echo end) | docker attach $N >/dev/null; echo $?; docker logs $N", expect: /^4\nread typed\n$/ },
  {
    sh: "(echo again; echo end) | docker start -ai $N >/dev/null; echo $?; docker logs $N",
    expect: /^4\nread typed\nread again\n$/,
  },
  REMOVE,
  {
    sh: `${RUN} -d --name $N --restart on-failure:2 box sh -c 'echo begun; exit 3' && docker wait $N
      until [ "$(docker inspect -f '{{.RestartCount}} {{.State.Status}}' $N)" = "2 exited" ]; do sleep 0.1; done
      docker logs $N`,
    expect: /(^begun$\n?){3}/m,
    compare: "nothing",
  },
  REMOVE,
]);

same("containers on a bridge reach each other", [
  {
    sh:
      `docker run --runtime $RUNTIME -d --name $N box sh -c 'while :; do echo from the bridge | nc -l -p 8080; done' >/dev/null
      address=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' $N)
      docker run --runtime $RUNTIME --rm box sh -c "until nc $address 8080 </dev/null; do sleep 0.1; done; ip -o addr show eth0 | wc -l" 2>/dev/null`,
    expect: /^from the bridge\n1\n$/,
  },
  REMOVE,
]);

same("a health check runs in the container", [
  {
    sh:
      `${RUN} -d --name $N --health-cmd 'test -e /tmp/healthy' --health-interval 100ms --health-retries 1 box sleep 100`,
    compare: "stdout",
  },
  { sh: `until [ "$(docker inspect -f '{{.State.Health.Status}}' $N)" = unhealthy ]; do sleep 0.1; done` },
  {
    sh:
      `docker exec $N touch /tmp/healthy; until [ "$(docker inspect -f '{{.State.Health.Status}}' $N)" = healthy ]; do sleep 0.1; done`,
  },
  REMOVE,
]);

const DOCKERFILE = `FROM box
RUN echo built > /result; id -u; cat /proc/self/status | grep -E 'Seccomp:|CapEff'; readlink /proc/self/ns/pid | cut -d: -f1
USER 1000
RUN id -u; test ! -w /result
CMD ["cat", "/result"]
`;

test("docker: build makes the same image, with and without BuildKit", NEEDS, async () => {
  const daemon = await docker();
  const { host } = daemon;
  const build = (buildkit: 0 | 1) => ({
    sh:
      `cat >Dockerfile <<'END'\n${DOCKERFILE}END\nDOCKER_BUILDKIT=${buildkit} docker build --no-cache --network none -t $N-${buildkit} . >log 2>&1 ||
      { cat log; exit 1; }`,
  });
  const script: Script = [0, 1].flatMap((kit) => [
    build(kit as 0 | 1),
    // The steps' own output, however the builder dresses it.
    { sh: `sed -E 's/^#[0-9]+ [0-9.]+ //' log | grep -E '^(Seccomp|CapEff|pid|[0-9]+$)'`, expect: /Seccomp:.2/ },
    { sh: `docker run --rm --network none $N-${kit}`, expect: /^built$/m },
    {
      sh: `sed -i 's/^RUN echo.*/RUN exit 7/' Dockerfile; DOCKER_BUILDKIT=${kit} docker build --network none . `,
      status: "same",
      compare: "nothing",
    },
    { sh: `docker rmi -f $N-${kit}`, compare: "nothing" },
  ]);
  const programs = { runc: which("runc")!, runk: await Deno.realPath(RUNK) };
  await compareSides(script, daemon.side("runc"), daemon.side("runk"), async ({ runtime }) => {
    for (const link of [host.runtimes.default, host.runtimes.runc]) {
      await host.turn(link, programs[runtime as "runc" | "runk"]);
    }
  });
  await host.turn(host.runtimes.runc, programs.runc);
});
