/** Names the sources that a bundle was made from; empty when they run as they are. Set by src/tasks/bundle.ts. */
export default (globalThis as { runkBuild?: string }).runkBuild ?? "";
