/**
 * A probe: a shell script for containers that prints everything its process can see of itself and its surroundings, and
 * what is left of that after normalising, so that the same bundle under two runtimes can be compared.
 */

/** Prints sections, each after a line "== NAME"; busybox only. The shell is the process under test: it reads by itself. */
export const PROBE = `
PATH=$PATH:/bin
show() { echo "== $1"; }
lines() { while IFS= read -r line || [ -n "$line" ]; do echo "$line"; done; }
show status; lines < /proc/self/status
show arguments; tr '\\0' '\\n' < /proc/$$/cmdline
show environment; tr '\\0' '\\n' < /proc/$$/environ
show limits; lines < /proc/self/limits
show stat; echo $$ $(cut -d' ' -f5-8,18,19,40,41 /proc/$$/stat)
show identity; id 2>&1
show directory; pwd -P; readlink /proc/$$/cwd
show descriptors; for fd in /proc/$$/fd/*; do echo "\${fd##*/} $(readlink $fd)"; done
show owners; stat -L -c '%u:%g %a %F' /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2
show mounts; lines < /proc/self/mountinfo
show namespaces; for ns in /proc/self/ns/*; do echo "\${ns##*/} $(readlink $ns)"; done
show cgroup; lines < /proc/self/cgroup
show uid_map; lines < /proc/self/uid_map
show gid_map; lines < /proc/self/gid_map
show setgroups; lines < /proc/self/setgroups
show oom_score_adj; lines < /proc/self/oom_score_adj
show personality; lines < /proc/self/personality 2>&1
show timens_offsets; lines < /proc/self/timens_offsets
show loginuid; lines < /proc/self/loginuid
show coredump_filter; lines < /proc/self/coredump_filter
show timerslack; lines < /proc/self/timerslack_ns 2>&1
show hostname; lines < /proc/sys/kernel/hostname; lines < /proc/sys/kernel/domainname
show interfaces; ip -o link show 2>&1; ip -o -4 addr show 2>&1
show root; ls -land /; touch /.probe 2>&1 && rm /.probe && echo writable
show dev; cd /dev && find . -not -path './fd/*' -exec stat -c '%n %A %u:%g %t:%T %N' {} + | sort
show device access; for d in null zero full random urandom tty; do (head -c 1 < /dev/$d > /dev/null) 2>&1 && echo "$d can be read"; done
show first process; lines < /proc/1/comm; readlink /proc/1/exe
show keys; lines < /proc/keys 2>&1
show masked; for p in acpi asound kcore keys latency_stats timer_list sched_debug scsi sysrq-trigger bus sys/kernel; do
  stat -c '%n %F %a' /proc/$p 2>&1; done; ls /sys/firmware 2>&1
show procfs; (echo 8192 > /proc/sys/kernel/msgmax) 2>&1
show end; true
`;

/** What may differ from run to run of the same runtime. */
const CHANGING_STATUS =
  /^(Pid|Ngid|PPid|TracerPid|NS\w+|Vm\w+|Rss\w+|Threads|SigQ|HugetlbPages|voluntary|nonvoluntary|Name|State|FDSize|Tgid|Core|THP|untag|x86_)/;

export type Seen = Readonly<Record<string, string>>;

/** The sections of a probe's output in container `id`, normalised. */
export function parseProbe(output: string, id: string): Seen {
  const result: Record<string, string> = {};
  for (const part of output.split(/^== /m).slice(1)) {
    const end = part.indexOf("\n");
    const name = part.slice(0, end);
    const text = part.slice(end + 1).trimEnd();
    result[name] = NORMALISE[name]?.(text, id) ?? text;
  }
  return result;
}

const eachLine = (change: (line: string) => string | undefined) => (text: string) =>
  text.split("\n").map(change).filter((line) => line !== undefined).join("\n");

const hostNamespaces = new Map<string, string>();
for (const { name } of Deno.readDirSync("/proc/self/ns")) {
  hostNamespaces.set(name, Deno.readLinkSync(`/proc/self/ns/${name}`));
}

