/**
 * The messages that criu's service takes and gives, as data: names, field numbers and types of its images/rpc.proto
 * (proto2), as far as runk uses them. A field that is not set is not sent; one that is not known is skipped.
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

type Scalar = "int32" | "uint32" | "bool" | "string";
interface Field {
  readonly number: number;
  readonly type: Scalar | Schema;
  readonly isList: boolean;
}
export interface Schema {
  readonly [name: string]: Field;
}

interface ScalarValues {
  int32: number;
  uint32: number;
  bool: boolean;
  string: string;
}
type ValueOf<T> = T extends Scalar ? ScalarValues[T] : T extends Schema ? Message<T> : never;
type FieldValue<F extends Field> = F["isList"] extends true ? readonly ValueOf<F["type"]>[] : ValueOf<F["type"]>;
/** A message's fields by name. */
export type Message<S extends Schema> = { readonly [K in keyof S]?: FieldValue<S[K]> | undefined };

const one = <T extends Scalar | Schema>(number: number, type: T) => ({ number, type, isList: false as const });
const many = <T extends Scalar | Schema>(number: number, type: T) => ({ number, type, isList: true as const });

/** enum criu_req_type */
export const TYPE = {
  EMPTY: 0,
  DUMP: 1,
  RESTORE: 2,
  PRE_DUMP: 4,
  NOTIFY: 6,
  FEATURE_CHECK: 9,
  VERSION: 10,
} as const;

/** enum criu_cg_mode */
export const CGROUP_MODE = { ignore: 0, soft: 3, full: 4, strict: 5, default: 6 } as const;

const PAGE_SERVER = { address: one(1, "string"), port: one(2, "int32") } as const;
const EXTERNAL_MOUNT = { key: one(1, "string"), val: one(2, "string") } as const;
const JOINED_NAMESPACE = { ns: one(1, "string"), nsFile: one(2, "string") } as const;
const INHERITED = { key: one(1, "string"), fd: one(2, "int32") } as const;
const CGROUP_ROOT = { ctrl: one(1, "string"), path: one(2, "string") } as const;

const OPTIONS = {
  imagesDirFd: one(1, "int32"),
  pid: one(2, "int32"),
  leaveRunning: one(3, "bool"),
  extUnixSk: one(4, "bool"),
  tcpEstablished: one(5, "bool"),
  evasiveDevices: one(6, "bool"),
  shellJob: one(7, "bool"),
  fileLocks: one(8, "bool"),
  logLevel: one(9, "int32"),
  logFile: one(10, "string"),
  ps: one(11, PAGE_SERVER),
  notifyScripts: one(12, "bool"),
  root: one(13, "string"),
  parentImg: one(14, "string"),
  trackMem: one(15, "bool"),
  autoDedup: one(16, "bool"),
  workDirFd: one(17, "int32"),
  linkRemap: one(18, "bool"),
  extMnt: many(23, EXTERNAL_MOUNT),
  manageCgroups: one(24, "bool"),
  cgRoot: many(25, CGROUP_ROOT),
  rstSibling: one(26, "bool"),
  inheritFd: many(27, INHERITED),
  manageCgroupsMode: one(34, "int32"),
  external: many(37, "string"),
  emptyNs: one(38, "uint32"),
  joinNs: many(39, JOINED_NAMESPACE),
  freezeCgroup: one(44, "string"),
  tcpSkipInFlight: one(46, "bool"),
  lazyPages: one(48, "bool"),
  statusFd: one(49, "int32"),
  orphanPtsMaster: one(50, "bool"),
  configFile: one(51, "string"),
  lsmProfile: one(53, "string"),
  lsmMountContext: one(63, "string"),
} as const;

const FEATURES = { memTrack: one(1, "bool"), lazyPages: one(2, "bool") } as const;

/** criu_req */
export const REQUEST = {
  type: one(1, "int32"),
  opts: one(2, OPTIONS),
  notifySuccess: one(3, "bool"),
  keepOpen: one(4, "bool"),
  features: one(5, FEATURES),
} as const;

/** criu_resp */
export const RESPONSE = {
  type: one(1, "int32"),
  success: one(2, "bool"),
  restore: one(4, { pid: one(1, "int32") } as const),
  notify: one(5, { script: one(1, "string"), pid: one(2, "int32") } as const),
  errno: one(7, "int32"),
  features: one(8, FEATURES),
  errorMessage: one(9, "string"),
  version: one(10, { major: one(1, "int32"), minor: one(2, "int32"), sublevel: one(4, "int32") } as const),
} as const;

export type Options = Message<typeof OPTIONS>;
export type ExternalMount = Message<typeof EXTERNAL_MOUNT>;
export type Features = Message<typeof FEATURES>;
export type Request = Message<typeof REQUEST>;
export type Response = Message<typeof RESPONSE>;

/** A message as bytes. */
export function encode<S extends Schema>(schema: S, message: Message<S>): Uint8Array {
  const writer = new BinaryWriter();
  write(writer, schema, message);
  return writer.finish();
}

function write(writer: BinaryWriter, schema: Schema, message: Message<Schema>): void {
  for (const [name, { number, type }] of Object.entries(schema)) {
    const value = message[name];
    for (const each of value === undefined ? [] : Array.isArray(value) ? value : [value]) {
      if (typeof type === "object") {
        writer.tag(number, WireType.LengthDelimited).fork();
        write(writer, type, each);
        writer.join();
      } else {
        writer.tag(number, type === "string" ? WireType.LengthDelimited : WireType.Varint);
        writer[type](each as never);
      }
    }
  }
}

/** Bytes as a message. @throws {Error} for what is no message at all */
export function decode<S extends Schema>(schema: S, bytes: Uint8Array): Message<S> {
  return read(new BinaryReader(bytes), bytes.length, schema) as Message<S>;
}

function read(reader: BinaryReader, end: number, schema: Schema): Record<string, unknown> {
  const fields = new Map(Object.entries(schema).map(([name, field]) => [field.number, { name, ...field }]));
  const message: Record<string, unknown> = {};
  while (reader.pos < end) {
    const [number, wire] = reader.tag();
    const field = fields.get(number);
    const isText = field?.type === "string" || typeof field?.type === "object";
    if (field === undefined || isText !== (wire === WireType.LengthDelimited)) {
      reader.skip(wire, number);
      continue;
    }
    const { name, type, isList } = field;
    // The length stands before the message: it is read first.
    const value = typeof type === "object" ? readPart(reader, type) : reader[type]();
    if (isList) message[name] = [...(message[name] as unknown[] | undefined ?? []), value];
    else message[name] = value;
  }
  return message;
}

function readPart(reader: BinaryReader, schema: Schema): Record<string, unknown> {
  const length = reader.uint32();
  return read(reader, reader.pos + length, schema);
}
