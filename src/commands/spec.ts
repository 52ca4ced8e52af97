/** runk spec */
import { describeFileError, RunkError } from "../errors.ts";
import { probeHost } from "../host/probe.ts";
import { defaultSpec, rootlessSpec } from "../spec/defaults.ts";
import { formatJson } from "../spec/json.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  flags: [
    {
      name: "bundle",
      short: "b",
      kind: "string",
      value: "directory",
      help: "directory to write config.json to (default: the current directory)",
    },
    { name: "rootless", kind: "bool", help: "write a config for a container of an ordinary user" },
  ],
  operands: [0, 0],
  usage: "",
  help: `Writes a config.json that runs "sh" in the root file system under "rootfs".

EXAMPLE:
   # mkdir -p box/rootfs && cd box
   # cp -a /path/to/a/root/file/system/. rootfs
   # runk spec
   # runk run box

The file is yours to edit; it is described in
https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md.`,
  run: ({ runtime, options }) => {
    const directory = options.string("bundle");
    const path = directory === "" ? "config.json" : `${directory}/config.json`;
    const { cgroups, uid, gid } = probeHost();
    const base = defaultSpec({ hostname: runtime.program, cgroup2: cgroups.version === "v2" });
    const spec = options.bool("rootless") ? rootlessSpec(base, { uid, gid }) : base;
    try {
      Deno.writeTextFileSync(path, formatJson(spec, "\t"), { createNew: true });
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) throw new RunkError("File config.json exists. Remove it first");
      throw new RunkError(describeFileError("cannot write", path, error));
    }
  },
};
