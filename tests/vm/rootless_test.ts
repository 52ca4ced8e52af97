/**
 * Containers of an ordinary user in cgroups that systemd delegates to the user's session, by either driver. Run by
 * `deno task test:vm`, and by itself on any such host.
 */
import assert from "node:assert/strict";
import { makeRootfs } from "../support/box.ts";
import { run, RUNK } from "../support/runk.ts";
import { exists, test, until } from "../support/test.ts";
import { NEEDS, ok, read, ROOT } from "./guest.ts";

/** A user with a session that lasts, and a bundle in the user's home; gone with its scope. */
class Account implements AsyncDisposable {
  readonly name = `runk-test-${Deno.pid}`;
  uid = 0;
  readonly home = `/home/${this.name}`;

  static async create(): Promise<Account> {
    const account = new Account();
    await ok("useradd", "--create-home", account.name);
    account.uid = Number(await ok("id", "-u", account.name));
    await ok("loginctl", "enable-linger", account.name);
    await until("the session is there", () => exists(`/run/user/${account.uid}/bus`));
    makeRootfs(`${account.home}/rootfs`);
    await ok("chown", "-R", account.name, account.home);
    return account;
  }

  /** Runs a command as a service of the user's session: there the user's own cgroups begin. */
  async run(...command: string[]): Promise<string> {
    const environment = [`XDG_RUNTIME_DIR=/run/user/${this.uid}`, `HOME=${this.home}`, "DENO_NO_UPDATE_CHECK=1"];
    const service = [
      "systemd-run",
      "--user",
      "--quiet",
      "--wait",
      "--pipe",
      "--collect",
      "--working-directory",
      this.home,
    ];
    return await ok("runuser", "-u", this.name, "--", "env", ...environment, ...service, ...command);
  }

  async write(limit: number): Promise<void> {
    await run("rm", ["-f", `${this.home}/config.json`]);
    await this.run(RUNK, "spec", "--rootless");
    const path = `${this.home}/config.json`;
    const config = JSON.parse(await Deno.readTextFile(path));
    config.process.terminal = false;
    config.process.args = ["sleep", "100"];
    config.linux.resources = { pids: { limit } };
    await Deno.writeTextFile(path, JSON.stringify(config));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ok("loginctl", "disable-linger", this.name);
    await run("loginctl", ["terminate-user", this.name]);
    await until("the session has ended", async () => (await run("pgrep", ["-u", String(this.uid)])).status !== 0);
    await ok("userdel", "--remove", this.name);
  }
}

test("an ordinary user's containers have limits in cgroups of the user's session", NEEDS, async () => {
  await using account = await Account.create();
  const session = `/user.slice/user-${account.uid}.slice/user@${account.uid}.service`;
  const pidOf = () => read(account.home, "pid");
  const root = ["--root", `/run/user/${account.uid}/containers`];

  await account.write(17);
  await account.run(RUNK, ...root, "--systemd-cgroup", "create", "--pid-file", "pid", "scope");
  const scope = read(`/proc/${pidOf()}`, "cgroup").slice("0::".length);
  assert.equal(scope, `${session}/user.slice/runc-scope.scope`);
  assert.equal(read(ROOT + scope, "pids.max"), "17");
  await account.run(RUNK, ...root, "delete", "--force", "scope");
  assert.ok(!exists(ROOT + scope));

  await account.run(RUNK, ...root, "create", "--pid-file", "pid", "plain");
  const plain = read(`/proc/${pidOf()}`, "cgroup").slice("0::".length);
  assert.equal(plain, `${session}/app.slice/plain`);
  assert.equal(read(ROOT + plain, "pids.max"), "17");
  await account.run(RUNK, ...root, "delete", "--force", "plain");
  assert.ok(!exists(ROOT + plain));
});
