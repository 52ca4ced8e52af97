/** Images of plans with a fault: a step that fails, or that its process does not survive. */
import { E } from "../../src/abi/errno.ts";
import { decodeImage } from "./decode_image.ts";
import { CONDITION, OP, RECORD, RECORD_SIZE } from "../../src/init/layout.ts";

export type Fault = "fails" | "dies";

/** The image with one of its records changed: a step that fails with EIO, or one whose process dies of a signal. */
export function withFault(image: Uint8Array, index: number, fault: Fault): Uint8Array {
  const { recordsOffset } = decodeImage(image);
  const view = new DataView(image.buffer, image.byteOffset + recordsOffset + index * RECORD_SIZE, RECORD_SIZE);
  view.setUint8(RECORD.slots, 0);
  if (fault === "fails") {
    view.setUint8(RECORD.op, OP.fail);
    view.setUint16(RECORD.code, CONDITION.always, true);
    view.setBigUint64(RECORD.args + 24, BigInt(E.IO), true);
  } else {
    // Reads address 0: SIGSEGV ends even the first process of a pid namespace.
    view.setUint8(RECORD.op, OP.load);
    view.setUint16(RECORD.code, 8, true);
    view.setBigUint64(RECORD.args, 0n, true);
    view.setBigUint64(RECORD.args + 8, 0n, true);
  }
  return image;
}
