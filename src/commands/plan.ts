/** runk plan */
import { bundleDirectory } from "../bundle/open.ts";
import { prepare } from "../container/create.ts";
import { describePlan, planToJson, summarizePlan } from "../plan/describe.ts";
import { formatJson } from "../spec/json.ts";
import { absolute, cgroupManager, type Command } from "./command.ts";
import { BUNDLE_FLAG, CONFIG_FLAG } from "./create.ts";

export const command: Command = {
  flags: [
    BUNDLE_FLAG,
    CONFIG_FLAG,
    { name: "json", kind: "bool", help: "print the plan as JSON, for tools" },
    { name: "short", kind: "bool", help: "print only what the steps are for" },
    { name: "no-pivot", kind: "bool", help: "as for create" },
    { name: "no-new-keyring", kind: "bool", help: "as for create" },
  ],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Prints every step that "create" would take for a bundle, in order: the system
call with decoded arguments, what it is for, and where in config.json it comes
from. Nothing is made or changed, and no privilege is needed.

The host lane runs in a process in the host's namespaces, the container lane in
the process that becomes the container's. They meet where a line ends in "~~".
"result = call(...)" keeps a result under a name; "[ENOENT: ...]" lists the errors
that are no failure. Any other error ends the container lane, and has the host
lane take back what it had made.`,
  failurePrefix: (program) => `${program} plan failed`,
  run: async ({ runtime, globals, options, operands, print }) => {
    const { plan } = await prepare({ ...runtime, planCache: undefined }, {
      cgroupManager: cgroupManager(globals),
      id: operands[0]!,
      bundle: bundleDirectory(options.string("bundle")),
      configFile: absolute(options.string("config")) || undefined,
      attended: false,
      gate: "fifo",
      noPivot: options.bool("no-pivot"),
      noNewKeyring: options.bool("no-new-keyring"),
    });
    if (options.bool("json")) print(formatJson(planToJson(await plan()), "  ") + "\n");
    else print(options.bool("short") ? summarizePlan(await plan()) : describePlan(await plan()));
  },
};
