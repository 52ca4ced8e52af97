/**
 * Programs that look for a way out of their container, in every process that they see, as fast as they can, for ever. What
 * they find goes into /found.
 */

/** More than a test starts. */
const PIDS = 200;

const spy = (look: string): string[] => [
  "awk",
  `function tell(text) { print text > "/found"; fflush("/found") }
  BEGIN { while (1) for (pid = 2; pid < ${PIDS}; pid++) { ${look} } }`,
];

/** Arguments of a process that reads a file of the host through the roots of others (/proc/PID/root). */
export const lookThroughRoots = (file: string): string[] =>
  spy(`
    path = "/proc/" pid "/root${file}"
    if ((getline line < path) > 0) tell(pid " " line)
    close(path)`);

/**
 * Arguments of a process that looks for one which runs an executable of some name: "seen" tells of processes with the name
 * that runk's init has, other lines of what could be read about its memory.
 */
export const lookIntoMemory = (executable: string): string[] =>
  spy(`
    name = "/proc/" pid "/comm"
    if ((getline line < name) > 0 && line ~ /:\\[2:INIT/) tell("seen " pid)
    close(name)
    maps = "/proc/" pid "/maps"
    while ((getline line < maps) > 0) if (line ~ /${executable}/) tell(pid " " line)
    close(maps)`);
