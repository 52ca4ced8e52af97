/**
 * D-Bus messages as bytes. Pure. Little endian; only what runk says to systemd and hears from it.
 * Source: https://dbus.freedesktop.org/doc/dbus-specification.html ("Type system", "Message protocol").
 */
import { RunkError } from "../../errors.ts";

/** A value whose type travels with it (signature "v"). */
export interface Variant {
  readonly type: string;
  readonly value: Value;
}
/** By type: y n u i d as numbers, t x as bigints (numbers will do to write them), b s o g, arrays, structs as arrays. */
export type Value = boolean | number | bigint | string | Variant | readonly Value[];

export const MESSAGE = { CALL: 1, RETURN: 2, ERROR: 3, SIGNAL: 4 } as const;
const FIELD = {
  PATH: 1,
  INTERFACE: 2,
  MEMBER: 3,
  ERROR_NAME: 4,
  REPLY_SERIAL: 5,
  DESTINATION: 6,
  SIGNATURE: 8,
} as const;
const FIXED_HEADER = 16;
const LITTLE_ENDIAN = 0x6c;
const VERSION = 1;

const ALIGNMENT: Readonly<Record<string, number>> = {
  ...{ y: 1, g: 1, v: 1, n: 2, q: 2, i: 4, u: 4, b: 4, s: 4, o: 4, a: 4, x: 8, t: 8, d: 8, "(": 8, "{": 8 },
};

/** The complete types of a signature: "a(sv)u" -> ["a(sv)", "u"]. */
export function splitSignature(signature: string): string[] {
  const types: string[] = [];
  for (let at = 0; at < signature.length;) {
    const end = endOfType(signature, at);
    types.push(signature.slice(at, end));
    at = end;
  }
  return types;
}

function endOfType(signature: string, at: number): number {
  const code = signature[at];
  if (code === "a") return endOfType(signature, at + 1);
  if (code !== "(" && code !== "{") {
    if (code === undefined || ALIGNMENT[code] === undefined) throw new RunkError(`bad D-Bus signature ${signature}`);
    return at + 1;
  }
  let depth = 0;
  for (let end = at; end < signature.length; end++) {
    if ("({".includes(signature[end]!)) depth++;
    if (")}".includes(signature[end]!) && --depth === 0) return end + 1;
  }
  throw new RunkError(`bad D-Bus signature ${signature}`);
}

class Writer {
  readonly bytes: number[] = [];

  align(size: number): void {
    while (this.bytes.length % size !== 0) this.bytes.push(0);
  }

  integer(value: number | bigint, size: 1 | 2 | 4 | 8): void {
    this.align(size);
    const unsigned = BigInt.asUintN(8 * size, BigInt(value));
    for (let i = 0; i < size; i++) this.bytes.push(Number((unsigned >> BigInt(8 * i)) & 0xffn));
  }

  text(value: string, lengthSize: 1 | 4): void {
    const encoded = new TextEncoder().encode(value);
    this.integer(encoded.length, lengthSize);
    this.bytes.push(...encoded, 0);
  }

  write(type: string, value: Value): void {
    switch (type[0]) {
      case "y":
        return this.integer(value as number, 1);
      case "n":
      case "q":
        return this.integer(value as number, 2);
      case "i":
      case "u":
        return this.integer(value as number, 4);
      case "x":
      case "t":
        return this.integer(value as bigint, 8);
      case "b":
        return this.integer(value ? 1 : 0, 4);
      case "d": {
        this.align(8);
        this.bytes.push(...new Uint8Array(Float64Array.of(value as number).buffer));
        return;
      }
      case "s":
      case "o":
        return this.text(value as string, 4);
      case "g":
        return this.text(value as string, 1);
      case "v": {
        const { type, value: inner } = value as Variant;
        this.text(type, 1);
        return this.write(type, inner);
      }
      case "a": {
        const element = type.slice(1);
        this.align(4);
        const lengthAt = this.bytes.length;
        this.integer(0, 4);
        this.align(ALIGNMENT[element[0]!]!);
        const start = this.bytes.length;
        for (const item of value as readonly Value[]) this.write(element, item);
        const length = new Uint8Array(Uint32Array.of(this.bytes.length - start).buffer);
        length.forEach((byte, i) => this.bytes[lengthAt + i] = byte);
        return;
      }
      default: {
        this.align(8);
        const types = splitSignature(type.slice(1, -1));
        types.forEach((member, i) => this.write(member, (value as readonly Value[])[i]!));
      }
    }
  }
}

class Reader {
  #at: number;
  readonly #view: DataView;

  constructor(private readonly bytes: Uint8Array, at = 0) {
    this.#at = at;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get at(): number {
    return this.#at;
  }

  align(size: number): void {
    this.#at = Math.ceil(this.#at / size) * size;
  }

