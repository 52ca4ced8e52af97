/** Completions for bash, zsh and fish, from the tables of commands and flags. Pure. */
import { SIGNALS } from "../../abi/names.ts";
import type { Flag } from "../flags.ts";
import { type Document, type DocumentedCommand, spellings, takesValue } from "./document.ts";

/** Commands whose first operand is a name that does not exist yet. */
const NEW_IDS = ["create", "run", "plan", "restore"];
const SIGNAL_NAMES = SIGNALS.map((name) => name.slice(3)).join(" ");

/** What an operand is: words to choose from, a container's id, a signal, a file. */
type Operand = readonly string[] | "id" | "signal" | "file" | undefined;

/** The operands of a command, from its usage. */
function operandsOf({ name, command }: DocumentedCommand): Operand[] {
  return command.usage.split("||")[0]!.trim().split(" ").map((word): Operand => {
    if (word.includes("|")) return word.split("|");
    if (word === "<container-id>") return NEW_IDS.includes(name) ? undefined : "id";
    return word === "[signal]" ? "signal" : word === "<file>" ? "file" : undefined;
  });
}

/** A script for bash, which completes `program` when it is sourced. */
export function bash({ program, globals, commands }: Document): string {
  const all = [{ name: "", flags: globals }, ...commands.map(({ name, command }) => ({ name, flags: command.flags }))];
  const withValue = all.flatMap(({ name, flags }) =>
    flags.filter(takesValue).flatMap((flag) => spellings(flag).map((word) => ({ pattern: `"${name} ${word}"`, flag })))
  );
  const cases = (matches: (flag: Flag) => boolean, action: string) => {
    const patterns = withValue.filter(({ flag }) => matches(flag)).map(({ pattern }) => pattern);
    return patterns.length === 0 ? [] : [`    ${patterns.join("|")})`, `      ${action}`, "      return ;;"];
  };
  const lists = [...new Set(withValue.map(({ flag }) => flag.value).filter((value) => typeof value === "object"))];
  const reply = (words: string) => `COMPREPLY=($(compgen -W ${words} -- "$cur"))`;
  const operands = commands.flatMap((entry) =>
    operandsOf(entry).map((operand, at) => ({ pattern: `"${entry.name} ${at}"`, operand }))
  );
  const ofOperand = (kind: Operand, action: string) => {
    const patterns = operands.filter(({ operand }) => operand === kind).map(({ pattern }) => pattern);
    return patterns.length === 0 ? [] : [`    ${patterns.join("|")}) ${action} ;;`];
  };
  const words = operands.map(({ operand }) => operand).filter((operand) => typeof operand === "object");
  return `# bash completion for ${program}, made by \`${program} completion bash\`
_${program}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} command= operand=0 i
  local -a root=()
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$command \${COMP_WORDS[i]}" in
    " --root") root=(--root "\${COMP_WORDS[++i]}") ;;
    ${withValue.map(({ pattern }) => pattern).join("|")}) ((i++)) ;;
    *" -"*) ;;
    " "*) command=\${COMP_WORDS[i]} ;;
    *) ((operand++)) ;;
    esac
  done
  case "$command $prev" in
${
    [
      ...cases(({ value }) => value === "directory", `COMPREPLY=($(compgen -d -- "$cur"))`),
      ...cases(({ value }) => value === "file", `COMPREPLY=($(compgen -f -- "$cur"))`),
      ...lists.flatMap((list) => cases(({ value }) => value === list, reply(`"${list.join(" ")}"`))),
      ...cases(({ value }) => value === undefined, ":"),
    ].join("\n")
  }
  esac
  if [[ $cur == -* ]]; then
    case "$command" in
${
    all.map(({ name, flags }) =>
      `    ${name === "" ? '""' : name}) ${reply(`"${flags.flatMap(spellings).join(" ")}"`)} ;;`
    )
      .join("\n")
  }
    esac
  elif [[ -z $command ]]; then
    ${reply(`"${commands.map(({ name }) => name).join(" ")} help"`)}
  else
    case "$command $operand" in
${
    [
      ...ofOperand("id", reply(`"$(${program} "\${root[@]}" list -q 2>/dev/null)"`)),
      ...words.flatMap((list) => ofOperand(list, reply(`"${list.join(" ")}"`))),
      ...ofOperand("signal", reply(`"${SIGNAL_NAMES}"`)),
      ...ofOperand("file", `COMPREPLY=($(compgen -f -- "$cur"))`),
      `    "help 0") ${reply(`"${commands.map(({ name }) => name).join(" ")}"`)} ;;`,
    ].join("\n")
  }
    esac
  fi
}
complete -o filenames -F _${program} ${program}
`;
}

