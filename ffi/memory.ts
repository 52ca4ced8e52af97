/**
 * Memory that the kernel reads or writes. A Memory has an address that stays valid for as long as the object is
 * referenced: its store is outside the engine's moving heap. Whoever passes one to call() keeps it alive until the call
 * returns, because call() itself holds its arguments.
 */
import { RunkError } from "../src/errors.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Memory at one address, as bytes and as a view of them. */
export class Memory {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  readonly address: number;

  /** `size` in bytes, zeroed. */
  constructor(size: number) {
    // SAFETY: an explicit ArrayBuffer has its store outside the heap (small typed arrays may live inside it and move),
    // and the store lives as long as `this.bytes`.
    const buffer = new ArrayBuffer(Math.max(size, 8));
    this.bytes = new Uint8Array(buffer, 0, size);
    this.view = new DataView(buffer);
    this.address = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(this.bytes)));
  }

  /** The text up to `length` bytes, or up to the first NUL when no length is given. */
  text(length?: number): string {
    let end = length ?? this.bytes.indexOf(0);
    if (end < 0) end = this.bytes.length;
    return decoder.decode(this.bytes.subarray(0, end));
  }
}

/** A copy of `bytes`. */
export function memoryOf(bytes: Uint8Array): Memory {
  const memory = new Memory(bytes.length);
  memory.bytes.set(bytes);
  return memory;
}

/**
 * A NUL-terminated string.
 * @throws {RunkError} when the text itself holds a NUL, which the kernel would take for its end.
 */
export function cstring(text: string): Memory {
  if (text.includes("\0")) throw new RunkError(`${JSON.stringify(text)} contains a NUL byte`);
  return memoryOf(encoder.encode(text + "\0"));
}

/** A NULL-terminated array of pointers to strings, as execve(2) wants it. `keep` must stay referenced with it. */
export function stringArray(texts: readonly string[]): { array: Memory; keep: Memory[] } {
  const keep = texts.map(cstring);
  const array = new Memory((texts.length + 1) * 8);
  keep.forEach((string, index) => array.view.setBigUint64(index * 8, BigInt(string.address), true));
  return { array, keep };
}