  #take(size: number): number {
    this.align(size);
    const at = this.#at;
    if (at + size > this.bytes.length) throw new RunkError("a D-Bus message ends early");
    this.#at += size;
    return at;
  }

  text(length: number): string {
    const start = this.#at;
    if (start + length >= this.bytes.length) throw new RunkError("a D-Bus message ends early");
    this.#at += length + 1;
    return new TextDecoder().decode(this.bytes.subarray(start, start + length));
  }

  read(type: string): Value {
    switch (type[0]) {
      case "y":
        return this.bytes[this.#take(1)]!;
      case "n":
        return this.#view.getInt16(this.#take(2), true);
      case "q":
        return this.#view.getUint16(this.#take(2), true);
      case "i":
        return this.#view.getInt32(this.#take(4), true);
      case "u":
        return this.#view.getUint32(this.#take(4), true);
      case "b":
        return this.#view.getUint32(this.#take(4), true) === 1;
      case "x":
        return this.#view.getBigInt64(this.#take(8), true);
      case "t":
        return this.#view.getBigUint64(this.#take(8), true);
      case "d":
        return this.#view.getFloat64(this.#take(8), true);
      case "s":
      case "o":
        return this.text(this.#view.getUint32(this.#take(4), true));
      case "g":
        return this.text(this.bytes[this.#take(1)]!);
      case "v": {
        const [inner] = splitSignature(this.text(this.bytes[this.#take(1)]!));
        return { type: inner!, value: this.read(inner!) };
      }
      case "a": {
        const element = type.slice(1);
        const length = this.#view.getUint32(this.#take(4), true);
        this.align(ALIGNMENT[element[0]!]!);
        const end = this.#at + length;
        const items: Value[] = [];
        while (this.#at < end) items.push(this.read(element));
        return items;
      }
      default:
        this.align(8);
        return splitSignature(type.slice(1, -1)).map((member) => this.read(member));
    }
  }
}

/** Values as bytes. */
export function marshal(signature: string, values: readonly Value[]): Uint8Array {
  const writer = new Writer();
  splitSignature(signature).forEach((type, i) => writer.write(type, values[i]!));
  return Uint8Array.from(writer.bytes);
}

/** Bytes as values. @throws {RunkError} when they end early */
export function unmarshal(signature: string, bytes: Uint8Array): Value[] {
  const reader = new Reader(bytes);
  return splitSignature(signature).map((type) => reader.read(type));
}

export interface Call {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly Value[];
}

/** A method call. */
export function callMessage(serial: number, call: Call): Uint8Array {
  const { destination, path, member, signature = "", body = [] } = call;
  const content = marshal(signature, body);
  const field = (code: number, type: string, value: string) => [code, { type, value }];
  const fields = [
    field(FIELD.PATH, "o", path),
    field(FIELD.INTERFACE, "s", call.interface),
    field(FIELD.MEMBER, "s", member),
    field(FIELD.DESTINATION, "s", destination),
    ...(signature === "" ? [] : [field(FIELD.SIGNATURE, "g", signature)]),
  ];
  const writer = new Writer();
  writer.write("y", LITTLE_ENDIAN);
  writer.write("y", MESSAGE.CALL);
  writer.write("y", 0);
  writer.write("y", VERSION);
  writer.write("u", content.length);
  writer.write("u", serial);
  writer.write("a(yv)", fields);
  writer.align(8);
  return Uint8Array.from([...writer.bytes, ...content]);
}

export interface Message {
  readonly type: number;
  readonly replySerial: number | undefined;
  readonly path: string | undefined;
  readonly interface: string | undefined;
  readonly member: string | undefined;
  readonly errorName: string | undefined;
  readonly body: readonly Value[];
}

/** How long the message at the start of `bytes` is; undefined while its header is not there. */
export function messageLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < FIXED_HEADER) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] !== LITTLE_ENDIAN) throw new RunkError("a D-Bus message in a foreign byte order");
  const fields = view.getUint32(12, true);
  return Math.ceil((FIXED_HEADER + fields) / 8) * 8 + view.getUint32(4, true);
}

/** A whole message. @throws {RunkError} when it is none */
export function parseMessage(bytes: Uint8Array): Message {
  const reader = new Reader(bytes, 12);
  const fields = new Map(
    (reader.read("a(yv)") as readonly (readonly [number, Variant])[]).map(([code, { value }]) => [code, value]),
  );
  reader.align(8);
  const text = (code: number) => fields.get(code) as string | undefined;
  return {
    type: bytes[1]!,
    replySerial: fields.get(FIELD.REPLY_SERIAL) as number | undefined,
    path: text(FIELD.PATH),
    interface: text(FIELD.INTERFACE),
    member: text(FIELD.MEMBER),
    errorName: text(FIELD.ERROR_NAME),
    body: unmarshal(text(FIELD.SIGNATURE) ?? "", bytes.subarray(reader.at)),
  };
}
