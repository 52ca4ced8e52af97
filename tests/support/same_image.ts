/** Compares executables by what they do: records that say the same, texts with the same bytes wherever they lie. */
import assert from "node:assert/strict";
import { decodeImage, type Image } from "./decode_image.ts";
import { type Operand, type Plan, REF } from "../../src/plan/types.ts";

/** Asserts that two executables carry out the same plan. `plan` tells what their words stand for. */
export function assertSame(plan: Plan, first: Uint8Array, second: Uint8Array, what: string): void {
  const [a, b] = [decodeImage(first), decodeImage(second)];
  plan.steps.forEach((step, index) => {
    const [x, y] = [a.record(index), b.record(index)];
    const where = `${what}, step ${index} (${step.call ?? step.op}: ${step.task.why})`;
    for (const key of ["op", "call", "size", "is", "out", "to", "fail"] as const) assert.equal(x[key], y[key], where);
    assert.deepEqual(x.tolerate, y.tolerate, where);
    const { args, when, op } = step;
    const operands: readonly Operand[] = op === "jump" || op === "fail"
      ? when === undefined ? [] : [when.left, when.right, when.mask ?? 0]
      : args;
    operands.forEach((operand, i) => {
      assert.equal(x.args[i]!.slot, y.args[i]!.slot, where);
      assertSameWord(operand, [a, x.args[i]!.value], [b, y.args[i]!.value], where);
    });
  });
  const [p, q] = [a, b].map(({ segments }) => segments.find(({ writable, sizeInFile }) => writable && sizeInFile > 0)!);
  assert.equal(p!.sizeInFile, q!.sizeInFile, what);
  assert.equal(p!.sizeInMemory, q!.sizeInMemory, what);
}

function assertSameWord(operand: Operand, [a, x]: [Image, bigint], [b, y]: [Image, bigint], where: string): void {
  if (typeof operand !== "object") return assert.equal(x, y, where);
  const { kind, data, at, name } = operand;
  const offset = BigInt(at);
  switch (kind) {
    case REF.TEXT:
    case REF.JSON: {
      const text = (image: Image, address: bigint) => {
        const bytes = image.at(address - offset);
        return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
      };
      assert.equal(text(a, x), text(b, y), where);
      return assert.equal(text(a, x), name, where);
    }
    case REF.BYTES: {
      const { length } = data as Uint8Array;
      return assert.deepEqual(a.at(x - offset).slice(0, length), b.at(y - offset).slice(0, length), where);
    }
    case REF.WORDS: {
      const word = (image: Image, address: bigint, i: number): [Image, bigint] => {
        const bytes = image.at(address - offset).slice(8 * i, 8 * i + 8);
        return [image, new DataView(bytes.buffer).getBigUint64(0, true)];
      };
      return (data as readonly Operand[]).forEach((inner, i) =>
        assertSameWord(inner, word(a, x, i), word(b, y, i), where)
      );
    }
    default:
      return assert.equal(x, y, where);
  }
}
