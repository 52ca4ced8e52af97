/** Whole commands of the daemons that call a runtime, and a hundred execs. */
import { Containerd, DOCKER, Docker } from "../../../tests/support/hosts.ts";
import { ClientHost } from "../../../tests/support/hosts.ts";
import { IMAGE } from "../../../tests/support/image.ts";
import { sweep } from "../../../tests/support/daemon.ts";
import { run } from "../../../tests/support/runk.ts";
import type { Costs } from "./costs.ts";
import type { Runtimes } from "./runtimes.ts";

const EXECS = 100;
const RUNTIMES = ["runk", "runc"] as const;
const nameOf = (runtime: typeof RUNTIMES[number]) => (runtime === "runk" ? "runk.js" : runtime);

/** Measures commands of Docker and Podman, and a hundred execs, under each runtime. */
export async function clients(runtimes: Runtimes, costs: Costs, runs: number): Promise<void> {
  hundredExecs(runtimes);
  const docker = await ClientHost.with(Docker.start);
  try {
    for (let i = 0; i <= runs; i++) {
      for (const runtime of RUNTIMES) {
        const args = ["run", "--rm", "--network=none", `--runtime=${runtime}`, "box", "true"];
        const name = i === 0 ? "docker run, first" : "docker run --rm";
        costs.measure(name, nameOf(runtime), DOCKER, args, docker.env);
      }
    }
  } finally {
    await docker.stop();
  }
  const containerd = await ClientHost.with(Containerd.start);
  try {
    const ctr = ["-a", containerd.socket];
    const loaded = await run("ctr", [...ctr, "images", "import", containerd.host.image]);
    if (loaded.status !== 0) throw new Error(`ctr images import: ${loaded.stderr}`);
    for (let i = 0; i < runs; i++) {
      for (const runtime of RUNTIMES) {
        const args = [
          "run",
          "--rm",
          "--runc-binary",
          containerd.host.runtimes[runtime],
          IMAGE,
          runtimes.newId(),
          "true",
        ];
        costs.measure("ctr run --rm", nameOf(runtime), "ctr", [...ctr, ...args]);
      }
    }
  } finally {
    await containerd.stop();
    await containerd.host.remove();
  }
  try {
    podman(runtimes, costs, runs);
  } finally {
    // Its storage stays mounted.
    await sweep(`${runtimes.directory}/podman-storage`, runtimes.newId());
  }
}

/** Podman needs no daemon: a root file system from a directory; storage and locks of its own. */
function podman(runtimes: Runtimes, costs: Costs, runs: number): void {
  const rootfs = `${runtimes.bundle("podman-root", ["/bin/true"])}/rootfs`;
  const storage = [`--root=${runtimes.directory}/podman-storage`, `--runroot=${runtimes.directory}/podman-run`];
  const config = `${runtimes.directory}/containers.conf`;
  Deno.writeTextFileSync(config, '[engine]\nlock_type = "file"\n');
  const limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
  for (let i = 0; i < runs; i++) {
    for (const program of runtimes.programs) {
      const args = [...storage, "--cgroup-manager=cgroupfs", `--runtime=${program.path}`];
      const command = ["run", "--rm", "--network=host", ...limits, "--rootfs", rootfs, "/bin/true"];
      costs.measure("podman run --rm", program.name, "podman", [...args, ...command], { CONTAINERS_CONF: config });
    }
  }
}

/** A hundred execs in one container, as one operation. */
function hundredExecs(runtimes: Runtimes): void {
  const bundle = runtimes.bundle("execs", ["/bin/sleep", "1000"]);
  for (const program of runtimes.programs) {
    const id = runtimes.newId();
    runtimes.quietly(program, ["run", "--detach", "--bundle", bundle, id]);
    const [root, state] = runtimes.arguments(program, []);
    const script = `i=0; while [ $i -lt ${EXECS} ]; do "$1" "$2" "$3" exec "$4" /bin/true || exit 1; i=$((i+1)); done`;
    const args = ["-c", script, "sh", program.path, root!, state!, id];
    runtimes.costs.measure(`exec of /bin/true, ${EXECS} times`, program.name, "/bin/sh", args);
    runtimes.output(program, ["delete", "--force", id]);
  }
}
