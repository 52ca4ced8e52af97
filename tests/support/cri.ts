/** A client of the Container Runtime Interface, as the kubelet is one: calls over gRPC, streams over WebSockets. */
import net from "node:net";
import {
  create,
  type DescMethod,
  type DescMethodUnary,
  fromJson,
  type JsonObject,
  type JsonValue,
  toJson,
} from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { RUNTIME_SERVICE } from "./cri_messages.ts";

/** CRI's NamespaceMode: whose namespace a container uses. */
export const MODE = { POD: 0, CONTAINER: 1, NODE: 2, TARGET: 3 } as const;
/** CRI's states, in the order of their numbers. */
export const CONTAINER_STATES = ["created", "running", "exited", "unknown"] as const;

const PATIENCE = 100_000;
const ORIGIN = "http://localhost";

export interface Exec {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Cri implements Disposable {
  readonly #session: Http2SessionManager;
  readonly #transport: Transport;

  /** @param socket containerd's */
  constructor(socket: string) {
    this.#session = new Http2SessionManager(ORIGIN, {}, { createConnection: () => net.connect(socket) });
    this.#transport = createGrpcTransport({ baseUrl: ORIGIN, sessionManager: this.#session });
  }

  /** Calls a method; fields have the names that CRI gives them, and those with a default value are there, too. */
  async call<Response = JsonValue>(name: string, request: JsonObject = {}): Promise<Response> {
    const method = RUNTIME_SERVICE.methods.find((method) => method.name === name);
    if (method === undefined || !isUnary(method)) throw new Error(`no method ${name} is described`);
    const input = Object.keys(request).length === 0 ? create(method.input) : fromJson(method.input, request);
    const { message } = await this.#transport.unary(method, undefined, PATIENCE, undefined, input);
    return toJson(method.output, message, { alwaysEmitImplicit: true, useProtoFieldName: true }) as Response;
  }

  /** Runs a command in a container to its end. */
  async execSync(container_id: string, cmd: string[], timeout = 60): Promise<Exec> {
    const response = await this.call<{ stdout: string; stderr: string; exit_code: number }>(
      "ExecSync",
      { container_id, cmd, timeout },
    );
    return { status: response.exit_code, stdout: text(response.stdout), stderr: text(response.stderr) };
  }

  /** Opens the stream that a call of Exec or Attach gives the address of. */
  async stream(name: "Exec" | "Attach", request: JsonObject): Promise<Stream> {
    const { url } = await this.call<{ url: string }>(name, { stdin: true, stdout: true, ...request });
    return await Stream.open(url);
  }

  [Symbol.dispose](): void {
    this.#session.abort();
  }
}

const isUnary = (method: DescMethod): method is DescMethodUnary => method.methodKind === "unary";
const text = (base64: string): string => new TextDecoder().decode(Uint8Array.fromBase64(base64));

/** First byte of every message of Kubernetes' channel protocol: what the rest is. */
const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, status: 3, resize: 4 } as const;
const PROTOCOL = "v4.channel.k8s.io";

/** The streams of a process in a container. */
export class Stream {
  readonly #socket: WebSocket;
  readonly #changes = new EventTarget();
  #closed = false;
  readonly #received = { stdout: "", stderr: "", status: "" };

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#receive(new Uint8Array(data as ArrayBuffer));
    socket.onclose = () => {
      this.#closed = true;
      this.#changes.dispatchEvent(new Event("change"));
    };
  }

  static async open(url: string): Promise<Stream> {
    const socket = new WebSocket(url.replace(/^http/, "ws"), [PROTOCOL]);
    const stream = new Stream(socket);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = (event) => reject(new Error(`${url}: ${(event as ErrorEvent).message}`));
    });
    return stream;
  }

  #receive(message: Uint8Array): void {
    const [channel, content] = [message[0], new TextDecoder().decode(message.subarray(1))];
    for (const name of ["stdout", "stderr", "status"] as const) {
      if (channel === CHANNEL[name]) this.#received[name] += content;
    }
    this.#changes.dispatchEvent(new Event("change"));
  }

  type(text: string): void {
    this.#send(CHANNEL.stdin, text);
  }

  resize(columns: number, rows: number): void {
    this.#send(CHANNEL.resize, JSON.stringify({ Width: columns, Height: rows }));
  }

  #send(channel: number, text: string): void {
    this.#socket.send(new Uint8Array([channel, ...new TextEncoder().encode(text)]));
  }

  /** Waits until standard output holds this. */
  async expect(pattern: RegExp): Promise<void> {
    await this.#until(`it prints ${pattern}`, () => pattern.test(this.#received.stdout));
  }

  /** Waits for the end of the process: its exit status, and all that it printed. */
  async end(): Promise<Exec> {
    await this.#until("it ends", () => this.#closed);
    const { stdout, stderr, status } = this.#received;
    return { status: exitStatus(status), stdout, stderr };
  }

  /** Goes away, and leaves the process. */
  close(): void {
    this.#socket.close();
  }

  async #until(what: string, condition: () => boolean): Promise<void> {
    const signal = AbortSignal.timeout(PATIENCE);
    while (!condition()) {
      if (signal.aborted || this.#closed) {
        throw new Error(`waited in vain until ${what}: ${JSON.stringify(this.#received)}`);
      }
      await new Promise((resolve) => {
        this.#changes.addEventListener("change", resolve, { once: true });
        signal.addEventListener("abort", resolve, { once: true });
      });
    }
  }
}

/** The exit status in a Status object of Kubernetes. @throws when it tells of another failure */
function exitStatus(json: string): number {
  const { status, message, details } = JSON.parse(json) as {
    status: string;
    message?: string;
    details?: { causes?: { reason: string; message: string }[] };
  };
  if (status === "Success") return 0;
  const cause = details?.causes?.find(({ reason }) => reason === "ExitCode");
  if (cause === undefined) throw new Error(`the stream ended with: ${message}`);
  return Number(cause.message);
}
