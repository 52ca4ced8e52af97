/** The executor's operations, on this machine and as aarch64 code under qemu. */
import assert from "node:assert/strict";
import { E } from "../../src/abi/errno.ts";
import { syscallNumber } from "../../src/abi/syscalls.ts";
import { bytes, place, size, slot, text, u32s, words } from "../../src/plan/builder.ts";
import type { Condition } from "../../src/plan/types.ts";
import { emulated, failureOf, type Machine, native, pipe, planOf, readText, slotsAfter } from "../support/machine.ts";
import { type Need, test } from "../support/test.ts";

const MACHINES: readonly (readonly [string, Machine, readonly Need[]])[] = [
  ["natively", native, []],
  ["on aarch64", emulated, ["command:qemu-aarch64-static"]],
];
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

for (const [where, machine, needs] of MACHINES) {
  test(`${where}, set adds numbers and slots in 64 bits`, needs, async () => {
    const values = await slotsAfter(machine, ["a", "b", "c", "d", "e"], ({ host }) => {
      host.set("a", 40, 2).set("b", slot("a"), -2).set("c", ALL_ONES, 1).set("d", 0x7fff_ffff, 1);
      host.set("e", slot("b"), slot("a"));
    });
    assert.deepEqual(values, [42, 40, 0, 0x8000_0000, 82]);
  });

  test(`${where}, store and load move 1, 2, 4 and 8 bytes, and leave those beside them alone`, needs, async () => {
    const pattern = 0x1122_3344_5566_7788n;
    const values = await slotsAfter(machine, ["1", "2", "4", "8", "high", "low", "kept"], (b) => {
      const memory = b.buffer("memory", 32, { words: [ALL_ONES, ALL_ONES, ALL_ONES, ALL_ONES] });
      for (const size of [1, 2, 4, 8] as const) {
        b.host.store(8, ALL_ONES, memory).store(size, pattern, memory);
        b.host.load(String(size), size, memory);
        if (size === 4) b.host.load("high", 4, memory, 4);
      }
      b.host.store(2, 0, memory, 9).load("low", 1, memory, 8).load("kept", 1, memory, 11);
    });
    assert.deepEqual(values, [0x88, 0x7788, 0x5566_7788, Number(pattern), 0xffff_ffff, 0xff, 0xff]);
  });

  test(`${where}, load takes its address and offset from slots and constants`, needs, async () => {
    const values = await slotsAfter(machine, ["word", "far", "byte", "half"], ({ host }) => {
      host.set("at", words([7, 8, 9n << 32n], "three words")).set("offset", 16);
      host.load("word", 8, slot("at"), 8).load("far", 4, slot("at"), 20);
      host.load("byte", 1, bytes(Uint8Array.of(1, 2, 250), "bytes"), 2);
      host.load("half", 4, u32s([5, 6], "numbers").plus(4));
    });
    assert.deepEqual(values, [8, 9, 250, 6]);
  });

  const taken = async (condition: Condition): Promise<boolean> => {
    const [value] = await slotsAfter(machine, ["taken"], ({ host }) => {
      host.set("taken", 1).jump("over", condition).set("taken", 0).label("over").set("after", 0);
    });
    return value === 1;
  };

  test(`${where}, conditions compare 64 bits without sign, under a mask`, needs, async () => {
    const cases: [Condition, boolean][] = [
      [{ left: 5, is: "==", right: 5 }, true],
      [{ left: 5, is: "==", right: 6 }, false],
      [{ left: 5n + (1n << 32n), is: "==", right: 5 }, false],
      [{ left: 5, is: "!=", right: 6 }, true],
      [{ left: 5, is: "!=", right: 5 }, false],
      [{ left: 5, is: "<", right: 6 }, true],
      [{ left: 5, is: "<", right: 5 }, false],
      [{ left: 6, is: "<", right: 5 }, false],
      [{ left: -1, is: "<", right: 1 }, false],
      [{ left: 1, is: "<", right: -1 }, true],
      [{ left: -E.NOENT, is: "==", right: -E.NOENT }, true],
      [{ left: 0o100644, is: "==", right: 0o100000, mask: 0o170000 }, true],
      [{ left: 0o040755, is: "==", right: 0o100000, mask: 0o170000 }, false],
      [{ left: ALL_ONES, is: "==", right: 1n << 63n, mask: 1n << 63n }, true],
      [{ left: ALL_ONES, is: "!=", right: 0, mask: 0 }, false],
    ];
    for (const [condition, holds] of cases) {
      const { left, is, right, mask } = condition;
      assert.equal(await taken(condition), holds, `(${left} & ${mask ?? "all"}) ${is} ${right}`);
    }
  });

  test(`${where}, jump goes forward, back, and to a place kept in a slot`, needs, async () => {
    const values = await slotsAfter(machine, ["rounds", "visits"], (b) => {
      const { host } = b;
      const shared = b.section("host", "shared");
      shared.set("visits", slot("visits"), 1).jumpBack("back");
      host.set("rounds", 0).set("visits", 0).label("again").set("rounds", slot("rounds"), 1);
      host.jump("again", { left: slot("rounds"), is: "<", right: 1000 });
      for (const label of ["first", "second"]) host.set("back", place(label)).jump("shared").label(label);
      host.jump("end").fail("a jump without a condition is always taken").label("end").set("done", 1);
    });
    assert.deepEqual(values, [1000, 2]);
  });

  test(`${where}, each walks the rows of a table`, needs, async () => {
    const values = await slotsAfter(machine, ["sum", "index"], ({ host }) => {
      host.set("sum", 0);
      const rows = [[1, 100], [2, 200], [3, 300]];
      host.each(rows.map(([item]) => ({ item: String(item) })), rows, ([a, b], next) => {
        host.jump(next, { left: a!, is: "==", right: 2 });
        host.set("sum", slot("sum"), a!).set("sum", slot("sum"), b!);
      });
    });
    assert.deepEqual(values, [404, 3]);
  });

  test(
    `${where}, format writes decimal digits up to 2^64-1, a NUL behind them, and tells how many`,
    needs,
    async () => {
      const numbers = [0n, 7n, 10n, 4_294_967_296n, 9_007_199_254_740_993n, 10n ** 19n, ALL_ONES];
      const [reader, writer] = pipe();
      using out = writer;
      using from = reader;
      const plan = planOf(machine.arch, (b) => {
        const digits = b.buffer("digits", 24);
        b.input("out", "where the digits go");
        for (const number of numbers) {
          b.host.store(8, ALL_ONES, digits).store(8, ALL_ONES, digits, 8).store(8, ALL_ONES, digits, 16);
          b.host.format(number, digits, "count").set("count", slot("count"), 1);
          b.host.sys("write", [slot("out"), digits, slot("count")]);
        }
      });
      await machine.run(plan, { inputs: { out } });
      assert.equal(readText(from), numbers.map((number) => `${number}\0`).join(""));
    },
  );

  test(`${where}, a system call gets six arguments, each a number, a slot or an address`, needs, async () => {
    const path = await Deno.makeTempFile();
    try {
      // Room for any page size.
      const page = 0x10000;
      const content = new Uint8Array(2 * page);
      content.set([1, 2, 3, 4, 5, 6, 7, 8], page);
      await Deno.writeFile(path, content);
      const [value, nul] = await slotsAfter(machine, ["value", "closed"], (b) => {
        const { host } = b;
        host.sys("openat", [-100, text(path), b.O.CLOEXEC, 0], { out: "file" }).set("length", page);
        host.sys("mmap", [0, slot("length"), 1, 2, slot("file"), page], { out: "memory" });
        host.load("value", 8, slot("memory")).close("file");
        host.sys("close", [slot("file")], { out: "closed", tolerate: [E.BADF] });
      });
      assert.equal(value, Number(0x0807_0605_0403_0201n));
      assert.equal(nul, -E.BADF, "a tolerated error is kept as the result");
    } finally {
      await Deno.remove(path);
    }
  });

  test(`${where}, texts keep their bytes, and size counts them`, needs, async () => {
    const said = "größe ≠ 5 🙂";
    const [reader, writer] = pipe();
    using out = writer;
    using from = reader;
    const plan = planOf(machine.arch, (b) => {
      b.input("out", "a pipe");
      b.host.sys("write", [slot("out"), text(said), size(said)]);
    });
    await machine.run(plan, { inputs: { out } });
    assert.equal(readText(from), said);
  });

  test(`${where}, a failing call is reported with its step, its errno and its item`, needs, async () => {
    const paths = ["/", "/nowhere/at all", "/tmp"];
    const plan = planOf(machine.arch, (b) => {
      b.host.task("open what there is", { path: "/mounts", error: "cannot open {item}" });
      b.host.each(
        paths.map((item, i) => ({ item, path: `/mounts/${i}` })),
        paths.map((path) => [text(path)]),
        ([path]) => b.host.sys("openat", [-100, path!, b.O.CLOEXEC, 0], { out: "fd" }).close("fd"),
      );
    });
    const { message, failures } = await failureOf(machine, plan);
    assert.match(
      message,
      /^cannot open \/nowhere\/at all: openat\(.*\): no such file or directory \(ENOENT\) \[config.json \/mounts\/1\]$/,
    );
    assert.equal(failures.length, 1);
    assert.equal(failures[0]!.errno, E.NOENT);
    assert.equal(failures[0]!.step.call, "openat");
  });

  test(`${where}, fail stops at its condition, with its words and its errno`, needs, async () => {
    const plan = planOf(machine.arch, ({ host }) => {
      host.set("n", 3).fail("not yet", { left: slot("n"), is: "==", right: 4 });
      host.fail("this is it", { left: slot("n"), is: "==", right: 3 }, E.BUSY).fail("too late");
    });
    assert.equal((await failureOf(machine, plan)).message, "this is it: device or resource busy");
  });

  test(`${where}, of six tolerated errors each is no failure, and leads where it should`, needs, async () => {
    const errors = [E.PERM, E.NOENT, E.EXIST, E.NOTDIR, E.INVAL, E.BADF];
    const values = await slotsAfter(machine, ["went on", "went away"], (b) => {
      const { host } = b;
      host.set("went away", 0).sys("close", [-1], { tolerate: errors }).set("went on", 1);
      host.sys("close", [-1], { tolerate: errors, to: "away" }).jump("end");
      host.label("away").set("went away", 1).label("end").set("done", 1);
    });
    assert.deepEqual(values, [1, 1]);
    const other = planOf(machine.arch, ({ host }) => host.sys("close", [-1], { tolerate: errors.slice(0, 5) }));
    assert.equal((await failureOf(machine, other)).failures[0]!.errno, E.BADF, "an error that is not listed is one");
  });

  test(
    `${where}, a failure runs the undo of what was made, last first, and goes on after a failing undo`,
    needs,
    async () => {
      const directory = await Deno.makeTempDir();
      try {
        const order: number[] = [];
        const plan = planOf(machine.arch, (b) => {
          const { host } = b;
          const [outer, inner] = [`${directory}/outer`, `${directory}/outer/inner`];
          const make = (path: string, number: number) => {
            host.sys("mkdirat", [-100, text(path), 0o755]);
            b.undo(`remove ${number}`, (undo) => {
              undo.set("which", number);
              b.notify(undo, `undone ${number}`, ["which"]);
              undo.sys("unlinkat", [-100, text(path), 0x200]);
            });
          };
          make(outer, 1);
          make(inner, 2);
          b.undo("something that cannot be undone", (undo) => undo.sys("close", [-1]));
          host.fail("enough");
        });
        const undone = (number: number) => () => void order.push(number);
        const error = await failureOf(machine, plan, { handlers: { "undone 1": undone(1), "undone 2": undone(2) } });
        assert.equal(error.message, "enough", "the first failure is the one that is told");
        assert.equal(error.failures.length, 2);
        assert.deepEqual(order, [2, 1]);
        assert.deepEqual([...Deno.readDirSync(directory)], []);
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    },
  );

  test(`${where}, ask waits for the starter's answer; its refusal makes the plan undo itself`, needs, async () => {
    const directory = await Deno.makeTempDir();
    const path = `${directory}/made`;
    const plan = planOf(machine.arch, (b) => {
      b.host.sys("mkdirat", [-100, text(path), 0o755]).set("value", 77);
      b.undo("remove it", (undo) => undo.sys("unlinkat", [-100, text(path), 0x200]));
      b.ask(b.host, "may I", ["value"]);
      b.host.sys("symlinkat", [text("anything"), -100, text(path + "/more")]);
    });
    try {
      const asked: unknown[] = [];
      await machine.run(plan, {
        handlers: {
          "may I": async (values) => {
            // Long enough for a step that does not wait to be seen.
            await new Promise((resolve) => setTimeout(resolve, 50));
            asked.push(values, [...Deno.readDirSync(path)].length);
          },
        },
      });
      assert.deepEqual(asked, [[77], 0], "nothing behind the question is done before the answer");
      await Deno.remove(path, { recursive: true });
      const refusal = new Error("no");
      await assert.rejects(
        machine.run(plan, { handlers: { "may I": () => Promise.reject(refusal) } }),
        (error) => error === refusal,
      );
      assert.deepEqual([...Deno.readDirSync(directory)], []);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });

  test(`${where}, numbers of system calls are the machine's`, needs, async () => {
    const [pid, uid] = await slotsAfter(machine, ["pid", "uid"], ({ host }) => {
      host.sys("getpid", [], { out: "pid" }).sys("getuid", [], { out: "uid" });
    });
    assert.notEqual(pid, Deno.pid);
    assert.ok(pid! > 0);
    assert.equal(uid, Deno.uid());
    assert.notEqual(syscallNumber("x86_64", "getuid"), syscallNumber("aarch64", "getuid"));
  });
}
