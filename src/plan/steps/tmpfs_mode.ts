/** A tmpfs has the mode of the directory that it covers, if there was one, unless its options say another. */
import { AT, STATX, STATX_FIELD, STATX_SIZE } from "../../abi/flags.ts";
import { type Lane, place, type PlanBuilder, slot, text } from "../builder.ts";
import type { Ref } from "../types.ts";

/** What the kernel gives a tmpfs without "mode=". */
const DEFAULT_MODE = 0o1777;
const BITS = 12;
const DIGITS_SIZE = 24;
const sections = new WeakMap<PlanBuilder, string>();

/** The number whose decimal digits are the octal ones of `mode`: 0o1777 -> 1777. */
const asDecimal = (mode: number) => Number(mode.toString(8));

/**
 * The mode for a tmpfs as a text of octal digits: that of slot "destination", or the default where slot "is new" says that
 * it was just made. The steps exist once in a plan and are jumped to.
 */
export function modeOfDestination(lane: Lane): Ref {
  const b = lane.builder;
  let section = sections.get(b);
  if (section === undefined) sections.set(b, section = addSection(b, lane.name));
  const back = b.unique("mode known");
  lane.set("mode.back", place(back)).jump(section).label(back);
  return digits(b);
}

const digits = (b: PlanBuilder) => b.buffer("tmpfs mode", DIGITS_SIZE);

function addSection(b: PlanBuilder, name: string): string {
  const label = "learn the mode for a tmpfs";
  const [known, statx] = ["tmpfs mode: known", b.buffer("statx", STATX_SIZE)];
  const lane = b.section(name, label);
  lane.task("learn the mode of the directory that a tmpfs covers, and write it in octal");
  lane.set("octal", asDecimal(DEFAULT_MODE)).jump(known, { left: slot("is new"), is: "!=", right: 0 });
  lane.sys("statx", [slot("destination"), text(""), AT.EMPTY_PATH, STATX.MODE, statx]);
  lane.load("mode", 2, statx, STATX_FIELD.mode).set("octal", 0);
  for (let bit = 1; bit < 1 << BITS; bit <<= 1) {
    const clear = `tmpfs mode: ${bit.toString(8)} is clear`;
    lane.jump(clear, { left: slot("mode"), is: "==", right: 0, mask: bit });
    lane.set("octal", slot("octal"), asDecimal(bit)).label(clear);
  }
  lane.label(known).format(slot("octal"), digits(b)).jumpBack("mode.back");
  return label;
}

/** As modeOfDestination, for a tmpfs that is there already, in slot "mount": it does not show its mode as an option. */
export function keepMode(lane: Lane): void {
  const isNew = lane.builder.unique("new");
  const statx = lane.builder.buffer("statx", STATX_SIZE);
  lane.jump(isNew, { left: slot("is new"), is: "!=", right: 0 });
  lane.sys("statx", [slot("destination"), text(""), AT.EMPTY_PATH, STATX.MODE, statx]);
  lane.load("mode", 2, statx, STATX_FIELD.mode);
  lane.sys("fchmodat", [slot("mount"), text("."), slot("mode")]).label(isNew);
}
