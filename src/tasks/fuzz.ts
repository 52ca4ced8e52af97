/** `deno task fuzz [--runs N]`: the tests of tests/unit/fuzz with N inputs each, random ones every time. */
const DEFAULT_RUNS = 20_000;

const [flag, value, ...rest] = Deno.args;
const runs = flag === undefined ? DEFAULT_RUNS : Number(value);
if ((flag !== undefined && flag !== "--runs") || !Number.isInteger(runs) || runs < 1 || rest.length > 0) {
  console.error("usage: deno task fuzz [--runs N]");
  Deno.exit(2);
}
const seed = crypto.getRandomValues(new Int32Array(1))[0]!;
console.log(`RUNK_FUZZ_SEED=${seed}`);
const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["test", "--allow-all", "--no-check", "tests/unit/fuzz"],
  env: { RUNK_FUZZ_SEED: String(seed), ...Deno.env.toObject(), RUNK_FUZZ_RUNS: String(runs) },
}).spawn().status;
Deno.exit(code);
