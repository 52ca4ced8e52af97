/** Host lane: the program that decides, on v2, which devices the processes of a cgroup may use. */
import { BPF_ATTACH, BPF_COMMAND, BPF_PROGRAM } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { deviceFilter, instructionCount } from "../../cgroup/device_filter.ts";
import type { DeviceAccess } from "../../cgroup/devices.ts";
import { bytes, type Lane, slot, text } from "../builder.ts";

/** union bpf_attr, as far as these commands read it. Source: include/uapi/linux/bpf.h. */
const LOAD_SIZE = 64;
const ATTACH_SIZE = 24;
const QUERY_SIZE = 32;
const ID_SIZE = 16;
const QUERY_COUNT = 24;
const ATTACHED_MAX = 64;
const PATH = "/linux/resources/devices";

/**
 * Loads the program for `access` and attaches it to the cgroup in slot `cgroup`. Programs that a cgroup has already (of a
 * container before, or systemd's) are replaced: a single one in one move, so that there is no moment without a filter.
 * @param mayLack the kernel's refusal to load programs is no failure: the caller lives in a user namespace
 */
export function limitDevicesV2(host: Lane, cgroup: string, access: DeviceAccess, mayLack: boolean): void {
  const b = host.builder;
  const filter = deviceFilter(access);
  const none = b.unique("no device filter");
  const head = (BigInt(instructionCount(filter)) << 32n) | BigInt(BPF_PROGRAM.CGROUP_DEVICE);
  const load = b.buffer("device filter to load", LOAD_SIZE, {
    words: [head, bytes(filter, "device filter"), text("Apache-2.0")],
  });
  host.task("load the program that decides about devices", {
    path: PATH,
    error: "cannot load the device filter",
  });
  host.sys("bpf", [BPF_COMMAND.PROG_LOAD, load, LOAD_SIZE], {
    out: "device filter",
    ...(mayLack ? { tolerate: [E.PERM], to: none } : {}),
  });

  const ids = b.buffer("device filters' ids", 4 * ATTACHED_MAX);
  const query = b.buffer("device filters to find", QUERY_SIZE, {
    words: [BigInt(BPF_ATTACH.CGROUP_DEVICE) << 32n, 0, ids, ATTACHED_MAX],
  });
  host.task("see which device filters the cgroup has", {
    path: PATH,
    error: "cannot list the cgroup's device filters",
  });
  host.store(4, slot(cgroup), query);
  host.sys("bpf", [BPF_COMMAND.PROG_QUERY, query, QUERY_SIZE]);
  host.load("attached", 4, query, QUERY_COUNT);

  const id = b.buffer("device filter's id", ID_SIZE);
  const openOld = (lane: Lane) => lane.sys("bpf", [BPF_COMMAND.PROG_GET_FD_BY_ID, id, ID_SIZE], { out: "old filter" });
  const attachWords = (flags: number) => [0, (BigInt(flags) << 32n) | BigInt(BPF_ATTACH.CGROUP_DEVICE), 0];
  const attach = b.buffer("device filter to attach", ATTACH_SIZE, { words: attachWords(BPF_ATTACH.ALLOW_MULTI) });
  const [replace, done, loop] = [b.unique("replace"), b.unique("attached"), b.unique("detach")];
  host.task("attach the program to the cgroup", { path: PATH, error: "cannot attach the device filter" });
  host.store(4, slot(cgroup), attach).store(4, slot("device filter"), attach, 4);
  host.jump(replace, { left: slot("attached"), is: "==", right: 1 });
  host.sys("bpf", [BPF_COMMAND.PROG_ATTACH, attach, ATTACH_SIZE]);

  const detach = b.buffer("device filter to detach", ATTACH_SIZE, { words: attachWords(0) });
  host.task("detach the programs that were there", { path: PATH, error: "cannot detach an old device filter" });
  host.store(4, slot(cgroup), detach).set("old", ids);
  host.label(loop).jump(done, { left: slot("attached"), is: "==", right: 0 });
  host.load("id", 4, slot("old")).store(4, slot("id"), id);
  openOld(host);
  host.store(4, slot("old filter"), detach, 4);
  host.sys("bpf", [BPF_COMMAND.PROG_DETACH, detach, ATTACH_SIZE], { tolerate: [E.NOENT] });
  host.close("old filter").set("old", slot("old"), 4).set("attached", slot("attached"), -1).jump(loop);

  host.task("replace the program that was there", { path: PATH, error: "cannot replace the old device filter" });
  host.label(replace).load("id", 4, ids).store(4, slot("id"), id);
  openOld(host);
  host.store(4, BPF_ATTACH.ALLOW_MULTI | BPF_ATTACH.REPLACE, attach, 12).store(4, slot("old filter"), attach, 16);
  host.sys("bpf", [BPF_COMMAND.PROG_ATTACH, attach, ATTACH_SIZE]);
  host.close("old filter");
  host.label(done).close("device filter").label(none);
}
