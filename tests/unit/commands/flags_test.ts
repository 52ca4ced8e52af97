/** Command lines by runc's grammar. */
import assert from "node:assert/strict";
import { type Flag, type Parsed, parseDuration, parseFlags, parseInteger } from "../../../src/commands/flags.ts";
import { UsageError } from "../../../src/errors.ts";
import { test } from "../../support/test.ts";

const FLAGS: readonly Flag[] = [
  { name: "bundle", short: "b", kind: "string", help: "" },
  { name: "detach", short: "d", kind: "bool", help: "" },
  { name: "tty", short: "t", kind: "bool", help: "" },
  { name: "env", short: "e", kind: "list", help: "" },
  { name: "preserve-fds", kind: "int", help: "" },
  { name: "memory-swap", kind: "string", help: "" },
  { name: "interval", kind: "duration", default: "5s", help: "" },
  { name: "format", short: "f", kind: "string", default: "table", help: "" },
];

const parse = (line: string, stopAt?: number): Parsed => parseFlags(line.split(" "), FLAGS, stopAt);
const refused = (line: string, message: RegExp) =>
  assert.throws(() => parse(line), (error) => {
    assert.ok(error instanceof UsageError);
    assert.match(error.message, message);
    return true;
  });

test("a flag has one dash or two, a value behind it or after an equals sign, a short name or a long one", [], () => {
  for (const line of ["--bundle x", "-bundle x", "--bundle=x", "-bundle=x", "-b x", "-b=x", "--b x"]) {
    assert.equal(parse(line).options.string("bundle"), "x", line);
  }
  assert.equal(parse("--bundle=a=b").options.string("bundle"), "a=b");
  assert.equal(parse("--bundle=").options.string("bundle"), "");
  assert.equal(parse("--bundle= x").operands[0], "x");
});

test("a value may begin with a dash", [], () => {
  assert.equal(parse("--memory-swap -1").options.string("memory-swap"), "-1");
  assert.equal(parse("--bundle --detach").options.string("bundle"), "--detach");
});

test("bools take no value behind them, but one after an equals sign", [], () => {
  for (const yes of ["", "=true", "=1", "=t", "=T", "=TRUE", "=True"]) {
    assert.equal(parse(`--detach${yes} x`).options.bool("detach"), true);
  }
  for (const no of ["=false", "=0", "=f", "=F", "=FALSE", "=False"]) {
    const { options, operands } = parse(`--detach${no} x`);
    assert.equal(options.bool("detach"), false);
    assert.ok(options.isSet("detach"));
    assert.deepEqual(operands, ["x"]);
  }
  refused("--detach=yes", /^invalid value "yes" for flag -detach: /);
  assert.equal(parse("x").options.isSet("detach"), false);
});

test("short flags do not combine", [], () => {
  refused("-td x", /^flag provided but not defined: -td$/);
  refused("-bx", /^flag provided but not defined: -bx$/);
});

test("lists add up, with commas as they are; of anything else the last counts", [], () => {
  assert.deepEqual(parse("-e A=1,2 --env B=3 -e=C").options.list("env"), ["A=1,2", "B=3", "C"]);
  assert.equal(parse("-b x -b y").options.string("bundle"), "y");
  assert.equal(parse("-d --detach=false").options.bool("detach"), false);
  assert.deepEqual(parse("x").options.list("env"), []);
});

test("flags may stand behind operands, until a double dash or where the command stops", [], () => {
  assert.deepEqual(parse("one --detach two -b x three").operands, ["one", "two", "three"]);
  const ended = parse("one -- --detach -b");
  assert.deepEqual(ended.operands, ["one", "--detach", "-b"]);
  assert.equal(ended.options.isSet("detach"), false);
  const stopped = parse("-d one ls --detach -l", 1);
  assert.deepEqual(stopped.operands, ["one", "ls", "--detach", "-l"]);
  const program = parseFlags(["-d", "create", "-b", "x"], FLAGS, 0);
  assert.deepEqual(program.operands, ["create", "-b", "x"]);
  assert.deepEqual(parse("one -").operands, ["one", "-"], "a dash alone is an operand");
});

test("wrong flags are told in the words that clients look for", [], () => {
  refused("--nosuch x", /^flag provided but not defined: -nosuch$/);
  refused("--nosuch=x", /^flag provided but not defined: -nosuch$/);
  refused("-b", /^flag needs an argument: -b$/);
  refused("x --bundle", /^flag needs an argument: -bundle$/);
  refused("--preserve-fds two", /^invalid value "two" for flag -preserve-fds: /);
  refused("--interval 5", /^invalid value "5" for flag -interval: /);
  refused("--=x", /^flag provided but not defined: -$/);
});

test("every table has help", [], () => {
  for (const line of ["-h", "--help", "x --help", "-help"]) assert.equal(parse(line).options.bool("help"), true);
});

test("values that are not given are the defaults", [], () => {
  const { options } = parse("x");
  assert.equal(options.string("format"), "table");
  assert.equal(options.duration("interval"), 5000);
  assert.equal(options.int("preserve-fds"), 0);
  assert.equal(options.string("bundle"), "");
});

test("integers are decimal, or hexadecimal, octal and binary by their prefixes", [], () => {
  const cases: [string, number | undefined][] = [
    ["0", 0],
    ["42", 42],
    ["-1", -1],
    ["+7", 7],
    ["0x1F", 31],
    ["-0x10", -16],
    ["0o17", 15],
    ["017", 15],
    ["0b101", 5],
    ["9007199254740991", 9007199254740991],
    ["9007199254740992", undefined],
    ["08", undefined],
    ["1e3", undefined],
    ["1.5", undefined],
    ["", undefined],
    ["0x", undefined],
    ["--1", undefined],
    ["1 ", undefined],
  ];
  for (const [text, number] of cases) assert.equal(parseInteger(text), number, text);
});

test("durations are Go's", [], () => {
  const cases: [string, number | undefined][] = [
    ["5s", 5000],
    ["100ms", 100],
    ["1m30s", 90_000],
    ["1h", 3_600_000],
    ["1.5s", 1500],
    [".5s", 500],
    ["2us", 0.002],
    ["2µs", 0.002],
    ["0", 0],
    ["-1s", -1000],
    ["5", undefined],
    ["s", undefined],
    ["", undefined],
    ["5 s", undefined],
    ["1d", undefined],
  ];
  for (const [text, milliseconds] of cases) assert.equal(parseDuration(text), milliseconds, text);
});
