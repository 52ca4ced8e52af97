/** Descriptors owned by a scope: `using fd = ...` closes at its end unless move() gave the number away. */
import { call, tryCall } from "./call.ts";
import { F } from "../src/abi/flags.ts";

/** A descriptor that this process owns. */
export class Fd implements Disposable {
  #number: number;

  constructor(number: number) {
    this.#number = number;
  }

  /** The number; an error after close() or move(). */
  get number(): number {
    if (this.#number < 0) throw new Error("the descriptor is closed");
    return this.#number;
  }

  /** Gives the number to the caller, who closes it. */
  move(): number {
    const number = this.number;
    this.#number = -1;
    return number;
  }

  close(): void {
    if (this.#number < 0) return;
    tryCall("close", this.#number);
    this.#number = -1;
  }

  /** Lets (or does not let) programs started from here on inherit the descriptor under this number. */
  setInheritable(inheritable: boolean): void {
    call("fcntl", this.number, F.SETFD, inheritable ? 0 : 1);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
