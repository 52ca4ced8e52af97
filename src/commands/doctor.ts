/** runk doctor */
import { examine } from "../container/doctor/examine.ts";
import type { Finding } from "../container/doctor/finding.ts";
import { formatJson } from "../spec/json.ts";
import type { Command } from "./command.ts";
import { VERSION } from "./version.ts";

const MARKS = { yes: "ok", partly: "~", no: "-" } as const;

export const command: Command = {
  flags: [{ name: "json", kind: "bool", help: "print the findings as JSON, for tools" }],
  operands: [0, 0],
  usage: "",
  help: `Looks this machine over: what it offers to containers, what is missing, what that
is needed for, and the cure. Nothing is changed. "ok" is there, "~" in part, "-"
not at all. The exit status is 1 when something is missing that no container can
do without.`,
  run: async ({ runtime, options, print }) => {
    const findings = await examine(runtime);
    const lacking = findings.filter(({ required, state }) => required && state === "no");
    const isReady = lacking.length === 0;
    print(
      options.bool("json")
        ? formatJson({ version: 1, runk: VERSION, ready: isReady, findings }, "  ") + "\n"
        : forPeople(findings, lacking),
    );
    return isReady ? 0 : 1;
  },
};

function forPeople(findings: readonly Finding[], lacking: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ name }) => shortName(name).length));
  const lines: string[] = [];
  let group: string | undefined;
  for (const finding of findings) {
    if (finding.group !== group) lines.push(...(group === undefined ? [] : [""]), finding.group);
    group = finding.group;
    lines.push(`  ${MARKS[finding.state].padEnd(2)} ${shortName(finding.name).padEnd(width)}  ${finding.found}`);
    if (finding.state === "yes") continue;
    const indent = " ".repeat(width + 7);
    lines.push(`${indent}${finding.required ? "required" : "needed"} for: ${finding.use}`);
    if (finding.cure !== undefined) lines.push(`${indent}cure: ${finding.cure}`);
  }
  lines.push(
    "",
    lacking.length === 0
      ? "Containers can be made on this machine."
      : `No containers can be made on this machine: ${lacking.map(({ name }) => name).join(", ")}.`,
  );
  return lines.join("\n") + "\n";
}

const shortName = (name: string) => name.slice(name.indexOf(".") + 1);
