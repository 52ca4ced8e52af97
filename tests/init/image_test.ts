/** The executor's image: what is in it, and how it lies in memory. */
import assert from "node:assert/strict";
import { call } from "../../ffi/call.ts";
import type { Arch } from "../../src/abi/arch.ts";
import { assemble } from "../../src/init/assemble.ts";
import { decodeImage, type Image } from "../support/decode_image.ts";
import { programCode } from "../../src/init/elf.ts";
import { ADDRESS, CODE_OFFSET, DATA_ADDRESS, MACHINE, PAGE_MAX } from "../../src/init/layout.ts";
import { link } from "../../src/init/link.ts";
import { assembleProgram } from "../../src/init/program.ts";
import { slot } from "../../src/plan/builder.ts";
import { planExec } from "../../src/plan/exec.ts";
import { type Operand, type Plan, REF, type Step } from "../../src/plan/types.ts";
import { native, openFile, pipe, planOf } from "../support/machine.ts";
import {
  BUNDLES,
  bundleSpec,
  CLIENT_CONFIGS,
  clientConfig,
  execRequestOf,
  factsOf,
  planFor,
} from "../support/plans.ts";
import { golden } from "../support/golden.ts";
import { test, until, which } from "../support/test.ts";

const ARCHES: readonly Arch[] = ["x86_64", "aarch64"];
const CODE_MAX = 6 * 1024;
const decoder = new TextDecoder();

const inputsOf = (plan: Plan) => Object.fromEntries(["report", ...plan.inputs.keys()].map((name, i) => [name, 40 + i]));
const imageOf = (plan: Plan) => link(assemble(plan, false), [], inputsOf(plan));

test(`the executor has at most ${CODE_MAX} bytes of code`, [], () => {
  for (const arch of ARCHES) {
    const { length } = programCode(arch);
    console.log(`${arch}: ${length} bytes of code`);
    assert.ok(length <= CODE_MAX);
    assert.deepEqual(programCode(arch), assembleProgram(arch, DATA_ADDRESS).code);
  }
});

for (const arch of ARCHES) {
  test(`the executor's listing for ${arch} is the one in tests/golden`, [], () => {
    golden(`executor.${arch}.txt`, assembleProgram(arch, DATA_ADDRESS).listing.join("\n") + "\n");
  });
}

test("an independent disassembler reads the same instructions from the x86_64 code", ["command:objdump"], async () => {
  const { code, listing } = assembleProgram("x86_64", DATA_ADDRESS);
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, code);
    const { stdout } = await new Deno.Command(which("objdump")!, {
      args: ["-D", "-b", "binary", "-m", "i386:x86-64", path],
    }).output();
    const lines = decoder.decode(stdout).split("\n").filter((line) => /^\s+[0-9a-f]+:/.test(line));
    assert.deepEqual(lines.filter((line) => line.includes("(bad)")), []);
    const starts = new Set(lines.map((line) => parseInt(line.trim(), 16)));
    const offsets = listing.filter((line) => line.startsWith("  ")).map((line) => parseInt(line.trim(), 16));
    assert.deepEqual(offsets.filter((offset) => !starts.has(offset)), [], "every operation starts an instruction");
    const count = (pattern: RegExp) => lines.filter((line) => pattern.test(line)).length;
    assert.equal(count(/\tsyscall\s*$/), listing.filter((line) => line.includes("  syscall ")).length);
    assert.equal(count(/\tdiv /), 1);
  } finally {
    await Deno.remove(path);
  }
});

/** All plans that the project has at hand, on one machine. */
function* plans(arch: Arch): Generator<[string, Plan]> {
  for (const name of BUNDLES) yield [name, planFor(bundleSpec(name), arch)];
  for (const name of CLIENT_CONFIGS) yield [name, planFor(clientConfig(name), arch)];
  yield ["exec", planExec(bundleSpec("hello").process!, factsOf(arch), execRequestOf())];
}

