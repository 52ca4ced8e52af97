/**
 * A box: a bundle with a busybox root file system and a state root of its own, in a temporary directory, for one test.
 * Disposing of it kills and deletes what is left of its containers, and then checks that nothing is left at all.
 */
import { type Result, run, RUNK, runk, type RunOptions } from "./runk.ts";
import { assertNothingLeft, type Before, lookAround } from "./leftovers.ts";

// deno-lint-ignore no-explicit-any
export type Config = any;

let count = 0;

/** An id that no other test (and no other run of the tests) uses. */
export const newId = (): string => `runk-test-${Deno.pid}-${++count}`;

const BUSYBOX = ["/bin/busybox", "/usr/bin/busybox"];
const APPLETS =
  "sh ash cat ls id env pwd sleep true false echo ps mount umount hostname touch mkdir rm ln readlink stat kill head tail grep wc cut sort tr dd nproc stty tty test mkfifo printf date seq od chmod chown mknod find dnsdomainname ip ifconfig su setsid yes awk sed nc"
    .split(" ");

/** The busybox binary of the machine. */
export function busybox(): string {
  for (const path of BUSYBOX) {
    try {
      Deno.statSync(path);
      return path;
    } catch {
      // not this one
    }
  }
  throw new Error("there is no busybox: install busybox-static");
}

/** A root file system that holds busybox, its applets and an /etc/passwd. */
export function makeRootfs(path: string): void {
  for (const directory of ["bin", "dev", "etc", "proc", "sys", "tmp", "root", "home/user"]) {
    Deno.mkdirSync(`${path}/${directory}`, { recursive: true });
  }
  Deno.copyFileSync(busybox(), `${path}/bin/busybox`);
  for (const name of APPLETS) Deno.symlinkSync("busybox", `${path}/bin/${name}`);
  Deno.writeTextFileSync(
    `${path}/etc/passwd`,
    "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:a user:/home/user:/bin/sh\n",
  );
  Deno.writeTextFileSync(`${path}/etc/group`, "root:x:0:\nuser:x:1000:\n");
}

let defaultConfig: Promise<string> | undefined;

/** What `runk spec` writes. */
async function spec(): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "runk-spec-" });
  const { status, stderr } = await runk(["spec"], { cwd: directory });
  if (status !== 0) throw new Error(`runk spec: ${stderr}`);
  const text = await Deno.readTextFile(`${directory}/config.json`);
  await Deno.remove(directory, { recursive: true });
  return text;
}

export interface BoxOptions {
  /** Changes the default config before it is written. */
  readonly config?: (config: Config) => void;
  /** What the container runs: `sh -c` with this text; the default spec's `sh` without it. */
  readonly script?: string;
}

export class Box implements AsyncDisposable {
  readonly directory: string;
  readonly root: string;
  readonly id = newId();
  readonly #before: Before;

  private constructor(directory: string, before: Before) {
    this.directory = directory;
    this.root = `${directory}/state`;
    this.#before = before;
  }

  static async create(options: BoxOptions = {}): Promise<Box> {
    const before = await lookAround();
    const directory = await Deno.makeTempDir({ prefix: "runk-test-" });
    // mktemp's 0700 would hide the bundle from a container's mapped users.
    await Deno.chmod(directory, 0o755);
    const box = new Box(directory, before);
    makeRootfs(box.rootfs);
    await box.write((config) => {
      config.process.terminal = false;
      if (options.script !== undefined) config.process.args = ["sh", "-c", options.script];
      options.config?.(config);
    });
    return box;
  }

  get rootfs(): string {
    return `${this.directory}/rootfs`;
  }

  /** Writes config.json: the default one, changed. */
  async write(change: (config: Config) => void): Promise<void> {
    const config = JSON.parse(await (defaultConfig ??= spec()));
    change(config);
    await Deno.writeTextFile(`${this.directory}/config.json`, JSON.stringify(config));
  }

  /** Runs a command with this box's state root, in its bundle. */
  runk(args: readonly string[], options: RunOptions = {}): Promise<Result> {
    return runk(["--root", this.root, ...args], { cwd: this.directory, ...options });
  }

  /** As runk, but expects success. */
  async ok(args: readonly string[], options: RunOptions = {}): Promise<Result> {
    const result = await this.runk(args, options);
    if (result.status !== 0) {
      throw new Error(`runk ${args.join(" ")} ended with ${result.status}: ${result.stderr}${result.stdout}`);
    }
    return result;
  }

  /** The same bundle under another runtime, with a state root of its own. */
  other(program: string, args: readonly string[], options: RunOptions = {}): Promise<Result> {
    return run(program, ["--root", `${this.directory}/other-state`, ...args], { cwd: this.directory, ...options });
  }

  /** What `state` says. */
  async state(id = this.id): Promise<{ status: string; pid: number; [key: string]: unknown }> {
    return JSON.parse((await this.ok(["state", id])).stdout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const id of ids(this.root)) await this.runk(["delete", "--force", id]);
    for (const id of ids(`${this.directory}/other-state`)) await this.other("runc", ["delete", "--force", id]);
    await assertNothingLeft(this.#before, this);
    await Deno.remove(this.directory, { recursive: true });
  }
}

function ids(root: string): string[] {
  try {
    return [...Deno.readDirSync(root)].map(({ name }) => name);
  } catch {
    return [];
  }
}

export { RUNK };
