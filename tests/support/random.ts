/**
 * fast-check with a seed: the same for every run of the tests, so that a change is judged by itself; another for each
 * `deno task fuzz`, which prints it.
 */
import fc from "fast-check";

const FIXED = 1300;

fc.configureGlobal({ seed: Number(Deno.env.get("RUNK_FUZZ_SEED") ?? FIXED) });

export default fc;
