/** Terminals: raw mode, window size. Source: termios(3), ioctl_tty(2). */
import { AT_FDCWD, IOCTL } from "../src/abi/flags.ts";
import { O } from "../src/abi/arch.ts";
import { SysError } from "../src/errors.ts";
import { call, tryCall } from "./call.ts";
import { Fd } from "./fd.ts";
import { arch } from "./libc.ts";
import { cstring, Memory } from "./memory.ts";

/** struct termios of the kernel: four flag words, line discipline, 19 control characters. */
const TERMIOS_SIZE = 36;
const [IFLAG, OFLAG, CFLAG, LFLAG, CC] = [0, 4, 8, 12, 17];
const IGNBRK_TO_IXON = 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000;
const ONLCR = 0o4;
const ISIG_ICANON_ECHO_ECHONL_IEXTEN = 0o1 | 0o2 | 0o10 | 0o100 | 0o100000;
const CSIZE_PARENB = 0o60 | 0o400;
const CS8 = 0o60;
const [VTIME, VMIN] = [5, 6];

/** Whether a descriptor is a terminal. */
const isTerminal = (fd: number): boolean => tryCall("ioctl", fd, IOCTL.TCGETS, new Memory(TERMIOS_SIZE)) === 0;

/** A terminal's settings, changed until disposed of. */
export class TerminalMode implements Disposable {
  readonly #fd: number;
  readonly #original = new Memory(TERMIOS_SIZE);

  private constructor(fd: number) {
    this.#fd = fd;
    call("ioctl", fd, IOCTL.TCGETS, this.#original);
  }

  /**
   * Every key goes through at once and unchanged, as cfmakeraw(3) has it. What is shown is still processed: the line
   * ends of a container's terminal (see clearOnlcr) become carriage return and line feed here.
   */
  static raw(fd: number): TerminalMode {
    const mode = new TerminalMode(fd);
    mode.#change((view) => {
      view.setUint32(IFLAG, view.getUint32(IFLAG, true) & ~IGNBRK_TO_IXON, true);
      view.setUint32(LFLAG, view.getUint32(LFLAG, true) & ~ISIG_ICANON_ECHO_ECHONL_IEXTEN, true);
      view.setUint32(CFLAG, (view.getUint32(CFLAG, true) & ~CSIZE_PARENB) | CS8, true);
      view.setUint8(CC + VMIN, 1);
      view.setUint8(CC + VTIME, 0);
    });
    return mode;
  }

  #change(edit: (view: DataView) => void): void {
    const copy = new Memory(TERMIOS_SIZE);
    copy.bytes.set(this.#original.bytes);
    edit(copy.view);
    call("ioctl", this.#fd, IOCTL.TCSETS, copy);
  }

  /** The settings as they were. */
  restore(): void {
    tryCall("ioctl", this.#fd, IOCTL.TCSETS, this.#original);
  }

  [Symbol.dispose](): void {
    this.restore();
  }
}

/** A new line is one byte: without it a master would answer every line end of the container's with two. */
export function clearOnlcr(fd: number): void {
  const settings = new Memory(TERMIOS_SIZE);
  call("ioctl", fd, IOCTL.TCGETS, settings);
  settings.view.setUint32(OFLAG, settings.view.getUint32(OFLAG, true) & ~ONLCR, true);
  call("ioctl", fd, IOCTL.TCSETS, settings);
}

/** Gives terminal `to` the size of terminal `from`; nothing when one of them is gone. */
export function copyWindowSize(from: number, to: number): void {
  const size = new Memory(8);
  if (tryCall("ioctl", from, IOCTL.TIOCGWINSZ, size) === 0) tryCall("ioctl", to, IOCTL.TIOCSWINSZ, size);
}

/**
 * The terminal that the user sits at: standard error, output or input, else the controlling terminal.
 * @throws {SysError} when there is none
 */
export function hostTerminal(): Fd | number {
  for (const fd of [2, 1, 0]) if (isTerminal(fd)) return fd;
  const answer = tryCall("openat", AT_FDCWD, cstring("/dev/tty"), O[arch].RDWR | O[arch].CLOEXEC, 0);
  if (answer < 0) throw new SysError("open", -answer, "/dev/tty");
  return new Fd(answer);
}
