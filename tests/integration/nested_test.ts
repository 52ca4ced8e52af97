/** runk in a container of runk. */
import assert from "node:assert/strict";
import { Box, makeRootfs, RUNK } from "../support/box.ts";
import { isV2 } from "../support/cgroups.ts";
import { exists, test } from "../support/test.ts";

/** Directories that a program of the host needs to run in a container: its libraries, itself, its interpreter. */
function neededBy(program: string): string[] {
  const directory = (path: string) => path.slice(0, path.lastIndexOf("/"));
  const start = new TextDecoder().decode(Deno.readFileSync(program).subarray(0, 256));
  const interpreter = /exec '([^']+)'/.exec(start)?.[1];
  const files = [program, ...(interpreter === undefined ? [] : [interpreter, Deno.realPathSync(interpreter)])];
  const system = ["/usr", "/lib", "/lib64", "/bin"].filter(exists).filter((path) => !Deno.lstatSync(path).isSymlink);
  return [...new Set([...system, ...files.map(directory)])].filter((path, _, all) =>
    !all.some((other) => other !== path && path.startsWith(other + "/"))
  );
}

const LINKS = ["/lib", "/lib64"];

test("a container runs in a container, in cgroups below those of the outer one, with what the outer one may do", [
  "root",
  "cgroups",
], async () => {
  const program = Deno.realPathSync(RUNK);
  await using box = await Box.create();
  const inner = `${box.directory}/inner`;
  Deno.mkdirSync(inner);
  makeRootfs(`${inner}/rootfs`);
  Deno.copyFileSync(`${box.directory}/config.json`, `${inner}/config.json`);
  const config = JSON.parse(Deno.readTextFileSync(`${inner}/config.json`));
  config.process.terminal = false;
  config.process.args = ["sh", "-c", "echo pid $$; cat /proc/self/cgroup"];
  config.linux.resources.pids = { limit: 20 };
  config.linux.namespaces = config.linux.namespaces.filter(({ type }: { type: string }) => type !== "cgroup");
  Deno.writeTextFileSync(`${inner}/config.json`, JSON.stringify(config));
  for (const path of LINKS) {
    if (exists(path) && Deno.lstatSync(path).isSymlink) Deno.symlinkSync(Deno.readLinkSync(path), box.rootfs + path);
  }
  await box.write((c) => {
    c.process.terminal = false;
    c.process.args = [program, "--root", "/tmp/state", "run", "inner"];
    c.process.cwd = "/inner";
    c.process.env.push("HOME=/tmp");
    c.root.readonly = false;
    for (const set of ["bounding", "effective", "permitted"]) c.process.capabilities[set] = ALL_CAPABILITIES;
    if (!isV2) c.linux.namespaces.push({ type: "cgroup" });
    delete c.linux.maskedPaths;
    delete c.linux.readonlyPaths;
    for (const mount of c.mounts) {
      if (mount.type === "cgroup") mount.options = mount.options.filter((option: string) => option !== "ro");
    }
    const bind = (source: string, destination: string, mode: string) => ({
      type: "bind",
      source,
      destination,
      options: ["rbind", mode],
    });
    c.mounts.push(bind(inner, "/inner", "rw"), ...neededBy(program).map((path) => bind(path, path, "ro")));
  });
  const { status, stdout, stderr } = await box.runk(["run", box.id]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^pid 1\n/);
  const where = isV2 ? "0:" : ":pids";
  assert.match(stdout, new RegExp(`${where}:.*/${box.id}/inner$|${where}:/inner$`, "m"));
  assert.ok(!exists(`/sys/fs/cgroup/${isV2 ? "" : "pids/"}${box.id}`));
});

const ALL_CAPABILITIES = [
  ..."CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_ADMIN SYS_CHROOT SYS_ADMIN SYS_PTRACE MKNOD"
    .split(" "),
  ..."SETFCAP AUDIT_WRITE NET_BIND_SERVICE DAC_READ_SEARCH".split(" "),
].map((name) => `CAP_${name}`);
