/** The thread of flipper.ts. */
import { call } from "../../ffi/call.ts";
import { cstring } from "../../ffi/memory.ts";
import { AT_FDCWD } from "../../src/abi/flags.ts";

const EXCHANGE = 2;

interface Job {
  readonly directory: string;
  readonly names: readonly string[];
  readonly stop: Int32Array<SharedArrayBuffer>;
}

const self_ = globalThis as unknown as {
  onmessage: (event: { data: Job }) => void;
  postMessage(count: number): void;
};

self_.onmessage = ({ data: { directory, names, stop } }) => {
  // At once, so that there is always something of the name.
  const exchange = (name: string) =>
    call(
      "renameat2",
      AT_FDCWD,
      cstring(`${directory}/${name}`),
      AT_FDCWD,
      cstring(`${directory}/.link-${name}`),
      EXCHANGE,
    );
  let count = 0;
  while (Atomics.load(stop, 0) === 0) {
    // All there, all back: each name is a symlink half of the time.
    for (const name of names) exchange(name);
    for (const name of names) exchange(name);
    count++;
  }
  self_.postMessage(count);
};
