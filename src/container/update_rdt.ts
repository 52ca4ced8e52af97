/** Changes what a container gets of caches and memory bandwidth (Intel RDT). Source: Documentation/filesystems/resctrl.rst. */
import { describeFileError, RunkError } from "../errors.ts";
import { probeHost } from "../host/probe.ts";
import type { StateRecord } from "../state/record.ts";

/** Lines for the schemata file: "L3:0=f;1=f", "MB:0=20". */
export interface RdtSchemas {
  readonly l3CacheSchema: string | undefined;
  readonly memBwSchema: string | undefined;
}

/**
 * Writes new schemata into the container's control group.
 * @returns the record with them, and what sets the group back
 * @throws {RunkError} in runc's words where the machine shares nothing out, or the container has no group
 */
export function changeRdt(record: StateRecord, wanted: RdtSchemas): { record: StateRecord; undo: () => void } {
  const shared = probeHost({ resctrl: true }).resctrl?.resources ?? [];
  if (wanted.l3CacheSchema !== undefined && !shared.includes("L3")) {
    throw new RunkError("Intel RDT/CAT: l3 cache schema is not enabled");
  }
  if (wanted.memBwSchema !== undefined && !shared.includes("MB")) {
    throw new RunkError("Intel RDT/MBA: memory bandwidth schema is not enabled");
  }
  const old = record.config.intel_rdt;
  if (old === undefined || record.intel_rdt_path === undefined) {
    throw new RunkError("updating a non-existent Intel RDT configuration is not supported");
  }
  const { l3CacheSchema = old.l3_cache_schema, memBwSchema = old.memBwSchema } = wanted;
  const intel_rdt = {
    ...old,
    ...(l3CacheSchema === undefined ? {} : { l3_cache_schema: l3CacheSchema }),
    ...(memBwSchema === undefined ? {} : { memBwSchema }),
  };
  const file = `${record.intel_rdt_path}/schemata`;
  const before = Deno.readTextFileSync(file);
  const write = (text: string) => Deno.writeTextFileSync(file, text, { create: false });
  try {
    write(
      [l3CacheSchema, memBwSchema, ...old.schemata ?? []].filter((line) => line).map((line) => line + "\n").join(""),
    );
  } catch (error) {
    throw new RunkError(`intelrdt: ${describeFileError("write", file, error)}`);
  }
  return { record: { ...record, config: { ...record.config, intel_rdt } }, undo: () => write(before) };
}