for (const arch of ARCHES) {
  test(`no segment of an image for ${arch} is writable and executable, and none shares a page with another`, [], () => {
    for (const [name, plan] of plans(arch)) {
      const { segments, entry } = decodeImage(imageOf(plan));
      const loaded = segments.filter(({ type }) => type === 1);
      const rights = loaded.map((s) => [s.readable, s.writable, s.executable].map(Number).join(""));
      assert.deepEqual(rights, ["101", "110", "100"], name);
      const stack = segments.find(({ type }) => type === 0x6474e551)!;
      assert.equal(stack.executable, false);
      assert.equal(entry, ADDRESS.code + CODE_OFFSET);
      const pages = loaded.flatMap((s) => [s.address, s.address + s.sizeInMemory - 1])
        .map((address) => Math.floor(address / PAGE_MAX));
      for (const [i, s] of loaded.entries()) {
        assert.equal(s.address % PAGE_MAX, s.offset % PAGE_MAX, `${name}: congruent modulo the largest page`);
        const others = pages.filter((_, at) => Math.floor(at / 2) !== i);
        assert.ok(!others.includes(Math.floor(s.address / PAGE_MAX)), `${name}: a page of its own`);
      }
    }
  });

  test(`records for ${arch} say what their steps say, in every plan there is`, [], () => {
    for (const [name, plan] of plans(arch)) {
      const image = decodeImage(imageOf(plan));
      const slots = new Map(plan.slots.map((slot, i) => [slot, BigInt(i)]));
      plan.steps.forEach((step, index) => {
        const record = image.record(index);
        const where = `${name}, step ${index}`;
        assert.equal(record.op, step.op, where);
        assert.equal(record.call, step.call, where);
        assert.equal(record.size, step.op === "load" || step.op === "store" ? step.size : 0, where);
        assert.equal(record.out, step.out === undefined ? undefined : Number(slots.get(step.out)), where);
        assert.equal(record.to, step.to === undefined ? undefined : plan.labels.get(step.to), where);
        assert.equal(record.fail, step.call === "exit_group" ? undefined : plan.labels.get(step.fail), where);
        assert.deepEqual(record.tolerate, step.tolerate ?? [], where);
        operandsOf(step).forEach((operand, i) => {
          const { slot, value } = record.args[i]!;
          assert.equal(slot, typeof operand === "object" && operand.kind === REF.SLOT, where);
          checkOperand({ plan, image, slots, where }, operand, value);
        });
      });
    }
  });

  test(`buffers for ${arch} do not overlap, and hold what they begin with`, [], () => {
    for (const [name, plan] of plans(arch)) {
      const probes: Plan = {
        ...plan,
        steps: plan.buffers.map(({ name }): Step => ({
          ...plan.steps[0]!,
          op: "set",
          args: [{ kind: REF.BUFFER, name, data: undefined, at: 0 } as never],
          out: undefined,
          to: undefined,
          tolerate: undefined,
          when: undefined,
        })),
        labels: new Map([[plan.steps[0]!.fail, 0]]),
      };
      const image = decodeImage(imageOf(probes));
      const ranges = plan.buffers.map(({ name, size, bytes }, i) => {
        const from = Number(image.record(i).args[0]!.value);
        if (bytes !== undefined) assert.deepEqual(image.at(from).slice(0, bytes.length), bytes, name);
        return { name, from, to: from + size };
      }).sort((a, b) => a.from - b.from);
      ranges.reduce((last, next) => {
        assert.ok(last.to <= next.from, `${name}: ${last.name} ends before ${next.name}`);
        return next;
      });
    }
  });
}

/** Where a word stands. */
interface Place {
  readonly plan: Plan;
  readonly image: Image;
  readonly slots: ReadonlyMap<string, bigint>;
  readonly where: string;
}

