/**
 * Takes the names out of a container's config and request: what is left, the shape, is the same for all containers that
 * differ in ids, paths, arguments and environment only. Pure; the document may be anything that is JSON.
 */
import type { HostFacts } from "../host/facts.ts";
import type { Hook, Spec } from "../spec/schema.ts";
import { Parameters } from "./parameters.ts";
import { type CreateRequest, insideRootfs, rootfsDirectory, rootfsPath, sourcePath } from "./recipe.ts";

export interface Parameterized {
  readonly spec: Spec;
  readonly request: CreateRequest;
  /** The texts that were taken out. */
  readonly values: readonly string[];
}

/** Shape and names of what is to be made. */
export function parameterize(spec: Spec, request: CreateRequest): Parameterized {
  const parameters = new Parameters();
  const name = (text: string) => parameters.add(text);
  const path = (text: string) => (text.startsWith("/") ? "/" + name(text.slice(1)) : name(text));
  const texts = (list: readonly string[] | undefined): string[] | undefined =>
    Array.isArray(list) ? list.map((item) => (typeof item === "string" ? name(item) : item)) : list as undefined;
  const hasHooks = spec.hooks !== undefined;
  const { process, root, linux, mounts } = spec;

  const shape: Record<string, unknown> = { ...spec };
  // Of the spec, but of no plan. What is not of its type stays in the shape, here as below: the schema has to refuse it.
  if (typeof spec.ociVersion === "string") delete shape.ociVersion;
  const bundle = path(request.bundle);
  const inside = typeof root?.path === "string"
    ? nameRootfs(spec as Spec, request, bundle, path, shape)
    : () => undefined;
  if (spec.hostname && typeof spec.hostname === "string") shape.hostname = name(spec.hostname);
  if (spec.domainname && typeof spec.domainname === "string") shape.domainname = name(spec.domainname);
  if (process !== undefined && isObject(process)) {
    const { args, env } = process;
    shape.process = {
      ...process,
      // The program itself is looked up in ways that depend on its name.
      args: Array.isArray(args) ? [...args.slice(0, 1), ...texts(args.slice(1))!] : args,
      env: Array.isArray(env) ? env.map((entry) => (typeof entry === "string" ? variable(entry, name) : entry)) : env,
      ...label(process, "selinuxLabel", name),
    };
  }
  if (Array.isArray(mounts)) {
    shape.mounts = mounts.map((mount) => {
      const isBind = isObject(mount) && Array.isArray(mount.options) &&
        mount.options.some((option) => /^r?bind$/.test(option));
      if (!isObject(mount)) return mount;
      const destination = typeof mount.destination === "string" ? inside(mount.destination) : undefined;
      const placed = destination === undefined ? mount : { ...mount, destination };
      if (!isBind || typeof mount.source !== "string" || mount.source === "") return placed;
      const source = inside(sourcePath(request.bundle, mount.source)) ?? path(mount.source);
      return { ...placed, source };
    });
  }
  if (linux !== undefined && isObject(linux)) {
    const { cgroupsPath, ...rest } = linux;
    shape.linux = { ...typeof cgroupsPath === "string" ? rest : linux, ...label(linux, "mountLabel", name) };
  }
  // Only hooks and seccomp agents read them.
  if (!hasHooks && !linux?.seccomp?.listenerPath && areTexts(spec.annotations)) delete shape.annotations;
  else {
    if (spec.annotations !== undefined && isObject(spec.annotations)) {
      shape.annotations = Object.fromEntries(
        Object.entries(spec.annotations).map(([key, value]) => [key, typeof value === "string" ? name(value) : value]),
      );
    }
    if (spec.hooks !== undefined && isObject(spec.hooks)) {
      shape.hooks = Object.fromEntries(
        Object.entries(spec.hooks).map(([kind, hooks]) => [
          kind,
          Array.isArray(hooks)
            ? hooks.map((
              hook: Hook,
            ) => (isObject(hook) ? { ...hook, args: texts(hook.args), env: texts(hook.env) } : hook))
            : hooks,
        ]),
      );
    }
  }

  // A directory's parts are names; how many there are decides how many directories are made.
  const cgroupNames = new Map<string, string>();
  const part = (text: string) => {
    let known = cgroupNames.get(text);
    if (known === undefined) cgroupNames.set(text, known = name(text));
    return known;
  };
  const { pidFile } = request;
  return {
    spec: shape as Spec,
    request: {
      ...request,
      id: name(request.id),
      bundle,
      stateDirectory: path(request.stateDirectory),
      cgroups: request.cgroups.map((directory) => ({
        ...directory,
        path: directory.base +
          directory.path.slice(directory.base.length).split("/").map((text) => text && part(text)).join("/"),
      })),
      pidFile: pidFile === undefined ? undefined : pidFileName(pidFile, name),
      // Only hooks see it.
      environment: hasHooks ? texts(request.environment)! : [],
    },
    values: parameters.values,
  };
}

/**
 * Names the rootfs in a shape. What the result gives for a text that names a place in the rootfs from outside names the
 * same place with the parameters: such places are treated otherwise than others.
 */
function nameRootfs(
  spec: Spec,
  request: CreateRequest,
  bundle: string,
  name: (path: string) => string,
  shape: Record<string, unknown>,
): (path: string) => string | undefined {
  const rootfs = rootfsPath({ spec, request });
  const root = { ...spec.root, path: name(spec.root!.path) };
  shape.root = root;
  const nameless = rootfsDirectory({ spec: { root } as Spec, request: { bundle } });
  return (path) => {
    const place = insideRootfs(rootfs, path);
    return place === undefined ? undefined : nameless + place;
  };
}

/** PATH decides where the program is looked for, an empty HOME that it is looked up: those stay. */
export function variable(entry: string, name: (text: string) => string): string {
  const equals = entry.indexOf("=");
  const isFixed = equals < 0 || entry.startsWith("PATH=") || equals === entry.length - 1;
  return isFixed ? entry : entry.slice(0, equals + 1) + name(entry.slice(equals + 1));
}

/** SELinux tells containers apart by their labels. */
export function label<K extends string>(
  of: { readonly [key in K]?: string | undefined },
  key: K,
  name: (text: string) => string,
) {
  const value = of[key];
  return typeof value === "string" && value !== "" ? { [key]: name(value) } : {};
}

const areTexts = (annotations: Spec["annotations"]): boolean =>
  isObject(annotations) && Object.values(annotations!).every((value) => typeof value === "string");

/** No type guard: the types already say so, but the document may not be what they say. */
const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value);

/** The file and its directory are two names: the draft beside the file needs them apart. */
export function pidFileName(path: string, name: (text: string) => string): string {
  const slash = path.lastIndexOf("/");
  return `${name(path.slice(0, slash))}/${name(path.slice(slash + 1))}`;
}

/** A shape as a text: plans of equal keys are equal but for names. */
export function shapeKey(build: string, shape: unknown, facts: HostFacts): string | undefined {
  // A replacer is called for every value; what JSON has no numbers for is rare outside of the facts.
  const { soft, hard } = facts.openFiles;
  const known = [build, shape, { ...facts, openFiles: `${soft} ${hard}` }];
  try {
    return JSON.stringify(known);
  } catch (error) {
    // Nested deeper than this engine's stack: for members that no one knows, or the schema will say so.
    if (error instanceof RangeError) return undefined;
    return JSON.stringify(known, (_, value) => (typeof value === "bigint" ? `${value}n` : value));
  }
}
