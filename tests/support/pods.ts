/** Pods as a kubelet makes them, over CRI: on the host's network, with the image that the tests make. */
import type { JsonObject } from "@bufbuild/protobuf";
import { DEBIAN, type Release } from "./containerd_releases.ts";
import { CONTAINER_STATES, Cri, type Exec, MODE } from "./cri.ts";
import { ClientHost, Containerd } from "./hosts.ts";
import { IMAGE, makeImage, PAUSE } from "./image.ts";
import { until } from "./test.ts";

export interface PodOptions {
  /** The runtime's name in containerd's configuration. */
  readonly runtime: string;
  readonly cgroupParent: string;
  readonly name: string;
  /** NamespaceOption, on top of the host's network. */
  readonly namespaces?: JsonObject;
  readonly sysctls?: Record<string, string>;
}

export interface ContainerOptions {
  /** ContainerConfig. */
  readonly config?: JsonObject;
  /** LinuxContainerResources. */
  readonly resources?: JsonObject;
  /** LinuxContainerSecurityContext. */
  readonly security?: JsonObject;
}

export interface ContainerStatus {
  readonly state: typeof CONTAINER_STATES[number];
  readonly exit_code: number;
  readonly reason: string;
  readonly message: string;
}

/** What a kubelet has on its machine: a containerd with CRI, and the images that it runs. */
export class Node implements AsyncDisposable {
  readonly cri: Cri;
  readonly containerd: Containerd;

  private constructor(containerd: Containerd) {
    this.cri = new Cri(containerd.socket);
    this.containerd = containerd;
  }

  static async start(release: Release, cgroups: "cgroupfs" | "systemd" = "cgroupfs"): Promise<Node> {
    const containerd = await ClientHost.with(async (host) => {
      const containerd = await Containerd.start(host, { programs: release.programs, cri: cgroups });
      const pause = await makeImage(host.directory, { tag: PAUSE, command: ["sleep", "100000"] });
      for (const file of [host.image, pause]) {
        const local = release === DEBIAN ? [] : ["--local"];
        const { status, stderr } = await containerd.ctr("--namespace", "k8s.io", "images", "import", ...local, file);
        if (status !== 0) throw new Error(`ctr images import: ${stderr}`);
      }
      return containerd;
    });
    return new Node(containerd);
  }

  pod = (options: PodOptions): Promise<Pod> => Pod.run(this, options);

  async [Symbol.asyncDispose](): Promise<void> {
    this.cri[Symbol.dispose]();
    await this.containerd.stop();
    await this.containerd.host.remove();
  }
}

/** A pod that runs. Disposing of it removes it with its containers. */
export class Pod implements AsyncDisposable {
  readonly cri: Cri;
  readonly id: string;
  readonly #directory: string;
  readonly #config: JsonObject;
  readonly #options: PodOptions;
  #count = 0;

  private constructor({ cri, containerd }: Node, id: string, config: JsonObject, options: PodOptions) {
    this.cri = cri;
    this.id = id;
    this.#directory = containerd.host.directory;
    this.#config = config;
    this.#options = options;
  }

  static async run(node: Node, options: PodOptions): Promise<Pod> {
    const { runtime, cgroupParent, name, namespaces, sysctls } = options;
    const config = {
      metadata: { name, uid: name, namespace: "tests" },
      log_directory: node.containerd.host.directory,
      linux: {
        cgroup_parent: cgroupParent,
        security_context: { namespace_options: { network: MODE.NODE, pid: MODE.CONTAINER, ...namespaces } },
        ...(sysctls === undefined ? {} : { sysctls }),
      },
    };
    const { pod_sandbox_id } = await node.cri.call<{ pod_sandbox_id: string }>("RunPodSandbox", {
      config,
      runtime_handler: runtime,
    });
    return new Pod(node, pod_sandbox_id, config, options);
  }

  /** Creates a container that runs a script of the shell, and does not start it. */
  async create(script: string, { config, resources, security }: ContainerOptions = {}): Promise<Container> {
    const name = `c${++this.#count}`;
    const { namespaces } = this.#options;
    const log = `${this.#options.name}-${name}.log`;
    const { container_id } = await this.cri.call<{ container_id: string }>("CreateContainer", {
      pod_sandbox_id: this.id,
      sandbox_config: this.#config,
      config: {
        metadata: { name },
        image: { image: IMAGE },
        command: ["sh", "-c", script],
        log_path: log,
        linux: {
          resources: resources ?? {},
          security_context: {
            namespace_options: { network: MODE.NODE, pid: MODE.CONTAINER, ...namespaces },
            ...security,
          },
        },
        ...config,
      },
    });
    return new Container(this.cri, container_id, `${this.#directory}/${log}`);
  }

  async start(script: string, options: ContainerOptions = {}): Promise<Container> {
    const container = await this.create(script, options);
    await container.call("StartContainer");
    return container;
  }

  async state(): Promise<"ready" | "not ready"> {
    const { status } = await this.cri.call<{ status: { state: number } }>("PodSandboxStatus", {
      pod_sandbox_id: this.id,
    });
    return status.state === 0 ? "ready" : "not ready";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const method of ["StopPodSandbox", "RemovePodSandbox"]) {
      await this.cri.call(method, { pod_sandbox_id: this.id });
    }
  }
}

export class Container {
  readonly cri: Cri;
  readonly id: string;
  readonly #log: string;

  constructor(cri: Cri, id: string, log: string) {
    this.cri = cri;
    this.id = id;
    this.#log = log;
  }

  call<Response>(method: string, request: JsonObject = {}): Promise<Response> {
    return this.cri.call<Response>(method, { container_id: this.id, ...request });
  }

  exec = (...command: string[]): Promise<Exec> => this.cri.execSync(this.id, command);

  async status(): Promise<ContainerStatus> {
    type Status = Omit<ContainerStatus, "state"> & { readonly state: number };
    const { state, exit_code, reason, message } = (await this.call<{ status: Status }>("ContainerStatus")).status;
    return { state: CONTAINER_STATES[state]!, exit_code, reason, message };
  }

  /** Waits until it has ended. */
  async end(): Promise<ContainerStatus> {
    let status: ContainerStatus | undefined;
    await until(`${this.id} has ended`, async () => (status = await this.status()).state === "exited");
    return status!;
  }

  /** What is logged of one of its streams. */
  log(stream: "stdout" | "stderr" = "stdout"): string {
    // Each line is: the time, the stream, F or P, and what was printed.
    const lines = Deno.readTextFileSync(this.#log).matchAll(/^\S+ (stdout|stderr) [FP] (.*\n)/gm);
    return [...lines].filter(([, of]) => of === stream).map(([, , text]) => text).join("");
  }
}
