/** The terminal that the user sits at, connected to one in the container. */
import type { Fd } from "../../ffi/fd.ts";
import { receiveDescriptor } from "../../ffi/message.ts";
import { socketPair } from "../../ffi/socket.ts";
import { clearOnlcr, copyWindowSize, hostTerminal, TerminalMode } from "../../ffi/terminal.ts";
import { errorChain, RunkError } from "../errors.ts";
import { Pump } from "./pump.ts";
import type { ForegroundIo } from "./stdio.ts";

/** runc's words, and the cure. */
function terminalOfUser(): Fd | number {
  try {
    return hostTerminal();
  } catch (error) {
    throw new RunkError(
      `${
        errorChain(error)
      }: the process is to have a terminal, and its caller has none (see --detach, --console-socket)`,
    );
  }
}

/** A terminal in the container, connected to the one the user sits at, which is raw meanwhile. */
export function terminal(): ForegroundIo {
  const host = terminalOfUser();
  const hostFd = typeof host === "number" ? host : host.number;
  const [ours, theirs] = socketPair("STREAM");
  let mode: TerminalMode | undefined;
  let master: Fd | undefined;
  const resize = () => copyWindowSize(hostFd, master!.number);
  return {
    inputs: { console: theirs },
    ready: () => {
      theirs.close();
      master = receiveDescriptor(ours);
      if (master === undefined) throw new RunkError("the container sent no terminal");
      clearOnlcr(master.number);
      resize();
      mode = TerminalMode.raw(hostFd);
    },
    connect: () => ({
      input: [new Pump(0, master!.number)],
      output: [new Pump(master!.number, 1)],
      onResize: resize,
    }),
    close: () => {
      mode?.restore();
      master?.close();
      ours.close();
      theirs.close();
      if (typeof host !== "number") host.close();
    },
  };
}
