/** A conversation with criu's service, as `criu swrk` holds it: one message asked, one answered, notices in between. */
import { RunkError } from "../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { Memory, memoryOf } from "../../ffi/memory.ts";
import { receiveMessage } from "../../ffi/message.ts";
import type { Poll } from "../../ffi/poll.ts";
import { send } from "../../ffi/socket.ts";
import { decode, encode, type Features, REQUEST, type Request, RESPONSE, type Response, TYPE } from "./messages.ts";

/** criu tells of a point that it has come to, and goes on when this is done; an error makes it take everything back. */
export type OnNotice = (notice: Notice) => void | Promise<void>;

export interface Notice {
  /** As criu's action scripts are called: "post-dump", "setup-namespaces", ... */
  readonly script: string;
  /** The first process, as the host sees it; 0 where criu does not say. */
  readonly pid: number;
  /** The master of a terminal, with "orphan-pts-master"; closed afterwards. */
  readonly descriptor: Fd | undefined;
}

/** 3.17.1 is 31701. */
export type Version = number;

const MESSAGE_MAX = 64 * 1024;
const NAMES = new Map<number, string>(Object.entries(TYPE).map(([name, number]) => [number, name]));

/** One conversation; disposing of it ends criu. */
export class Session implements Disposable {
  readonly #socket: Fd;
  readonly #poll: Poll;

  /** @param socket connected to a criu that was started with the other end */
  constructor(socket: Fd, poll: Poll) {
    this.#socket = socket;
    this.#poll = poll;
  }

  /** Ends the conversation: criu ends, too. */
  [Symbol.dispose](): void {
    this.#socket.close();
  }

  async version(): Promise<Version> {
    const { version } = await this.request({ type: TYPE.VERSION, keepOpen: true });
    return (version?.major ?? 0) * 10000 + (version?.minor ?? 0) * 100 + (version?.sublevel ?? 0);
  }

  /** @throws {RunkError} naming what of `wanted` criu or the kernel does not have */
  async require(wanted: Features): Promise<void> {
    const { features } = await this.request({ type: TYPE.FEATURE_CHECK, features: wanted, keepOpen: true });
    const missing = (["memTrack", "lazyPages"] as const).filter((name) => wanted[name] && !features?.[name]);
    if (missing.length === 0) return;
    const names = missing.map((name) => name[0]!.toUpperCase() + name.slice(1));
    throw new RunkError(`criu is missing features: [${names.join(" ")}]`);
  }

  /**
   * Asks, and waits for the answer.
   * @param heard called when criu has read the request
   * @throws {RunkError} when criu fails, or what `onNotice` threw
   */
  async request(request: Request, onNotice: OnNotice = () => {}, heard: () => void = () => {}): Promise<Response> {
    const name = NAMES.get(request.type ?? 0) ?? "";
    let thrown: unknown;
    send(this.#socket, memoryOf(encode(REQUEST, request)));
    for (;;) {
      const arrived = await this.#receive(name);
      using descriptor = arrived.descriptor;
      const { type = 0, success, notify, errno = 0, errorMessage = "" } = arrived.response;
      heard();
      if (type === TYPE.NOTIFY && success) {
        let notifySuccess = true;
        try {
          await onNotice({ script: notify?.script ?? "", pid: notify?.pid ?? 0, descriptor });
        } catch (error) {
          thrown ??= error;
          notifySuccess = false;
        }
        send(this.#socket, memoryOf(encode(REQUEST, { type, notifySuccess })));
        continue;
      }
      if (thrown !== undefined) throw thrown;
      if (!success) {
        const words = errorMessage.trim() === "" ? "" : `: ${errorMessage.trim()}`;
        throw new RunkError(`criu failed: type ${NAMES.get(type) ?? type} errno ${errno}${words}`);
      }
      return arrived.response;
    }
  }

  async #receive(name: string): Promise<{ response: Response; descriptor: Fd | undefined }> {
    await this.#poll([{ fd: this.#socket.number }]);
    const data = new Memory(MESSAGE_MAX);
    const { length, descriptor } = receiveMessage(this.#socket, data);
    if (length === 0) throw new RunkError(`criu failed: it ended before it had answered (type ${name})`);
    return { response: decode(RESPONSE, data.bytes.subarray(0, length)), descriptor };
  }
}
