/** runk update */
import { update } from "../container/update.ts";
import type { RdtSchemas } from "../container/update_rdt.ts";
import { RunkError } from "../errors.ts";
import { checkDocument } from "../spec/check_document.ts";
import { parseDocument } from "../spec/document.ts";
import { correctNames } from "../spec/letter_case.ts";
import type { Resources } from "../spec/schema.ts";
import { given } from "../state/resources.ts";
import { type Command, readOperand } from "./command.ts";
import type { Flag, Options } from "./flags.ts";

const string = (name: string, help: string, more: Partial<Flag> = {}): Flag => ({
  name,
  kind: "string",
  help,
  ...more,
});

export const command: Command = {
  flags: [
    string("resources", 'file with the limits as JSON, "-" for standard input; other flags are ignored then', {
      short: "r",
      value: "file",
    }),
    { name: "blkio-weight", kind: "int", default: "0", help: "share of disk time, 10 to 1000" },
    string("cpu-period", "length of the period of --cpu-quota, in microseconds"),
    string("cpu-quota", "CPU time in each period, in microseconds; -1 for no limit"),
    string("cpu-burst", "CPU time that may be saved up for later periods, in microseconds"),
    string("cpu-share", "share of CPU time, relative to other containers"),
    string("cpu-rt-period", "length of the period of --cpu-rt-runtime, in microseconds"),
    string("cpu-rt-runtime", "time for real-time processes in each period, in microseconds"),
    string("cpuset-cpus", "CPUs to run on: 0-3,7"),
    string("cpuset-mems", "memory nodes to allocate on: 0-1"),
    string("cpu-idle", "run only when no one else wants the CPU: 1, or 0 for normal"),
    string("kernel-memory", "ignored: the kernel has no such limit any more", { hidden: true }),
    string("kernel-memory-tcp", "ignored: the kernel has no such limit any more", { hidden: true }),
    string("memory", "limit on memory, in bytes or with k, m, g, t behind it; -1 for none"),
    string("memory-reservation", "memory to be left with when memory gets scarce (as --memory)"),
    string("memory-swap", "limit on memory and swap together (as --memory)"),
    { name: "pids-limit", kind: "int", default: "0", help: "how many processes and threads there may be; -1 for any" },
    string("l3-cache-schema", "schema of Intel RDT for the L3 cache"),
    string("mem-bw-schema", "schema of Intel RDT for memory bandwidth"),
  ],
  operands: [1, 1],
  usage: "<container-id>",
  help: `Changes the limits of a container that is not stopped. Either all values are
taken, or, when the kernel refuses one, none is.

The JSON that --resources reads has the form of linux.resources in config.json;
its devices, hugepageLimits, network and rdma are not changed:

{
  "memory": { "limit": 0, "reservation": 0, "swap": 0 },
  "cpu": {
    "shares": 0, "quota": 0, "burst": 0, "period": 0, "realtimeRuntime": 0,
    "realtimePeriod": 0, "cpus": "", "mems": "", "idle": 0
  },
  "pids": { "limit": 0 },
  "blockIO": { "weight": 0 }
}

EXAMPLE:
   # runk update --memory 512m --memory-swap 1g --cpu-share 512 box
   # echo '{"pids":{"limit":100}}' | runk update --resources - box`,
  run: async ({ runtime, options, operands }) => {
    const file = options.string("resources");
    const wanted = file === "" ? resourcesOfFlags(options) : await readResources(file);
    if (wanted.memory?.kernel !== undefined || wanted.memory?.kernelTCP !== undefined) {
      runtime.warn("Kernel memory settings are ignored and will be removed");
    }
    await update(runtime, operands[0]!, wanted, rdtSchemas(options));
  },
};

async function readResources(file: string): Promise<Resources> {
  const { text, name } = await readOperand(file);
  const document = parseDocument(text, name);
  correctNames("resources", document);
  await checkDocument("resources", document, name);
  return document as Resources;
}

function resourcesOfFlags(options: Options): Resources {
  const size = (name: string) => options.string(name) === "" ? undefined : parseSize(name, options.string(name));
  const uint64 = (name: string) => parseInteger(name, options.string(name), 0n, 2n ** 64n - 1n);
  const int64 = (name: string) => parseInteger(name, options.string(name), -(2n ** 63n), 2n ** 63n - 1n);
  const weight = options.int("blkio-weight");
  if (weight < 0 || weight > 0xffff) {
    throw new RunkError(`invalid value for blkio-weight: ${weight}: 10 to 1000 is expected`);
  }
  return {
    memory: given({
      limit: size("memory"),
      swap: size("memory-swap"),
      reservation: size("memory-reservation"),
      kernel: size("kernel-memory"),
      kernelTCP: size("kernel-memory-tcp"),
      checkBeforeUpdate: false,
    }),
    cpu: given({
      shares: uint64("cpu-share"),
      quota: int64("cpu-quota"),
      period: uint64("cpu-period"),
      burst: uint64("cpu-burst"),
      realtimePeriod: uint64("cpu-rt-period"),
      realtimeRuntime: int64("cpu-rt-runtime"),
      cpus: options.string("cpuset-cpus") || undefined,
      mems: options.string("cpuset-mems") || undefined,
      idle: int64("cpu-idle"),
    }),
    ...(options.isSet("pids-limit") ? { pids: { limit: options.int("pids-limit") } } : {}),
    ...(weight === 0 ? {} : { blockIO: { weight } }),
  };
}

/** @throws {RunkError} in Go's words for what is no decimal integer, or none of the type */
function parseInteger(name: string, text: string, least: bigint, most: bigint): bigint | undefined {
  if (text === "") return undefined;
  const parser = least === 0n ? "ParseUint" : "ParseInt";
  const isInteger = least === 0n ? /^\d+$/ : /^[+-]?\d+$/;
  const invalid = (reason: string) =>
    new RunkError(`invalid value for ${name}: strconv.${parser}: parsing ${JSON.stringify(text)}: ${reason}`);
  if (!isInteger.test(text)) throw invalid("invalid syntax");
  const value = BigInt(text.replace(/^\+/, ""));
  if (value < least || value > most) throw invalid("value out of range");
  return value;
}

const UNITS = "kmgtp";

/** "512m", "1.5 GiB", "4096", "-1": bytes. */
function parseSize(name: string, text: string): bigint {
  if (text === "-1") return -1n;
  const match = /^(\d+(?:\.\d*)?|\.\d+) ?(?:([kmgtp])?i?b?)?$/i.exec(text);
  if (match === null) throw new RunkError(`invalid value for ${name}: invalid size: ${JSON.stringify(text)}`);
  const power = match[2] === undefined ? 0 : UNITS.indexOf(match[2].toLowerCase()) + 1;
  const isWhole = /^\d+$/.test(match[1]!);
  const factor = 1024n ** BigInt(power);
  return isWhole ? BigInt(match[1]!) * factor : BigInt(Math.trunc(Number(match[1]) * Number(factor)));
}

function rdtSchemas(options: Options): RdtSchemas | undefined {
  const [l3CacheSchema, memBwSchema] = ["l3-cache-schema", "mem-bw-schema"].map((name) =>
    options.string(name) || undefined
  );
  return l3CacheSchema === undefined && memBwSchema === undefined ? undefined : { l3CacheSchema, memBwSchema };
}
