/** runk completion */
import { RunkError } from "../errors.ts";
import type { Command } from "./command.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

export const command: Command = {
  flags: [],
  operands: [1, 1],
  usage: "bash|zsh|fish",
  help: `Prints completions for a shell: of commands, options, their values, and ids of
containers.

EXAMPLE:
   # runk completion bash >/usr/share/bash-completion/completions/runk
   # runk completion zsh >/usr/share/zsh/vendor-completions/_runk
   # runk completion fish >/usr/share/fish/vendor_completions.d/runk.fish`,
  run: async ({ runtime, globalFlags, operands: [name], print }) => {
    const shell = SHELLS.find((shell) => shell === name);
    if (shell === undefined) throw new RunkError(`no completions for ${name}: one of ${SHELLS.join(", ")} is expected`);
    const [{ document }, shells] = await Promise.all([import("./docs/document.ts"), import("./docs/completion.ts")]);
    print(shells[shell](await document(runtime.program, globalFlags)));
  },
};
