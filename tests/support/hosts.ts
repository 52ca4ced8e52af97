/** containerd, and dockerd upon it, in a temporary directory: their own state, sockets and cgroup. */
import { newId } from "./box.ts";
import { Daemon, sweep } from "./daemon.ts";
import { makeImage, PAUSE } from "./image.ts";
import { type Result, run, RUNK } from "./runk.ts";
import type { Side } from "./side_by_side.ts";
import { which } from "./test.ts";

/** Debian's; another docker in front of it on the PATH may not talk to its daemon. */
export const DOCKER = "/usr/bin/docker";

/** What a host for clients has, whatever the client. */
export class ClientHost {
  readonly directory: string;
  readonly image: string;
  /** The cgroup under which all containers are. */
  readonly cgroup = newId();
  /** Programs by runtime: symbolic links, which a test may turn to another program. */
  readonly runtimes: { readonly runc: string; readonly runk: string; readonly default: string };
  #sides = 0;

  private constructor(directory: string, image: string) {
    this.directory = directory;
    this.image = image;
    const link = (name: string) => `${directory}/bin/${name}`;
    this.runtimes = { runc: link("runc"), runk: link("runk"), default: link("default") };
  }

  static async create(): Promise<ClientHost> {
    const directory = await Deno.makeTempDir({ prefix: "runk-clients-" });
    // Daemons may serve users who are no one here.
    await Deno.chmod(directory, 0o711);
    const host = new ClientHost(directory, await makeImage(directory));
    await Deno.mkdir(`${directory}/bin`);
    for (const link of [host.runtimes.runc, host.runtimes.default]) await Deno.symlink(which("runc")!, link);
    await Deno.symlink(await Deno.realPath(RUNK), host.runtimes.runk);
    return host;
  }

  /** Makes a host and starts a client upon it; when that fails, nothing of either is left. */
  static async with<T>(start: (host: ClientHost) => Promise<T>): Promise<T> {
    const host = await ClientHost.create();
    try {
      return await start(host);
    } catch (error) {
      await host.remove();
      throw error;
    }
  }

  /** Makes one of the links lead to another program; a daemon that calls it calls that from now on. */
  async turn(link: string, program: string): Promise<void> {
    await Deno.symlink(program, `${link}.new`);
    await Deno.rename(`${link}.new`, link);
  }

  /** A side of a comparison, with a name and a directory of its own. */
  side(runtime: "runc" | "runk", env: Record<string, string> = {}): Side {
    const name = `${runtime === "runc" ? "theirs" : "our"}${++this.#sides}x${Deno.pid}`;
    const directory = `${this.directory}/${name}`;
    Deno.mkdirSync(directory);
    return { runtime, name, directory, env: { IMAGE_FILE: this.image, ...env } };
  }

  /** Ends everything that still runs, and removes the directory. */
  async remove(): Promise<void> {
    await sweep(this.directory, this.cgroup);
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** A containerd: Debian's, or the one whose programs are in a directory. */
export interface ContainerdOptions {
  readonly programs?: string | undefined;
  /** With the plugin that Kubernetes talks to, and who makes its cgroups. */
  readonly cri?: "cgroupfs" | "systemd";
}

export class Containerd {
  readonly host: ClientHost;
  readonly socket: string;
  /** With its ctr in front. */
  readonly path: string;
  #daemon: Daemon | undefined;

  private constructor(host: ClientHost, path: string) {
    this.host = host;
    this.socket = `${host.directory}/containerd.sock`;
    this.path = path;
  }

  static async start(host: ClientHost, { programs, cri }: ContainerdOptions = {}): Promise<Containerd> {
    const path = `${Deno.env.get("PATH")}:/usr/sbin:/sbin`;
    const containerd = new Containerd(host, programs === undefined ? path : `${programs}:${path}`);
    const { directory } = host;
    const disabled = [...(cri === undefined ? ["grpc.v1.cri"] : []), "internal.v1.opt", "nri.v1.nri", ...snapshotters]
      .map((name) => `"io.containerd.${name}"`);
    await Deno.writeTextFile(
      `${directory}/containerd.toml`,
      `version = 2
root = "${directory}/containerd"
state = "${directory}/containerd-state"
disabled_plugins = [${disabled.join(", ")}]
[grpc]
address = "${containerd.socket}"
[ttrpc]
address = "${containerd.socket}.ttrpc"
${cri === undefined ? "" : criConfig(host, cri)}`,
    );
    await containerd.restart();
    return containerd;
  }

  /** Starts it, again when it has ended. */
  async restart(): Promise<void> {
    this.#daemon = await Daemon.start({
      program: "containerd",
      args: ["-c", `${this.host.directory}/containerd.toml`],
      env: { PATH: this.path },
      log: `${this.host.directory}/containerd.log`,
      isReady: async () => (await this.ctr("version")).status === 0,
    });
  }

