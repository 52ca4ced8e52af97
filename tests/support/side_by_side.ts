/**
 * The same script under runc and under runk: a difference in what a client answers (exit status, output) is a failure.
 * A script is a list of shell commands. They find in their environment:
 *   $N        a name that is this run's alone, to build names of containers from
 *   $RUNTIME  the runtime under which it runs, as the client names it
 *   $DIR      a directory of this run's own
 */
import assert from "node:assert/strict";
import { run } from "./runk.ts";

export interface Step {
  /** Shell code. */
  readonly sh: string;
  /** The exit status that both must have; "same": only that it is the same for both. */
  readonly status?: number | "same";
  /** What is compared of the output: all of it ("both"), standard output alone, or nothing. */
  readonly compare?: "both" | "stdout" | "nothing";
  /** Further replacements, for what differs from run to run. */
  readonly blur?: readonly (readonly [RegExp, string])[];
  /** What standard output must hold, so that two equal failures are seen as such. */
  readonly expect?: RegExp;
}

/** A command alone: it must succeed. */
export type Script = readonly (string | Step)[];

export interface Side {
  readonly runtime: string;
  /** Names made by the script begin with this. */
  readonly name: string;
  readonly directory: string;
  readonly env: Record<string, string>;
}

/** Seconds for one step: a step that waits in vain fails by its status. */
const LIMIT = "120";

interface Outcome {
  readonly sh: string;
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a script on both sides, and compares them step by step.
 * @param turn makes the host one side's: then one plays after the other, else both at the same time
 */
export async function compareSides(
  script: Script,
  reference: Side,
  ours: Side,
  turn?: (side: Side) => Promise<void>,
): Promise<void> {
  const sides = [reference, ours];
  const outcomes: Outcome[][] = [];
  if (turn === undefined) outcomes.push(...await Promise.all(sides.map((side) => play(script, side))));
  else {
    for (const side of sides) {
      await turn(side);
      outcomes.push(await play(script, side));
    }
  }
  const [expected, actual] = outcomes as [Outcome[], Outcome[]];
  script.map(asStep).forEach((step, i) => {
    const { sh, status = 0, compare = "both", expect } = step;
    const [theirs, own] = [expected[i]!, actual[i]!];
    const context = `${sh}\n--- runc: ${format(theirs)}\n--- runk: ${format(own)}`;
    if (status !== "same") assert.equal(theirs.status, status, `runc's status is not what the script says: ${context}`);
    assert.equal(own.status, theirs.status, `status differs: ${context}`);
    if (expect !== undefined) {
      assert.match(theirs.stdout, expect, `runc's output is not what the script says: ${context}`);
      assert.match(own.stdout, expect, `unexpected output: ${context}`);
    }
    if (compare === "nothing") return;
    assert.equal(blur(own.stdout, ours, step), blur(theirs.stdout, reference, step), `output differs: ${context}`);
    if (compare === "stdout") return;
    assert.equal(blur(own.stderr, ours, step), blur(theirs.stderr, reference, step), `stderr differs: ${context}`);
  });
}

const asStep = (step: string | Step): Step => (typeof step === "string" ? { sh: step } : step);
const format = ({ status, stdout, stderr }: Outcome) => `status ${status}\n${stdout}${stderr}`;

async function play(script: Script, side: Side): Promise<Outcome[]> {
  const env = { ...side.env, N: side.name, RUNTIME: side.runtime, DIR: side.directory };
  const outcomes: Outcome[] = [];
  for (const { sh } of script.map(asStep)) {
    outcomes.push({ sh, ...(await run("timeout", [LIMIT, "sh", "-c", sh], { env, cwd: side.directory })) });
  }
  return outcomes;
}

/** Takes out what differs from run to run: names, ids, times, and the runtime's own words about a failure. */
function blur(text: string, side: Side, { blur = [] }: Step): string {
  const general: (readonly [RegExp, string])[] = [
    [/OCI runtime (\w+) failed: .*/g, "OCI runtime $1 failed: ..."],
    // What a terminal shows of the end of input comes before or after what the program prints.
    [/\r|\^@/g, ""],
    // Podman passes on a signal that timeout(1) sends, when there is no one for it any more.
    [/.*msg="forwarding signal .*\n/g, ""],
    // Docker's client may notice that it waits for a container that was never made.
    [/.*msg="error waiting for container: .*\n/g, ""],
    [/time="[^"]*"/g, "time=..."],
    [/\b[0-9a-f]{64}\b/g, "<id>"],
    [/\b[0-9a-f]{12}\b/g, "<id>"],
  ];
  const own = text.replaceAll(side.directory, "<dir>").replaceAll(side.name, "<name>");
  return [...blur, ...general].reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), own);
}
