/** runk mounts */
import { addMounts, removeMounts } from "../container/mounts.ts";
import { RunkError } from "../errors.ts";
import { checkDocument } from "../spec/check_document.ts";
import { SpecError } from "../spec/errors.ts";
import { parseJson } from "../spec/json.ts";
import type { Mount } from "../spec/schema.ts";
import { type Command, readOperand } from "./command.ts";

const ACTIONS = { add: addMounts, remove: removeMounts } as const;

export const command: Command = {
  flags: [],
  operands: [3, 3],
  usage: "add|remove <container-id> <file>",
  help: `Mounts more in a container that is not stopped, or unmounts what is mounted there.
The file ("-" for standard input) holds JSON: a list of mounts, each as in the
mounts of config.json. Either all of them are made or removed, or none is.

"add" finds sources with the caller's rights, relative ones in the bundle, and
destinations inside the container's root; it makes directories and files to mount
on. File systems of the types proc and cgroup cannot be added.

"remove" takes the same file, reads the destinations only, and begins with the
last. A destination that a symbolic link of the container is part of is refused.

EXAMPLE:
   # echo '[{"destination":"/data","source":"/srv/data","options":["rbind","ro"]}]' >data.json
   # runk mounts add box data.json
   # runk mounts remove box data.json`,
  run: async ({ runtime, operands: [action, id, file] }) => {
    if (action !== "add" && action !== "remove") {
      throw new RunkError(`unknown action ${JSON.stringify(action)}: add or remove is expected`);
    }
    const { text, name } = await readOperand(file!);
    await ACTIONS[action](runtime, id!, { mounts: await parseMounts(text, name), name });
  },
};

async function parseMounts(text: string, name: string): Promise<Mount[]> {
  let document: unknown;
  try {
    document = parseJson(text);
  } catch (error) {
    throw new SpecError(`${name} is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  await checkDocument("mounts", document, name);
  return document as Mount[];
}
