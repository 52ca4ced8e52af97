/** The parts of a container's record that few containers have: loaded only for those. */
import { MEMORY_POLICIES, MEMORY_POLICY_FLAGS } from "../abi/scheduling.ts";
import { resctrlGroups } from "../cgroup/resctrl.ts";
import type { HostFacts } from "../host/facts.ts";
import { idMask, idsOfMask, parseIdList } from "../spec/id_list.ts";
import type { Linux, Process, Spec } from "../spec/schema.ts";
import type { Mask, RareConfigRecord, RareRecord, StateRecord } from "../state/record.ts";

/** What of a config runc keeps in another form than config.json has it. */
export function rareRecord({ process = {}, linux = {} }: Spec, facts: HostFacts, id: string): RareRecord {
  const { execCPUAffinity } = process;
  const { memoryPolicy, intelRdt } = linux;
  const config: { -readonly [K in keyof RareConfigRecord]: RareConfigRecord[K] } = {};
  if (execCPUAffinity !== undefined) {
    config.exec_cpu_affinity = { Initial: maskOf(execCPUAffinity.initial), Final: maskOf(execCPUAffinity.final) };
  }
  if (memoryPolicy !== undefined) {
    config.memory_policy = {
      mode: numberOf(MEMORY_POLICIES, memoryPolicy.mode ?? ""),
      nodes: maskOf(memoryPolicy.nodes),
      flags: (memoryPolicy.flags ?? []).reduce((sum, flag) => sum | numberOf(MEMORY_POLICY_FLAGS, flag), 0),
    };
  }
  const groups = resctrlGroups(linux, facts.resctrl?.mountpoint, id);
  if (groups === undefined || intelRdt === undefined) return { config };
  const { l3CacheSchema: l3_cache_schema, ...rest } = intelRdt;
  config.intel_rdt = { ...rest, ...(l3_cache_schema === undefined ? {} : { l3_cache_schema }) };
  return {
    config,
    intel_rdt_path: groups.control,
    ...(groups.monitoring === undefined ? {} : { intel_rdt_mon_path: groups.monitoring }),
  };
}

/** As config.json has them: the affinity of later processes, and the memory policy of all. */
export function fromRareRecord(
  { config: { exec_cpu_affinity: affinity, memory_policy: policy } }: StateRecord,
): Pick<Process, "execCPUAffinity"> & Pick<Linux, "memoryPolicy"> {
  const mode = Object.entries(MEMORY_POLICIES).find(([, value]) => value === policy?.mode)?.[0];
  const flags = Object.entries(MEMORY_POLICY_FLAGS).filter(([, bit]) => ((policy?.flags ?? 0) & bit) !== 0);
  return {
    ...(affinity === undefined ? {} : {
      execCPUAffinity: { initial: listOf(affinity.Initial), final: listOf(affinity.Final) },
    }),
    ...(mode === undefined ? {} : {
      memoryPolicy: { mode, nodes: listOf(policy?.nodes), flags: flags.map(([name]) => name) },
    }),
  };
}

const numberOf = (set: Readonly<Record<string, number>>, name: string) => set[name] ?? 0;

/** "0-3,5" as runc keeps it: the words of a mask; null for none. */
function maskOf(list: string | undefined): Mask | null {
  const ids = parseIdList(list ?? "");
  return ids.length === 0 ? null : idMask(ids);
}

const listOf = (mask: Mask | null | undefined): string => idsOfMask(mask ?? []).join(",");