function sortedMounts(text: string): string[] {
  const mounts = text.split("\n").map((line) => line.split(" ")).map(([id, parent, , ...rest]) => ({
    id,
    parent,
    rest,
  }));
  const depth = (id: string | undefined): number => {
    const mount = mounts.find((mount) => mount.id === id);
    return mount === undefined ? 0 : 1 + depth(mount.parent);
  };
  const keyed = mounts.map(({ id, rest }) => ({ point: rest[1] ?? "", depth: depth(id), rest }));
  keyed.sort((a, b) => (a.point < b.point ? -1 : a.point > b.point ? 1 : a.depth - b.depth));
  return keyed.map(({ rest }) =>
    rest.join(" ").replace(/\b(shared|master|propagate_from):\d+/g, "$1")
      // An empty directory over a masked one: runk's cannot be filled either.
      .replace(",size=4k,nr_inodes=1", "")
  );
}

/** What is changed in each section before it is compared, and why. */
const NORMALISE: Readonly<Record<string, (text: string, id: string) => string>> = {
  // In the host's pid namespace, the pid is any number; that group and session are led by the process is what counts.
  stat: (text) => {
    const [pid, ...fields] = text.split(" ");
    return fields.map((field) => (field === pid ? "own" : field)).join(" ");
  },
  // Numbers of processes, memory use, counts of switches: not of the runtime's making.
  status: eachLine((line) => {
    // Go programs leave signal 32, which libc keeps for itself, ignored.
    if (line.startsWith("SigIgn:")) return "SigIgn: " + (BigInt("0x" + line.slice(8)) & ~0x80000000n).toString(16);
    return CHANGING_STATUS.test(line) ? undefined : line;
  }),
  // Mount ids, parents, device numbers and ids of peer groups are counted up, and the list is in the order of those ids;
  // what lies on the same mount point stays in the order in which it lies there.
  mounts: (text) => sortedMounts(text).join("\n"),
  // New namespaces have new numbers: new or the host's is what counts.
  namespaces: eachLine((line) => {
    const [name = "", target = ""] = line.split(" ");
    return `${name} ${target === hostNamespaces.get(name) ? "the host's" : "another"}`;
  }),
  // Pipes and sockets have numbers of their own, and so do the ttys of a running system.
  descriptors: eachLine((line) => line.replace(/:\[\d+\]/, "").replace(/^(\d+) \/proc\/\d+\/fd$/, "$1")),
  // Keys of others come and go; of our own keyring (and one of an earlier container of that name), numbers and ages do not count.
  keys: (text, id) => {
    const own = text.split("\n").filter((line) => line.includes(`_ses.${id}:`));
    return [...new Set(own.map((line) => line.replace(/^[0-9a-f]+ (\S+) +\d+/, "$1")))].join("\n");
  },
  // Terminals are numbered; /dev/mqueue is anyone's, whoever owns it: under runc the user who made the user namespace.
  dev: eachLine((line) =>
    line.replace(/^(\.\/mqueue drwxrwxrwt) \d+:\d+/, "$1").replace(
      /^\.\/(pts\/\d+|console) (\S+) (\S+) \S+/,
      "./$1 $2 $3",
    )
  ),
};

/** The sections in which two probes differ, with both texts; empty when they are equal. */
export function differences(one: Seen, other: Seen): string {
  const names = [...new Set([...Object.keys(one), ...Object.keys(other)])];
  return names.filter((name) => one[name] !== other[name]).map((name) => {
    const [left, right] = [one[name]?.split("\n") ?? ["(nothing)"], other[name]?.split("\n") ?? ["(nothing)"]];
    const only = (lines: string[], others: string[]) => lines.filter((line) => !others.includes(line));
    const [a, b] = [only(left, right), only(right, left)];
    const lines = a.length + b.length === 0
      ? [...left.map((line) => "  - " + line), "  (in another order)", ...right.map((line) => "  + " + line)]
      : [...a.map((line) => "  - " + line), ...b.map((line) => "  + " + line)];
    return `${name}:\n${lines.join("\n")}`;
  }).join("\n");
}