/** A file for a directory of zsh's $fpath. */
export function zsh({ program, globals, commands }: Document): string {
  const quoted = (text: string) => text.replaceAll("'", "'\\''");
  const inBrackets = (text: string) => quoted(text.replace(/[[\]:\\]/g, "\\$&"));
  const value = (flag: Flag) => {
    if (!takesValue(flag)) return "";
    if (flag.value === "directory") return `:${flag.name}:_files -/`;
    if (flag.value === "file") return `:${flag.name}:_files`;
    return `:${flag.name}:${flag.value === undefined ? "" : `(${flag.value.join(" ")})`}`;
  };
  const specification = (flag: Flag) => {
    const words = spellings(flag);
    const rest = `[${inBrackets(flag.help)}]${value(flag)}'`;
    const repeated = flag.kind === "list" ? "*" : "";
    if (words.length === 1) return `'${repeated}${words[0]}${rest}`;
    return repeated === "" ? `'(${words.join(" ")})'{${words.join(",")}}'${rest}` : `'*'{${words.join(",")}}'${rest}`;
  };
  const operands = (entry: DocumentedCommand) =>
    operandsOf(entry).flatMap((operand, at) => {
      const spec = (rest: string) => [`'${at + 1}:${rest}'`];
      if (operand === "id") return spec(`container:_${program}_containers`);
      if (operand === "signal") return spec(`signal:(${SIGNAL_NAMES})`);
      if (operand === "file") return spec("file:_files");
      return operand === undefined ? [] : spec(`what:(${operand.join(" ")})`);
    });
  const lines = (words: readonly string[]) => words.join(" \\\n      ");
  return `#compdef ${program}
# zsh completion for ${program}, made by \`${program} completion zsh\`
_${program}_containers() {
  local -a ids
  ids=(\${(f)"$(${program} list -q 2>/dev/null)"})
  compadd -a ids
}
_${program}() {
  local curcontext="$curcontext" state line
  local -a commands
  commands=(
${commands.map(({ name, summary }) => `    '${name}:${inBrackets(summary)}'`).join("\n")}
  )
  _arguments -C \\
      ${lines([...globals.map(specification), "'1: :->command'", "'*:: :->rest'"])}
  case $state in
  command) _describe command commands ;;
  rest)
    case $words[1] in
${
    commands.map((entry) =>
      `    ${entry.name}) _arguments \\\n      ${
        lines([...entry.command.flags.map(specification), ...operands(entry)])
      } ;;`
    ).join("\n")
  }
    esac ;;
  esac
}
_${program} "$@"
`;
}

/** A file for fish's completions directory. */
export function fish({ program, globals, commands }: Document): string {
  const quoted = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;
  const option = (flag: Flag, condition: string) => {
    const { name, short, help, value } = flag;
    const values = !takesValue(flag)
      ? ""
      : value === "directory"
      ? " -x -a '(__fish_complete_directories)'"
      : value === "file"
      ? " -r -F"
      : value === undefined
      ? " -x"
      : ` -x -a ${quoted(value.join(" "))}`;
    const letter = short === undefined ? "" : ` -s ${short}`;
    return `complete -c ${program} -n ${quoted(condition)} -l ${name}${letter}${values} -d ${quoted(help)}`;
  };
  const none = "__fish_use_subcommand";
  const seen = (name: string) => `__fish_seen_subcommand_from ${name}`;
  const offers = (operand: Operand) =>
    operand === "id"
      ? [`'(${program} list -q 2>/dev/null)'`]
      : operand === "signal"
      ? [quoted(SIGNAL_NAMES)]
      : typeof operand === "object"
      ? [quoted(operand.join(" "))]
      : [];
  return [
    `# fish completion for ${program}, made by \`${program} completion fish\``,
    `complete -c ${program} -f`,
    ...globals.map((flag) => option(flag, none)),
    ...commands.map(({ name, summary }) => `complete -c ${program} -n ${none} -a ${name} -d ${quoted(summary)}`),
    ...commands.flatMap(({ name, command }) => command.flags.map((flag) => option(flag, seen(name)))),
    ...commands.flatMap((entry) =>
      operandsOf(entry).flatMap(offers).map((words) =>
        `complete -c ${program} -n ${quoted(seen(entry.name))} -a ${words}`
      )
    ),
    ...commands.filter((entry) => operandsOf(entry).includes("file")).map(({ name }) =>
      `complete -c ${program} -n ${quoted(seen(name))} -F`
    ),
    "",
  ].join("\n");
}
