/** What every use case is told of its surroundings; nothing in src/container reads the process's own. */
import type { Poll } from "../../ffi/poll.ts";
import type { Warn } from "../spec/checks.ts";

export interface Runtime {
  /** The state root, absolute. */
  readonly root: string;
  /** Where plans are kept for the next container of the same shape; none are kept without it. */
  readonly planCache: string | undefined;
  /** How to wait for descriptors. */
  readonly poll: Poll;
  /** How messages name this program: "runk", or "runc" when called so. */
  readonly program: string;
  /** The caller's environment, NAME=VALUE. */
  readonly environment: () => readonly string[];
  readonly warn: Warn;
  /** Takes what --debug tells; undefined without it. */
  readonly debug: Warn | undefined;
}
