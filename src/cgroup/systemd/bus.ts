/** A connection to a D-Bus: the system's, or that of a user's session. */
import { RunkError } from "../../errors.ts";
import { type Call, callMessage, MESSAGE, type Message, messageLength, parseMessage, type Value } from "./dbus.ts";

/** How long systemd may take for an answer, in milliseconds. */
const PATIENCE = 30_000;
const READ_SIZE = 16 * 1024;
const BUS = {
  destination: "org.freedesktop.DBus",
  path: "/org/freedesktop/DBus",
  interface: "org.freedesktop.DBus",
} as const;

/** The other side's answer to a call was an error. */
export class BusError extends RunkError {
  override name = "BusError";
  constructor(readonly errorName: string, message: string) {
    super(message);
  }
}

/** One connection: calls and their answers, one after the other, and the signals that arrive meanwhile. */
export class Bus implements Disposable {
  #serial = 0;
  #received = new Uint8Array(0);
  readonly #signals: Message[] = [];

  private constructor(private readonly socket: Deno.UnixConn) {}

  /**
   * Connects and introduces itself.
   * @param address of the bus, as D-Bus writes it: "unix:path=/run/dbus/system_bus_socket"
   * @param uid this process's user, as the bus sees it
   */
  static async connect(address: string, uid: number): Promise<Bus> {
    const path = socketPath(address);
    let socket: Deno.UnixConn;
    try {
      socket = await Deno.connect({ transport: "unix", path });
    } catch (error) {
      throw new RunkError(`cannot connect to D-Bus at ${path} (is systemd running?)`, { cause: error });
    }
    const bus = new Bus(socket);
    try {
      await bus.#introduce(uid);
      return bus;
    } catch (error) {
      bus[Symbol.dispose]();
      throw error;
    }
  }

  /** SASL with the mechanism by which the kernel vouches for the user, then the bus's own greeting. */
  async #introduce(uid: number): Promise<void> {
    const hex = [...String(uid)].map((digit) => digit.charCodeAt(0).toString(16)).join("");
    await this.#send(new TextEncoder().encode(`\0AUTH EXTERNAL ${hex}\r\n`));
    const answer = await within(this.#line());
    if (!answer.startsWith("OK ")) throw new RunkError(`D-Bus does not accept user ${uid}: ${answer}`);
    await this.#send(new TextEncoder().encode("BEGIN\r\n"));
    await this.call({ ...BUS, member: "Hello" });
  }

  /** Asks the bus to hand on signals. @param rule in D-Bus's own words: "type='signal',member='JobRemoved'" */
  async subscribe(rule: string): Promise<void> {
    await this.call({ ...BUS, member: "AddMatch", signature: "s", body: [rule] });
  }

  /**
   * Calls a method and waits for its answer.
   * @throws {BusError} when the answer is an error
   */
  async call(call: Call): Promise<readonly Value[]> {
    const serial = ++this.#serial;
    await this.#send(callMessage(serial, call));
    return await within((async () => {
      for (;;) {
        const message = await this.#next();
        if (message.type === MESSAGE.SIGNAL) this.#signals.push(message);
        if (message.replySerial !== serial) continue;
        if (message.type !== MESSAGE.ERROR) return message.body;
        throw new BusError(message.errorName ?? "", String(message.body[0] ?? message.errorName));
      }
    })());
  }

  /** The first signal that is the one waited for, of those that have come since the subscription. */
  async signal(isIt: (message: Message) => boolean): Promise<Message> {
    return await within((async () => {
      for (;;) {
        const index = this.#signals.findIndex(isIt);
        if (index >= 0) return this.#signals.splice(index, 1)[0]!;
        const message = await this.#next();
        if (message.type === MESSAGE.SIGNAL) this.#signals.push(message);
      }
    })());
  }

  async #send(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) done += await this.socket.write(bytes.subarray(done));
  }

  async #receive(): Promise<void> {
    const chunk = new Uint8Array(READ_SIZE);
    const length = await this.socket.read(chunk);
    if (length === null) throw new RunkError("D-Bus has closed the connection");
    const all = new Uint8Array(this.#received.length + length);
    all.set(this.#received);
    all.set(chunk.subarray(0, length), this.#received.length);
    this.#received = all;
  }

  #take(length: number): Uint8Array {
    const taken = this.#received.slice(0, length);
    this.#received = this.#received.slice(length);
    return taken;
  }

  async #line(): Promise<string> {
    for (;;) {
      const end = this.#received.indexOf("\n".charCodeAt(0));
      if (end >= 0) return new TextDecoder().decode(this.#take(end + 1)).trim();
      await this.#receive();
    }
  }

  async #next(): Promise<Message> {
    for (;;) {
      const length = messageLength(this.#received);
      if (length !== undefined && this.#received.length >= length) return parseMessage(this.#take(length));
      await this.#receive();
    }
  }

  [Symbol.dispose](): void {
    this.socket.close();
  }
}

/** The first path of an address's alternatives. */
export function socketPath(address: string): string {
  for (const alternative of address.split(";")) {
    const [transport, ...rest] = alternative.split(":");
    const path = rest.join(":").split(",").find((pair) => pair.startsWith("path="))?.slice("path=".length);
    if (transport === "unix" && path) return decodeURIComponent(path);
  }
  throw new RunkError(`the D-Bus address ${JSON.stringify(address)} has no path of a socket`);
}

async function within<T>(promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new RunkError(`systemd has not answered for ${PATIENCE / 1000} s`)), PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
