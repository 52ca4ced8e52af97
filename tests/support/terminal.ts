/** A terminal for tests: a user who types, reads and resizes; and a server that takes terminals over a console socket. */
import { AT_FDCWD, IOCTL } from "../../src/abi/flags.ts";
import { O } from "../../src/abi/arch.ts";
import { E } from "../../src/abi/errno.ts";
import { call, tryCall } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { cstring, Memory } from "../../ffi/memory.ts";
import { poll } from "../../ffi/poll.ts";
import { UnixServer } from "./unix_server.ts";

const PATIENCE = 20_000;

export interface Started {
  readonly pid: number;
  /** Waits for its end: the exit status. */
  readonly status: () => Promise<number>;
}

/** The master of a terminal: what is typed and what is shown. */
export class Terminal implements Disposable {
  readonly master: Fd;
  readonly #buffer = new Memory(4096);
  #shown = "";

  constructor(master: Fd) {
    this.master = master;
    call("fcntl", master.number, F_SETFL, O[arch].RDWR | O[arch].NONBLOCK);
  }

  /** A new terminal of this machine. */
  static open(): Terminal {
    const flags = O[arch].RDWR | O[arch].NOCTTY | O[arch].CLOEXEC;
    const master = new Fd(call("openat", AT_FDCWD, cstring("/dev/ptmx"), flags, 0));
    call("ioctl", master.number, IOCTL.TIOCSPTLCK, new Memory(8));
    return new Terminal(master);
  }

  /** Path of the other end. */
  get path(): string {
    const number = new Memory(8);
    call("ioctl", this.master.number, IOCTL.TIOCGPTN, number);
    return `/dev/pts/${number.view.getUint32(0, true)}`;
  }

  type(text: string): void {
    const bytes = cstring(text);
    call("write", this.master.number, bytes, bytes.bytes.length - 1);
  }

  resize(columns: number, rows: number): void {
    const size = new Memory(8);
    size.view.setUint16(0, rows, true);
    size.view.setUint16(2, columns, true);
    call("ioctl", this.master.number, IOCTL.TIOCSWINSZ, size);
  }

  /** Waits until something is shown that matches, and takes it and all before it. */
  async expect(pattern: RegExp): Promise<RegExpExecArray> {
    const end = Date.now() + PATIENCE;
    for (let isOver = false;;) {
      const match = pattern.exec(this.#shown);
      if (match !== null) {
        this.#shown = this.#shown.slice(match.index + match[0].length);
        return match;
      }
      if (isOver) {
        throw new Error(`${pattern} was not shown, but ${JSON.stringify(this.#shown)}`);
      }
      // What came with the end counts.
      isOver = Date.now() > end || this.#read() === "end";
      if (isOver) continue;
      await poll([{ fd: this.master.number }], 100);
    }
  }

  /** Reads to the end: all programs have closed it. */
  async end(): Promise<string> {
    const end = Date.now() + PATIENCE;
    while (this.#read() !== "end") {
      if (Date.now() > end) throw new Error(`the terminal does not end: ${JSON.stringify(this.#shown)}`);
      await poll([{ fd: this.master.number }], 100);
    }
    return this.#shown;
  }

  #read(): "more" | "end" {
    for (;;) {
      const length = tryCall("read", this.master.number, this.#buffer, this.#buffer.bytes.length);
      if (length === -E.AGAIN) return "more";
      if (length <= 0) return "end";
      // What moves the cursor about and asks where it is, shows nothing.
      this.#shown = (this.#shown + this.#buffer.text(length)).replace(CONTROL, "");
    }
  }

  /** The terminal echoes, edits lines and makes signals: it is not raw. */
  get isCooked(): boolean {
    const settings = new Memory(64);
    call("ioctl", this.master.number, IOCTL.TCGETS, settings);
    const local = settings.view.getUint32(12, true);
    return (local & (ECHO | ICANON | ISIG)) === (ECHO | ICANON | ISIG);
  }

  /**
   * Starts a program as a login does: in a session of its own, with this as its controlling terminal and its standard
   * streams.
   */
  start(program: string, args: readonly string[], cwd: string): Started {
    const script = 't=$1; shift; exec setsid --ctty "$@" <"$t" >"$t" 2>&1';
    const child = new Deno.Command("sh", {
      args: ["-c", script, "sh", this.path, program, ...args],
      cwd,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    return {
      pid: child.pid,
      status: async () => {
        const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
        const { code, signal } = await child.status;
        clearTimeout(timer);
        if (signal === "SIGKILL") throw new Error(`the program does not end; it shows ${JSON.stringify(this.#shown)}`);
        return code;
      },
    };
  }

  [Symbol.dispose](): void {
    this.master.close();
  }
}

const CONTROL = new RegExp("\u001b\\[[0-9;?]*[A-Za-z]", "g");
const F_SETFL = 4;
const [ISIG, ICANON, ECHO] = [0o1, 0o2, 0o10];

/** A socket that takes terminals, as a shim or conmon has it. */
export class ConsoleSocket implements Disposable {
  readonly #server: UnixServer;

  constructor(path: string) {
    this.#server = new UnixServer(path);
  }

  /** Accepts one connection and takes the terminal that comes over it. */
  async receive(): Promise<Terminal> {
    const [isReady] = await poll([{ fd: this.#server.fd }], PATIENCE);
    if (!isReady) throw new Error("no one sends a terminal");
    return new Terminal(this.#server.receive().fd);
  }

  [Symbol.dispose](): void {
    this.#server[Symbol.dispose]();
    Deno.removeSync(this.#server.path);
  }
}
