/** The caller's side of a container's standard streams. */
import { O } from "../abi/arch.ts";
import { call } from "../../ffi/call.ts";
import { Fd } from "../../ffi/fd.ts";
import { arch } from "../../ffi/libc.ts";
import { Memory } from "../../ffi/memory.ts";
import { connectUnix } from "../../ffi/socket.ts";
import { RunkError } from "../errors.ts";
import { Pump } from "./pump.ts";

/** What a foreground command holds while its process runs. */
export interface ForegroundIo {
  /** For the plan's inputs. */
  readonly inputs: Readonly<Record<string, Fd>>;
  /** Called when the process is set up and has not run yet: it shall find its terminal as it is to be. */
  readonly ready: () => void;
  /** Called before the process is attended: the ends given away are closed. */
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
    ready: () => {},
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
