/** What every spawned executor does first: it was started by a Deno process, and nothing of that may show. */
import { CLOSE_RANGE } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { RLIMIT_NOFILE, SIGNAL_COUNT } from "../../abi/names.ts";
import type { HostFacts } from "../../host/facts.ts";
import { type Lane, slot, words } from "../builder.ts";

const SIG_SETMASK = 2;
const SIGSET_SIZE = 8;

/**
 * Default dispositions, an empty signal mask, the caller's limit on open files; every descriptor from `firstPrivate`
 * on stays out of programs.
 */
export function cleanSlate(lane: Lane, facts: HostFacts, firstPrivate: number): void {
  const { soft, hard } = facts.openFiles;
  lane.task("start from default signal handling, the caller's limits, and no inherited descriptors")
    .set("signal", 1)
    .label("each signal")
    // struct sigaction of zeros: SIG_DFL, no flags. EINVAL: SIGKILL and SIGSTOP cannot be set.
    .sys("rt_sigaction", [slot("signal"), words([0, 0, 0, 0], "{default}"), 0, SIGSET_SIZE], { tolerate: [E.INVAL] })
    .set("signal", slot("signal"), 1)
    .jump("each signal", { left: slot("signal"), is: "<", right: SIGNAL_COUNT + 1 })
    .sys("rt_sigprocmask", [SIG_SETMASK, words([0], "{}"), 0, SIGSET_SIZE])
    .sys("prlimit64", [0, RLIMIT_NOFILE, words([soft, hard], `{soft ${soft}, hard ${hard}}`), 0])
    .sys("close_range", [firstPrivate, 0xffffffff, CLOSE_RANGE.CLOEXEC]);
}
