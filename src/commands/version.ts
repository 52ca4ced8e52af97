/** What --version prints. */
import { OCI_VERSION } from "../spec/version.ts";
import type { Program } from "./main.ts";

export const VERSION = "0.1.0";
/** The runc whose behaviour runk has; printed when it is called by runc's name, where clients look for a version they know. */
export const RUNC_VERSION = "1.5.1";

/** Lines of "key: value" behind the first, which clients of runc parse. */
export function versionText({ name }: Pick<Program, "name">): string {
  const first = name === "runc" ? `runc version ${RUNC_VERSION}\ncommit: runk-${VERSION}` : `runk version ${VERSION}`;
  return `${first}\nspec: ${OCI_VERSION}\ndeno: ${Deno.version.deno}\n`;
}
