/**
 * A seccomp agent: gets the descriptor through which it is asked about system calls, and answers in the container's
 * stead. Source: runtime-spec config-linux.md#containerprocessstate, seccomp_unotify(2).
 */
import { AF, MSG, SCM_RIGHTS, SOCK, SOL_SOCKET } from "../../abi/flags.ts";
import { formatJson, SortedMap } from "../../spec/json.ts";
import type { Seccomp } from "../../spec/schema.ts";
import { OCI_VERSION } from "../../spec/version.ts";
import { bytes, json, jsonSize, slot, text } from "../builder.ts";
import type { Operand } from "../types.ts";
import type { HookState } from "./hooks.ts";
import { type Lanes, lend } from "./lanes.ts";

const PATH = "/linux/seccomp/listenerPath";
const MSGHDR_SIZE = 56;
const IOVEC_SIZE = 16;
const CMSG_SIZE = 24;
const CMSG_LEN = 20;
const CMSG_DATA = 16;
const DIGITS_SIZE = 24;

/** The container that the agent is to know of. */
export interface AgentState extends HookState {
  /** Of its first process, in decimal; undefined when that is the one which gets the filter. */
  readonly pid?: string | undefined;
}

/**
 * Both lanes, with the filter loaded and its descriptor in slot "notifications": the host lane hands it to the agent.
 * The container's process only writes before that: whatever else it calls, the agent may have to answer for.
 */
export function introduceToAgent(lanes: Lanes, profile: Seccomp, state: AgentState): void {
  const { b, host, box } = lanes;
  box.task("tell the host lane which descriptor is the agent's", { path: PATH });
  host.task("take the descriptor for the agent from the container's process", { path: PATH });
  lend(lanes, "notifications", "agent's", "filter loaded");
  host.sys("sendto", [slot("host's end"), text("."), 1, MSG.NOSIGNAL, 0, 0], { sync: "descriptor taken" });
  sendToAgent(lanes, profile, state);

  const answer = b.buffer("container inbox", 8);
  box.task("keep no descriptor that could answer for this process", { path: PATH });
  box.sys("read", [slot("container's end"), answer, 1], { out: "met", sync: "descriptor taken" });
  box.fail("the host lane has ended", { left: slot("met"), is: "==", right: 0 });
  box.close("notifications");
}

/** Host lane: the container process state, and slot "agent's", in one message. */
function sendToAgent({ b, host }: Lanes, profile: Seccomp, state: AgentState): void {
  const path = profile.listenerPath!;
  const address = new TextEncoder().encode(`\0\0${path}\0`);
  new DataView(address.buffer).setUint16(0, AF.UNIX, true);
  host.task("connect to the seccomp agent", {
    path: PATH,
    error: `failed to connect with seccomp agent specified in the seccomp profile: dial unix ${path}`,
  });
  host.sys("socket", [AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC, 0], { out: "agent" });
  host.sys("connect", [slot("agent"), bytes(address, JSON.stringify(path)), address.length]);

  host.task("send it the container process state, and the descriptor", {
    path: PATH,
    error: `cannot send seccomp fd to ${path}`,
  });
  const digits = b.buffer("agent's pid", DIGITS_SIZE);
  host.format(slot("pid"), digits, "digits");
  const pieces = documentOf(profile, state);
  const iovecs = b.buffer("agent's iovecs", IOVEC_SIZE * pieces.length, {
    words: pieces.flatMap((piece): Operand[] => (piece === "pid" ? [digits, 0] : [json(piece), jsonSize(piece)])),
  });
  pieces.forEach((piece, i) => piece === "pid" && host.store(8, slot("digits"), iovecs, IOVEC_SIZE * i + 8));
  // struct cmsghdr: length, then level and type as 32-bit numbers, then the descriptor.
  const level = BigInt(SOL_SOCKET) | (BigInt(SCM_RIGHTS) << 32n);
  const control = b.buffer("agent's control", CMSG_SIZE, { words: [CMSG_LEN, level, 0] });
  host.store(4, slot("agent's"), control, CMSG_DATA);
  const header = b.buffer("agent's message", MSGHDR_SIZE, {
    words: [0, 0, iovecs, pieces.length, control, CMSG_SIZE, 0],
  });
  host.sys("sendmsg", [slot("agent"), header, MSG.NOSIGNAL]);
  host.close("agent", "agent's");
}

/** The document in pieces: texts, and "pid" where the process's pid goes. */
function documentOf({ listenerMetadata }: Seccomp, { pid, annotations, ...state }: AgentState): string[] {
  const unknown = '"pid":0';
  const document = formatJson({
    ociVersion: OCI_VERSION,
    fds: ["seccompFd"],
    pid: 0,
    metadata: listenerMetadata || undefined,
    state: {
      ociVersion: OCI_VERSION,
      id: state.id,
      status: state.status,
      pid: 0,
      bundle: state.bundle,
      annotations: Object.keys(annotations).length === 0 ? undefined : new SortedMap(annotations),
    },
  });
  // In strings quotes are escaped, so that these two are the only ones.
  const [start, middle, end] = document.split(unknown) as [string, string, string];
  const key = unknown.slice(0, -1);
  return pid === undefined
    ? [start + key, "pid", middle + key, "pid", end]
    : [start + key, "pid", middle + key + pid + end];
}
