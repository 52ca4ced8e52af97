/** In the order in which they run. */
export const HOOK_KINDS = [
  ...["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const,
] as const;
export type HookKind = (typeof HOOK_KINDS)[number];