  ctr = (...args: string[]): Promise<Result> =>
    run("ctr", ["--address", this.socket, ...args], { env: { PATH: this.path } });

  stop = (): Promise<void> => this.#daemon!.stop();
  kill = (): Promise<void> => this.#daemon!.kill();
}

/**
 * What CRI needs here: an image of its own for what holds a pod together, no attempt to lower oom_score_adj where the
 * machine forbids it, no directories of the machine's.
 */
function criConfig({ directory, runtimes }: ClientHost, cgroups: "cgroupfs" | "systemd"): string {
  const plugin = 'plugins."io.containerd.grpc.v1.cri"';
  const runtime = (name: "runc" | "runk") => `
[${plugin}.containerd.runtimes.${name}]
runtime_type = "io.containerd.runc.v2"
[${plugin}.containerd.runtimes.${name}.options]
BinaryName = "${runtimes[name]}"
Root = "${directory}/runtime-root"
SystemdCgroup = ${cgroups === "systemd"}
`;
  return `
[${plugin}]
sandbox_image = "${PAUSE}"
restrict_oom_score_adj = true
[${plugin}.cni]
conf_dir = "${directory}/cni"
${runtime("runc")}${runtime("runk")}`;
}

const snapshotters = ["btrfs", "zfs", "devmapper", "aufs"].map((name) => `snapshotter.v1.${name}`);

export interface DockerOptions {
  /** Further options of dockerd. */
  readonly options?: readonly string[];
  /** With its default network, in a network namespace of its own: the host's is left as it is. */
  readonly hasBridge?: boolean;
}

/** A dockerd, without networks if not asked for. Its runtimes are called runc, runk, and default: what it builds with. */
export class Docker {
  readonly host: ClientHost;
  readonly env: Record<string, string>;
  /** containerd's. */
  readonly socket: string;
  readonly #containerd: Containerd;
  readonly #daemon: Daemon;

  private constructor(host: ClientHost, containerd: Containerd, daemon: Daemon, env: Record<string, string>) {
    this.host = host;
    this.env = env;
    this.socket = containerd.socket;
    this.#containerd = containerd;
    this.#daemon = daemon;
  }

  static async start(host: ClientHost, { options: more = [], hasBridge = false }: DockerOptions = {}): Promise<Docker> {
    const containerd = await Containerd.start(host);
    const { directory } = host;
    const env = { DOCKER_HOST: `unix://${directory}/docker.sock`, DOCKER_CONFIG: directory };
    await Deno.writeTextFile(`${directory}/daemon.json`, "{}");
    const options = {
      "--config-file": `${directory}/daemon.json`,
      "--containerd": containerd.socket,
      "--data-root": `${directory}/docker`,
      "--exec-root": `${directory}/docker-exec`,
      "--pidfile": `${directory}/docker.pid`,
      "--host": env.DOCKER_HOST,
      ...(hasBridge ? {} : { "--bridge": "none", "--iptables": "false" }),
      "--exec-opt": "native.cgroupdriver=cgroupfs",
      "--cgroup-parent": `/${host.cgroup}`,
      "--default-runtime": "default",
    };
    const daemon = await Daemon.start({
      program: hasBridge ? "unshare" : "dockerd",
      args: [
        ...(hasBridge ? ["--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", "dockerd"] : []),
        ...Object.entries(options).map(([name, value]) => `${name}=${value}`),
        `--add-runtime=runk=${host.runtimes.runk}`,
        `--add-runtime=default=${host.runtimes.default}`,
        ...more,
      ],
      // BuildKit takes the runc that it finds first.
      env: { PATH: `${directory}/bin:${Deno.env.get("PATH")}:/usr/sbin:/sbin` },
      log: `${directory}/dockerd.log`,
      isReady: async () => (await run(DOCKER, ["version"], { env })).status === 0,
    });
    const loaded = await run(DOCKER, ["load", "--input", host.image], { env });
    if (loaded.status !== 0) throw new Error(`docker load: ${loaded.stderr}`);
    return new Docker(host, containerd, daemon, env);
  }

  side(runtime: "runc" | "runk"): Side {
    return this.host.side(runtime, { ...this.env, PATH: `/usr/bin:/bin:${Deno.env.get("PATH")}` });
  }

  async stop(): Promise<void> {
    await this.#daemon.stop();
    await this.#containerd.stop();
    await this.host.remove();
  }
}
