/** Configs that ask for much: what each costs beside runc. */
import { exists } from "../../files.ts";
import type { Note } from "./lifecycle.ts";
import type { Runtimes } from "./runtimes.ts";

const DOCKER = new URL("../../../tests/fixtures/configs/docker-default.json", import.meta.url);
const BIND_MOUNTS = 100;
const LAYERS = 64;
/** Where runk keeps plans by default. */
const PLANS = "/run/runk-plans";
/** What a pod's container has on Kubernetes: limits, and the devices that every client allows. */
const POD = {
  cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: "0-1" },
  memory: { limit: 256 * 1024 * 1024 },
  pids: { limit: 1024 },
};
const POD_DEVICES: readonly (readonly [string, number | undefined, number | undefined, string])[] = [
  ...[["c", undefined, undefined, "m"], ["b", undefined, undefined, "m"]] as const,
  ...[["c", 1, 3, "rwm"], ["c", 1, 8, "rwm"], ["c", 1, 7, "rwm"], ["c", 5, 0, "rwm"], ["c", 1, 5, "rwm"]] as const,
  ...[["c", 1, 9, "rwm"], ["c", 5, 1, "rwm"], ["c", 136, undefined, "rwm"], ["c", 5, 2, "rwm"]] as const,
];

/** Measures `run` of configs that ask for more than the default one. */
export function configs(runtimes: Runtimes, runs: number): Note[] {
  const bundles = {
    "run, Docker's seccomp profile": runtimes.bundle("seccomp", ["/bin/true"], (config) => {
      config.linux.seccomp = JSON.parse(Deno.readTextFileSync(DOCKER)).linux.seccomp;
    }),
    [`run, ${BIND_MOUNTS} bind mounts`]: runtimes.bundle("binds", ["/bin/true"], (config, bundle) => {
      for (let i = 0; i < BIND_MOUNTS; i++) {
        Deno.mkdirSync(`${bundle}/source${i}`);
        Deno.mkdirSync(`${bundle}/rootfs/mnt/${i}`);
        config.mounts.push({ destination: `/mnt/${i}`, source: `${bundle}/source${i}`, options: ["bind", "ro"] });
      }
    }),
    "run, user namespace": runtimes.bundle("userns", ["/bin/true"], (config) => {
      config.linux.namespaces.push({ type: "user" });
      for (const kind of ["uidMappings", "gidMappings"]) {
        config.linux[kind] = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
      }
    }),
    [`run, overlay of ${LAYERS} layers`]: runtimes.bundle("overlay", ["/bin/true"], (config, bundle) => {
      const layers = Array.from({ length: LAYERS }, (_, i) => `${bundle}/l${i}`);
      for (const layer of layers) Deno.mkdirSync(layer);
      const options = [`lowerdir=${layers.join(":")}`];
      config.mounts.push({ destination: "/mnt", type: "overlay", source: "overlay", options });
    }),
  };
  const pod = runtimes.bundle("pod", ["/bin/sleep", "1000"], (config) => {
    const devices = POD_DEVICES.map(([type, major, minor, access]) => ({ allow: true, type, major, minor, access }));
    config.linux.resources = { ...POD, devices: [{ allow: false, access: "rwm" }, ...devices] };
  });
  const measure = (operation: string, bundle: string) => {
    for (const program of runtimes.programs) {
      runtimes.measure(operation, program, ["run", "--bundle", bundle, runtimes.newId()]);
    }
  };
  for (const bundle of Object.values(bundles)) {
    for (const program of runtimes.programs) runtimes.output(program, ["run", "--bundle", bundle, runtimes.newId()]);
  }
  for (let i = 0; i < runs; i++) {
    for (const [operation, bundle] of Object.entries(bundles)) measure(operation, bundle);
    podLife(runtimes, pod);
  }
  for (let i = 0; i < runs; i++) {
    if (exists(PLANS)) Deno.removeSync(PLANS, { recursive: true });
    measure("run, Docker's profile, nothing kept", bundles["run, Docker's seccomp profile"]!);
  }
  return [];
}

/** create, start and delete of a pod's container as one operation: three commands of a shell. */
function podLife(runtimes: Runtimes, bundle: string): void {
  for (const program of runtimes.programs) {
    const id = runtimes.newId();
    const [root, state] = runtimes.arguments(program, []);
    const script = '"$1" "$2" "$3" create -b "$4" "$5" && "$1" "$2" "$3" start "$5" && "$1" "$2" "$3" delete -f "$5"';
    const args = ["-c", script, "sh", program.path, root!, state!, bundle, id];
    runtimes.costs.measure("create, start, delete with a pod's limits", program.name, "/bin/sh", args);
  }
}