/** Checks that a word of an image is what an operand stands for. */
function checkOperand({ plan, image, slots, where }: Place, operand: Operand, value: bigint): void {
  if (typeof operand !== "object") return assert.equal(value, BigInt.asUintN(64, BigInt(operand)), where);
  const { kind, name, data, at } = operand;
  const bytes = () => image.at(value - BigInt(at));
  switch (kind) {
    case REF.SLOT:
      return assert.equal(value, slots.get(name), where);
    case REF.LABEL:
      return assert.equal(value, BigInt(plan.labels.get(name)!), where);
    case REF.SIZE:
      return assert.equal(value, BigInt(new TextEncoder().encode(name).length), where);
    case REF.TEXT:
    case REF.JSON:
      return assert.equal(decoder.decode(bytes().subarray(0, bytes().indexOf(0))), name, where);
    case REF.BYTES:
      return assert.deepEqual(bytes().slice(0, (data as Uint8Array).length), data, where);
    case REF.WORDS: {
      const view = new DataView(bytes().slice().buffer);
      const words = data as readonly Operand[];
      return words.forEach((word, i) =>
        checkOperand({ plan, image, slots, where }, word, view.getBigUint64(8 * i, true))
      );
    }
    default: {
      const data = image.segments.find(({ writable }) => writable)!;
      const offset = Number(value) - data.address;
      return assert.ok(offset >= MACHINE.slots + 8 * plan.slots.length && offset < data.sizeInMemory, where);
    }
  }
}

function operandsOf({ op, args, when, errno }: Step): readonly Operand[] {
  if (op !== "jump" && op !== "fail") return args;
  const last = op === "fail" ? errno : args[0] ?? 0;
  return when === undefined ? [0, 0, 0, last] : [when.left, when.right, when.mask ?? -1, last];
}

const [F_GET_SEALS, SEAL, SHRINK, GROW, WRITE] = [1034, 1, 2, 4, 8];

test("a running executor's file is sealed memory, and no memory of it is writable and executable", [], async () => {
  const [reader, writer] = pipe();
  using gate = reader;
  using opener = writer;
  const plan = planOf(native.arch, (b) => {
    const inbox = b.buffer("inbox", 8);
    b.input("gate", "a pipe to wait at");
    b.host.sys("getpid", [], { out: "pid" });
    b.notify(b.host, "waits", ["pid"]);
    b.host.sys("read", [slot("gate"), inbox, 1]);
  });
  let pid = 0;
  const done = native.run(plan, { inputs: { gate }, handlers: { waits: ([value]) => void (pid = value!) } });
  await until("the executor says its pid", () => pid);
  try {
    assert.match(Deno.readLinkSync(`/proc/${pid}/exe`), /^\/memfd:runk-init/);
    using exe = openFile(`/proc/${pid}/exe`);
    assert.equal(call("fcntl", exe.number, F_GET_SEALS, 0), SEAL | SHRINK | GROW | WRITE);
    assert.throws(() => openFile(`/proc/${pid}/exe`, 2), "nor can it be opened to write");
    const maps = Deno.readTextFileSync(`/proc/${pid}/maps`);
    assert.match(maps, /r-xp .*memfd:runk-init/);
    assert.doesNotMatch(maps, /^\S+ .w.?x/m);
    // No loader and no library, but what the kernel maps by itself.
    const files = maps.split("\n").map((line) => line.split(/\s+/)[5]).filter((name) => name?.startsWith("/"));
    assert.deepEqual([...new Set(files)], ["/memfd:runk-init"]);
  } finally {
    opener.close();
    await done;
  }
});

test("an executor inherits standard streams and what its plan takes as input, and nothing else", [], async () => {
  const stray = openFile("/");
  stray.setInheritable(true);
  using _stray = stray;
  const seen: string[] = [];
  const [reader, writer] = pipe();
  using gate = reader;
  using opener = writer;
  const plan = planOf(native.arch, (b) => {
    b.input("gate", "a pipe to wait at");
    // As every plan does first: see steps/prologue.ts.
    b.host.sys("close_range", [3, 0xffffffff, 4]).sys("getpid", [], { out: "pid" });
    b.ask(b.host, "look", ["pid"]);
  });
  const look = ([pid]: readonly number[]) => {
    for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
      if (Number(name) < 3) continue;
      const flags = /flags:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/fdinfo/${name}`))![1]!;
      if ((parseInt(flags, 8) & 0o2000000) === 0) seen.push(Deno.readLinkSync(`/proc/${pid}/fd/${name}`));
    }
  };
  await native.run(plan, { inputs: { gate }, handlers: { look } }).catch(() => {});
  opener.close();
  assert.deepEqual(seen, [], "descriptors that a program would inherit");
});
