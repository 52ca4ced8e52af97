/** The executor's machine code in base64. Evaluated when the program is bundled (see src/tasks/bundle.ts). */
import { DATA_ADDRESS } from "./layout.ts";
import { assembleProgram } from "./program.ts";

const base64 = (code: Uint8Array) => btoa(String.fromCharCode(...code));

export default {
  x86_64: base64(assembleProgram("x86_64", DATA_ADDRESS).code),
  aarch64: base64(assembleProgram("aarch64", DATA_ADDRESS).code),
};
