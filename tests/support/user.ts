/** An ordinary user of the machine, made for a test, with a bundle and a place for state. */
import assert from "node:assert/strict";
import { makeRootfs, newId } from "./box.ts";
import { cgroupsNamed, processesNaming } from "./daemon.ts";
import { type Result, run, RUNK } from "./runk.ts";
import { exists } from "./test.ts";

const SUBORDINATE = 65_536;

// deno-lint-ignore no-explicit-any
type Config = any;

/** A user of the test's own, with a bundle and a place for state. */
export class User implements AsyncDisposable {
  readonly directory: string;
  readonly uid: number;
  /** The first of the ids that are the user's beside the own one. */
  readonly subordinate: number;
  readonly id = newId();

  private constructor(readonly name: string, directory: string, uid: number, subordinate: number) {
    this.directory = directory;
    this.uid = uid;
    this.subordinate = subordinate;
  }

  static async create(): Promise<User> {
    const name = `rl${Deno.pid}x${newId().split("-").at(-1)}`;
    await succeed("useradd", ["--no-create-home", name]);
    const uid = Number((await succeed("id", ["-u", name])).stdout);
    const ids = /^\w+:(\d+):/m.exec(
      Deno.readTextFileSync("/etc/subuid").split("\n").find((line) => line.startsWith(`${name}:`)) ?? "",
    );
    const directory = await Deno.makeTempDir({ prefix: "runk-test-rootless-" });
    await Deno.chmod(directory, 0o755);
    makeRootfs(`${directory}/rootfs`);
    await Deno.mkdir(`${directory}/run`);
    await programFor(directory);
    await succeed("chown", ["-R", `${name}:`, `${directory}/rootfs`, `${directory}/run`, directory]);
    return new User(name, directory, uid, Number(ids?.[1] ?? 0));
  }

  /** Runs a command as the user, in the bundle. */
  run(program: string, args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
    const setpriv = [`--reuid=${this.uid}`, `--regid=${this.uid}`, "--clear-groups", "--"];
    return run("setpriv", [...setpriv, program, ...args], {
      cwd: this.directory,
      env: { HOME: "/nonexistent", USER: this.name, XDG_RUNTIME_DIR: `${this.directory}/run`, ...env },
    });
  }

  runk = (args: readonly string[]): Promise<Result> => this.run(`${this.directory}/bin/runk`, args);

  async ok(args: readonly string[]): Promise<Result> {
    const result = await this.runk(args);
    assert.equal(result.status, 0, `runk ${args.join(" ")}: ${result.stderr}`);
    return result;
  }

  /** Writes the config of `spec --rootless`, changed. */
  async write(script: string, change: (config: Config) => void = () => {}): Promise<void> {
    await Deno.remove(`${this.directory}/config.json`).catch(() => {});
    await this.ok(["spec", "--rootless"]);
    const config = JSON.parse(await Deno.readTextFile(`${this.directory}/config.json`));
    config.process.terminal = false;
    config.process.args = ["sh", "-c", script];
    change(config);
    await Deno.writeTextFile(`${this.directory}/config.json`, JSON.stringify(config));
  }

  /** Maps root to the user, and what follows to the user's other ids. */
  mapAll(config: Config): void {
    const mappings = () => [
      { containerID: 0, hostID: this.uid, size: 1 },
      { containerID: 1, hostID: this.subordinate, size: SUBORDINATE },
    ];
    Object.assign(config.linux, { uidMappings: mappings(), gidMappings: mappings() });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const state = `${this.directory}/run/runk`;
    for (const id of exists(state) ? [...Deno.readDirSync(state)].map(({ name }) => name) : []) {
      await this.runk(["delete", "--force", id]);
    }
    const left = [
      ...(exists(state) ? [...Deno.readDirSync(state)].map(({ name }) => `state ${name}`) : []),
      ...cgroupsNamed(this.id).map((path) => `cgroup ${path}`),
      ...processesNaming(`${this.directory}/bin/runk`).map((pid) => `process ${pid}`),
    ];
    await Deno.remove(this.directory, { recursive: true });
    await run("userdel", [this.name]);
    assert.deepEqual(left, [], "left behind");
  }
}

/**
 * The program under test as DIRECTORY/bin/runk, for every user to run, wherever root keeps it and the deno in its second
 * line. @returns its path
 */
export async function programFor(directory: string): Promise<string> {
  const bin = `${directory}/bin`;
  await Deno.mkdir(bin);
  const program = new TextDecoder("latin1").decode((await Deno.readFile(RUNK)).subarray(0, 2048));
  const deno = /^DENO_\w+=.* exec '([^']+)' /m.exec(program)?.[1];
  if (deno === undefined) {
    await Deno.copyFile(RUNK, `${bin}/runk`);
  } else {
    await Deno.copyFile(deno, `${bin}/deno`);
    await Deno.chmod(`${bin}/deno`, 0o755);
    const text = await Deno.readTextFile(RUNK);
    await Deno.writeTextFile(`${bin}/runk`, text.replace(`'${deno}'`, `'${bin}/deno'`));
  }
  await Deno.chmod(`${bin}/runk`, 0o755);
  return `${bin}/runk`;
}

async function succeed(program: string, args: readonly string[]): Promise<Result> {
  const result = await run(program, args);
  if (result.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${result.stderr}`);
  return result;
}
