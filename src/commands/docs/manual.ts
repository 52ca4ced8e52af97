/** Manual pages, from the tables of commands and flags. Source: man(7), roff(7). Pure. */
import type { Flag } from "../flags.ts";
import { type Document, type DocumentedCommand, spellings, takesValue } from "./document.ts";

const SECTION = 8;

/** Text as roff takes it: no line is a request, no dash a hyphen. */
const escaped = (text: string) => text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^([.'])/gm, "\\&$1");

const title = (name: string, { program }: Document, version: string) =>
  `.TH ${name.toUpperCase()} ${SECTION} "" "${program} ${version}" "Containers"`;

function option(flag: Flag): string {
  const value = takesValue(flag) ? " \\fIvalue\\fR" : "";
  const words = spellings(flag).map((word) => `\\fB${escaped(word)}\\fR${value}`).join(", ");
  const fallback = flag.default === undefined || flag.default === "" ? "" : ` (default: ${flag.default})`;
  return `.TP\n${words}\n${escaped(flag.help + fallback)}`;
}

/** Paragraphs; indented lines as they stand. */
function prose(help: string): string {
  return help.trim().split(/\n\n+/).map((paragraph) => {
    const example = /^EXAMPLE:\n/.exec(paragraph);
    const text = example === null ? paragraph : paragraph.slice(example[0].length);
    const heading = example === null ? ".PP\n" : ".SH EXAMPLE\n";
    const isVerbatim = text.split("\n").every((line) => line.startsWith("   "));
    return heading + (isVerbatim ? `.EX\n${escaped(text)}\n.EE` : escaped(text));
  }).join("\n");
}

/** The page of one command: runk-create(8). */
export function commandPage(entry: DocumentedCommand, document: Document, version: string): string {
  const { name, summary, command } = entry;
  const { program } = document;
  // Sections that follow the description come after the options.
  const [description, ...examples] = prose(command.help).split(/(?=^\.SH EXAMPLE$)/m);
  return [
    title(`${program}-${name}`, document, version),
    ".SH NAME",
    `${escaped(`${program}-${name}`)} \\- ${escaped(summary)}`,
    ".SH SYNOPSIS",
    `\\fB${program}\\fR [global options] \\fB${name}\\fR [options] ${escaped(command.usage)}`,
    ".SH DESCRIPTION",
    description!.trimEnd(),
    ".SH OPTIONS",
    ...command.flags.map(option),
    ...examples,
    ".SH SEE ALSO",
    `.BR ${program} (${SECTION})`,
    "",
  ].join("\n");
}

/** The page of the program: runk(8). */
export function programPage(document: Document, version: string): string {
  const { program, globals, commands } = document;
  const names = commands.map(({ name }) => `.BR ${escaped(`${program}-${name}`)} (${SECTION})`);
  return [
    title(program, document, version),
    ".SH NAME",
    `${program} \\- Open Container Initiative runtime`,
    ".SH SYNOPSIS",
    `\\fB${program}\\fR [global options] \\fIcommand\\fR [options] [arguments]`,
    ".SH DESCRIPTION",
    `${program} runs containers as the OCI runtime specification describes them. A container is made from a bundle: a`,
    "directory with a file config.json and a root file system.",
    ".SH COMMANDS",
    ...commands.map(({ name, summary }) => `.TP\n\\fB${escaped(name)}\\fR\n${escaped(summary)}`),
    ".SH GLOBAL OPTIONS",
    ...globals.map(option),
    ".SH EXIT STATUS",
    "0, or 1 for a failure. \\fBrun\\fR and \\fBexec\\fR in the foreground pass the program's own status on, 128 and the",
    "signal's number for a program that a signal ended; \\fBexec\\fR that cannot begin ends with 255; an unknown command",
    "with 3.",
    ".SH SEE ALSO",
    ...names,
    "",
  ].join("\n");
}
