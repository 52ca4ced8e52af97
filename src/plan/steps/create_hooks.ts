/** At which points of create the hooks run, and where. */
import type { Operand } from "../types.ts";
import { slot } from "../builder.ts";
import { type HookStream, type Recipe, rootfsDirectory } from "../recipe.ts";
import { meet } from "./lanes.ts";
import { type HookState, runHooks, tellFailure } from "./hooks.ts";
import { EXEC_FAILED } from "./program.ts";
import { type Confinement, refusal } from "./seccomp.ts";

/** The state of a container that is being made, as hooks and agents read it. */
export const stateOf = ({ spec, request }: Recipe, status: HookState["status"]): HookState => ({
  id: request.id,
  status,
  bundle: request.bundle,
  annotations: spec.annotations ?? {},
});

/** Streams of hooks that go to files. */
export const hookFiles = ({ request }: Pick<Recipe, "request">): HookStream[] =>
  (["stdout", "stderr"] as const).filter((stream) => request.annotated?.hookOutput?.[stream] !== undefined);

/** prestart and createRuntime on the host, createContainer in the container's namespaces; the root is still the host's. */
export function hooksBeforeRoot(recipe: Recipe): void {
  const { host, box, spec, request } = recipe;
  const { prestart = [], createRuntime = [], createContainer = [] } = spec.hooks ?? {};
  if (prestart.length > 0 || createRuntime.length > 0) {
    meet(recipe, "container", "mounts made, hooks next");
    const common = { state: stateOf(recipe, "creating"), pid: slot("pid"), environment: request.environment };
    const onHost = { ...common, directory: request.bundle, files: hookFiles(recipe), reports: true };
    runHooks(host, { ...onHost, kind: "prestart", hooks: prestart });
    runHooks(host, { ...onHost, kind: "createRuntime", hooks: createRuntime });
    meet(recipe, "host", "hooks done");
  }
  if (createContainer.length === 0) return;
  box.task("learn the process's pid as the container sees it").sys("getpid", [], { out: "own pid" });
  runHooks(box, {
    kind: "createContainer",
    hooks: createContainer,
    state: stateOf(recipe, "creating"),
    pid: slot("own pid"),
    environment: [],
    directory: rootfsDirectory(recipe),
    files: hookFiles(recipe),
    reports: true,
  });
}

/** In the container, when it was started, just before its program. A failure ends the container. */
export function startContainerHooks(
  recipe: Recipe,
  environment: Operand,
  confinement: Confinement | undefined,
): void {
  const { box, spec } = recipe;
  const hooks = spec.hooks?.startContainer ?? [];
  if (hooks.length === 0) return;
  box.task("learn the process's pid as the container sees it").sys("getpid", [], { out: "own pid" });
  const state = stateOf(recipe, "created");
  // Profiles cannot look at clone3's flags, so that some stop it; behind them there is clone.
  const isLoaded = confinement?.loaded !== "last";
  const clone = isLoaded && refusal(confinement, "clone3") !== undefined ? "clone" : "clone3";
  const files = hookFiles(recipe);
  const [failed, done] = [recipe.b.unique("startContainer hook failed"), recipe.b.unique("startContainer hooks done")];
  box.failingTo(failed, () => {
    runHooks(box, {
      kind: "startContainer",
      hooks,
      state,
      pid: slot("own pid"),
      environment,
      files,
      reports: false,
      clone,
    });
  });
  box.jump(done).label(failed);
  box.task("tell the container's standard error which hook failed", { path: "/hooks/startContainer" });
  tellFailure(box);
  box.sys("exit_group", [EXEC_FAILED]);
  box.label(done);
}
