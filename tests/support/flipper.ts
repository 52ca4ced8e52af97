/**
 * Exchanges names in a directory as fast as it can, from a thread of its own: what a second container with the same volume
 * would do. Each name is by turns what it was and a symlink to somewhere else.
 */
export interface Flipper {
  /** Ends it, with every name as it was; how often it exchanged them. */
  stop(): Promise<number>;
}

/** @param names name -> what its symlink says */
export function flip(directory: string, names: Readonly<Record<string, string>>): Flipper {
  for (const [name, target] of Object.entries(names)) Deno.symlinkSync(target, `${directory}/.link-${name}`);
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL("./flipper_worker.ts", import.meta.url), { type: "module" });
  const done = new Promise<number>((resolve) => worker.onmessage = ({ data }) => resolve(data));
  worker.postMessage({ directory, names: Object.keys(names), stop });
  return {
    async stop() {
      Atomics.store(stop, 0, 1);
      const count = await done;
      worker.terminate();
      return count;
    },
  };
}
