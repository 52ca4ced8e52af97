/** Relocatable image -> executable: the values of parameters, and the descriptors that the process inherits. */
import { RunkError } from "../errors.ts";
import { fill } from "../plan/parameters.ts";
import { HEADER_SIZE, PROGRAM_HEADER_SIZE } from "./layout.ts";
import type { Relocatable } from "./relocatable.ts";

const encoder = new TextEncoder();
/** The program header of the records and constants: its sizes grow by the appended texts. */
const RECORDS_HEADER = HEADER_SIZE + 2 * PROGRAM_HEADER_SIZE;
const [FILE_SIZE, MEMORY_SIZE] = [RECORDS_HEADER + 32, RECORDS_HEADER + 40];

const asIs = (value: string) => value;
/** A value inside a JSON string, as Go's programs and spec/json.ts write it. */
const escaped = (value: string) =>
  JSON.stringify(value).slice(1, -1)
    .replace(/[<>&\u2028\u2029]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

/**
 * The executable.
 * @param values of the parameters, in their order
 * @param inputs values of the input slots: descriptor numbers
 * @throws {RunkError} for a value with a NUL byte, which the kernel would take for its end
 */
export function link(
  { image, texts, json, addresses, sizes, inputs: slots, end }: Relocatable,
  values: readonly string[],
  inputs: Readonly<Record<string, number>>,
): Uint8Array<ArrayBuffer> {
  const bad = values.find((value) => value.includes("\0"));
  if (bad !== undefined) throw new RunkError(`${JSON.stringify(bad)} contains a NUL byte`);
  const filled = texts.map((text, i) => encoder.encode(fill(text, values, json.includes(i) ? escaped : asIs)));
  const places: number[] = [];
  let extra = 0;
  for (const bytes of filled) {
    places.push(extra);
    extra += bytes.length + 1;
  }
  const file = new Uint8Array(image.length + extra);
  const view = new DataView(file.buffer);
  file.set(image);
  filled.forEach((bytes, i) => file.set(bytes, image.length + places[i]!));
  for (let i = 0; i < addresses.length; i += 3) {
    view.setUint32(addresses[i]!, end + places[addresses[i + 1]!]! + addresses[i + 2]!, true);
  }
  for (let i = 0; i < sizes.length; i += 2) view.setUint32(sizes[i]!, filled[sizes[i + 1]!]!.length, true);
  for (const [name, offset] of Object.entries(slots)) {
    const value = inputs[name];
    if (value === undefined) throw new Error(`plan: input "${name}" was not given`);
    view.setInt32(offset, value, true);
    view.setInt32(offset + 4, value < 0 ? -1 : 0, true);
  }
  for (const size of [FILE_SIZE, MEMORY_SIZE]) view.setUint32(size, view.getUint32(size, true) + extra, true);
  return file;
}
