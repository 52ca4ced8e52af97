/** Containers to execute processes in. */
import assert from "node:assert/strict";
import { Box, type Config, newId } from "./box.ts";

/** The status of an exec that could not start its process. */
export const FAILURE = 255;
/** A box whose container sleeps. */
export async function sleeping(config: (config: Config) => void = () => {}): Promise<Box> {
  const box = await Box.create({ script: "sleep 1000", config });
  await box.ok(["run", "--detach", box.id]);
  return box;
}

/** A container of runc's with the same bundle; returns its id. */
export async function runcTwin(box: Box): Promise<string> {
  const id = newId();
  const { status, stderr } = await box.other("runc", ["run", "--detach", id]);
  assert.equal(status, 0, stderr);
  return id;
}

/** Writes a process.json into a box's directory; returns its name. */
export async function processFile(box: Box, process: Config): Promise<string> {
  await Deno.writeTextFile(`${box.directory}/process.json`, JSON.stringify(process));
  return "process.json";
}

/** What exec prints. */
export const output = async (box: Box, ...args: string[]) => (await box.ok(["exec", ...args])).stdout;
