/** As parameterize.ts, for a process in an existing container. Pure. */
import type { Process } from "../spec/schema.ts";
import type { ExecRequest } from "./exec.ts";
import { label, pidFileName, variable } from "./parameterize.ts";
import { Parameters } from "./parameters.ts";

export interface ParameterizedExec {
  readonly process: Process;
  readonly request: ExecRequest;
  readonly values: readonly string[];
}

/** Shape and names of a process for an existing container. */
export function parameterizeExec(process: Process, request: ExecRequest): ParameterizedExec {
  const parameters = new Parameters();
  const name = (text: string) => parameters.add(text);
  const texts = (list: readonly string[]) => list.map((item) => (typeof item === "string" ? name(item) : item));
  const { args, env, pidFile, tasksFiles, unifiedCgroup, resctrlFiles, container } = { ...process, ...request };
  return {
    process: {
      ...process,
      args: Array.isArray(args) ? [...args.slice(0, 1), ...texts(args.slice(1))] : args,
      env: Array.isArray(env) ? env.map((entry) => (typeof entry === "string" ? variable(entry, name) : entry)) : env,
      ...label(process, "selinuxLabel", name),
    } as Process,
    request: {
      ...request,
      id: name(request.id),
      tasksFiles: tasksFiles.map(name),
      resctrlFiles: resctrlFiles.map(name),
      unifiedCgroup: unifiedCgroup === undefined ? undefined : name(unifiedCgroup),
      pidFile: pidFile === undefined ? undefined : pidFileName(pidFile, name),
      ...(container === undefined ? {} : { container: namelessContainer(container, name) }),
    },
    values: parameters.values,
  };
}

function namelessContainer(
  { bundle, pid, annotations }: NonNullable<ExecRequest["container"]>,
  name: (text: string) => string,
): ExecRequest["container"] {
  return {
    bundle: name(bundle),
    pid: pid && name(pid),
    annotations: Object.fromEntries(Object.entries(annotations).map(([key, value]) => [key, name(value)])),
  };
}
