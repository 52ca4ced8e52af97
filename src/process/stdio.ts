/** The caller's side of a container's standard streams: pipes, or a terminal. */
import { O } from "../abi/arch.ts";
import { call } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { Memory } from "../../ffi/memory.ts";
import { connectUnix, receiveDescriptor, socketPair } from "../../ffi/socket.ts";
import { clearOnlcr, copyWindowSize, hostTerminal, TerminalMode } from "../../ffi/terminal.ts";
import { RunkError } from "../errors.ts";
import { Pump } from "./pump.ts";

/** What a foreground command holds while its process runs. */
export interface ForegroundIo {
  /** For the plan's inputs. */
  readonly inputs: Readonly<Record<string, Fd>>;
  /** Called when the process is set up and before it is attended: the ends given away are closed. */
  connect(): { input: Pump[]; output: Pump[]; onResize?: () => void };
  close(): void;
}

function pipe(): [read: Fd, write: Fd] {
  const pair = new Memory(8);
  call("pipe2", pair, O[arch].CLOEXEC);
  return [new Fd(pair.view.getInt32(0, true)), new Fd(pair.view.getInt32(4, true))];
}

/** Three pipes, owned by the container's root so that its processes can open them by name. */
export function pipes(owner: { uid: number; gid: number }): ForegroundIo {
  const [stdin, toStdin] = pipe();
  const [fromStdout, stdout] = pipe();
  const [fromStderr, stderr] = pipe();
  for (const fd of [stdin, stdout, stderr]) call("fchown", fd.number, owner.uid, owner.gid);
  const ours = [toStdin, fromStdout, fromStderr];
  return {
    inputs: { stdin, stdout, stderr },
    connect: () => {
      for (const fd of [stdin, stdout, stderr]) fd.close();
      return {
        input: [new Pump(0, toStdin.number, () => toStdin.close())],
        output: [
          new Pump(fromStdout.number, 1, () => fromStdout.close()),
          new Pump(fromStderr.number, 2, () => fromStderr.close()),
        ],
      };
    },
    close: () => [stdin, stdout, stderr, ...ours].forEach((fd) => fd.close()),
  };
}

/** A terminal in the container, connected to the one the user sits at, which is raw meanwhile. */
export function terminal(): ForegroundIo {
  const host = hostTerminal();
  const hostFd = typeof host === "number" ? host : host.number;
  const [ours, theirs] = socketPair("STREAM");
  let mode: TerminalMode | undefined;
  let master: Fd | undefined;
  return {
    inputs: { console: theirs },
    connect: () => {
      theirs.close();
      master = receiveDescriptor(ours);
      if (master === undefined) throw new RunkError("the container sent no terminal");
      clearOnlcr(master.number);
      mode = TerminalMode.raw(hostFd);
      const resize = () => copyWindowSize(hostFd, master!.number);
      resize();
      return {
        input: [new Pump(0, master.number)],
        output: [new Pump(master.number, 1)],
        onResize: resize,
      };
    },
    close: () => {
      mode?.restore();
      master?.close();
      ours.close();
      theirs.close();
      if (typeof host !== "number") host.close();
    },
  };
}

/** The socket that takes a detached container's terminal. @throws {SysError} naming its path */
export const consoleSocket = (path: string): Fd => connectUnix(path);

/** The texts of runc for a terminal that has nowhere to go, and a socket that nothing would come to. */
export function checkTerminal(options: { detach: boolean; terminal: boolean; consoleSocket: string }): void {
  if (options.detach && options.terminal && options.consoleSocket === "") {
    throw new RunkError("cannot allocate tty if runc will detach without setting console socket");
  }
  if ((!options.detach || !options.terminal) && options.consoleSocket !== "") {
    throw new RunkError("cannot use console socket if runc will not detach or allocate tty");
  }
}
