/** What happens to a container, as it happens: its statistics at intervals, and that it ran out of memory. */
import { watchOom } from "../cgroup/oom.ts";
import { processDirectory } from "../cgroup/paths.ts";
import { pidsBelow } from "../cgroup/processes.ts";
import { type CgroupStats, readStats } from "../cgroup/stats.ts";
import { RunkError } from "../errors.ts";
import { find } from "./find.ts";
import { openInit } from "./open_init.ts";
import type { Runtime } from "./runtime.ts";

export type { BlkioEntry, CgroupStats } from "../cgroup/stats.ts";

export type ContainerEvent = { readonly type: "stats"; readonly stats: CgroupStats } | { readonly type: "oom" };

/** @throws {RunkError} when the container is not running */
export async function stats(runtime: Runtime, id: string): Promise<CgroupStats> {
  return await readStats(findRunning(runtime, id).cgroup_paths ?? {});
}

/**
 * Events until the container's processes have ended, or its cgroups are removed.
 * @param interval between statistics, in milliseconds; the first come after one
 * @throws {RunkError} when the container is not running
 */
export async function* events(runtime: Runtime, id: string, interval: number): AsyncGenerator<ContainerEvent> {
  const record = findRunning(runtime, id);
  const paths = record.cgroup_paths ?? {};
  using oom = await watchOom(paths);
  using init = openInit(record);
  const hasEnded = async () => init === undefined || (await runtime.poll([{ fd: init.number }], 0))[0];
  let next = performance.now() + interval;
  for (;;) {
    // A first process that has ended would be ready each time.
    const isAlive = !(await hasEnded());
    const waiting = [{ fd: oom.fd }, ...(isAlive ? [{ fd: init!.number }] : [])];
    await runtime.poll(waiting, Math.max(next - performance.now(), 0));
    const { count, ended } = oom.read();
    for (let i = 0; i < count; i++) yield { type: "oom" };
    if (ended || (await hasEnded() && isEmpty(paths))) return;
    if (performance.now() < next) continue;
    next = performance.now() + interval;
    yield { type: "stats", stats: await readStats(paths) };
  }
}

const isEmpty = (paths: Readonly<Record<string, string>>) => pidsBelow(processDirectory(paths) ?? "").length === 0;

function findRunning(runtime: Runtime, id: string) {
  const { record, status } = find(runtime, id);
  if (status === "stopped") throw new RunkError(`container with id ${id} is not running`);
  return record;
}
