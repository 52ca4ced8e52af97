/**
 * linux.netDevices: network devices of the host that move into the container's network namespace, with their lasting
 * addresses, and are up there. Spoken in rtnetlink(7): the kernel's own answers about addresses, kept in memory that the
 * container's process inherits, are what is asked for again on the other side.
 */
import { AF, AT_FDCWD, CLONE, IOCTL, NETLINK, NLM_F, NLMSG, RTM, SOCK, SOL_NETLINK } from "../../abi/flags.ts";
import { E } from "../../abi/errno.ts";
import { type Lane, slot, text, words } from "../builder.ts";
import { isNew, type Recipe } from "../recipe.ts";
import type { Ref, Task } from "../types.ts";
import { processDirectory } from "./id_maps.ts";
import { meet } from "./lanes.ts";
import { joined } from "./namespaces.ts";

const IFREQ_SIZE = 40;
/** Where struct ifreq has what is asked for: an index, flags. */
const IFR_VALUE = 16;
const IFF_UP = 1;
/** struct nlmsghdr. */
const HEADER = { length: 0, type: 4, flags: 6, size: 16 } as const;
/** struct ifaddrmsg, behind the header. */
const ADDRESS = { flags: 18, scope: 19, index: 20, attributes: 24 } as const;
/** struct ifinfomsg, behind the header. */
const LINK = { index: 20, attributes: 32 } as const;
const IFA_LABEL = 3;
const IFA_F_PERMANENT = 0x80;
const [IFLA_IFNAME, IFLA_NET_NS_FD] = [3, 28];
const ADDRESSES_SIZE = 32768;
/** The kernel fills as much at once, at most. */
const PACKET_SIZE = 8192;
const ANSWER_SIZE = 1024;
const ANSWER_ERROR = 16;
/** Refusals that a user can do something about; of others, only that there was one. */
const REFUSALS = [E.PERM, E.EXIST, E.BUSY, E.NODEV, E.INVAL, E.OPNOTSUPP];

interface Device {
  readonly index: number;
  /** On the host, and in the container. */
  readonly name: string;
  readonly newName: string;
  readonly path: string;
}

function devicesOf({ spec }: Pick<Recipe, "spec">): Device[] {
  return Object.entries(spec.linux?.netDevices ?? {}).map(([name, device], index) => ({
    index,
    name,
    newName: device.name || name,
    path: `/linux/netDevices/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`,
  }));
}

const indexSlot = ({ index }: Device) => `device ${index}`;
const flagsSlot = ({ index }: Device) => `device ${index}'s flags`;
/** Moved, but not under its new name. */
const halfway = ({ index }: Device) => `device ${index} is halfway`;
const addressesOf = (lane: Lane, { index }: Device) =>
  lane.builder.buffer(`device ${index}'s addresses`, ADDRESSES_SIZE);
const taskOf = ({ name, path }: Device, what: string): [string, Omit<Task, "why">] => [
  `${what} network device ${JSON.stringify(name)}`,
  { path, error: `unable to move network device ${JSON.stringify(name)}` },
];

/** Host lane, before the clone: which devices they are, and what addresses they have. */
export function keepAddresses(recipe: Recipe): void {
  const { host } = recipe;
  const devices = devicesOf(recipe);
  if (devices.length === 0) return;
  host.task("talk to the kernel about network devices", { path: "/linux/netDevices" });
  openNetlink(host);
  for (const device of devices) {
    host.task(...taskOf(device, "find"));
    findDevice(host, device, device.name);
    host.set(`${flagsSlot(device)} before`, slot(flagsSlot(device)));
    host.task(...taskOf(device, "keep the lasting addresses of"));
    readAddresses(host, device);
  }
}

/** Both lanes, after the clone: the devices move, and get their addresses again. */
export function moveNetDevices(recipe: Recipe): void {
  const { b, host, box, namespaces } = recipe;
  const devices = devicesOf(recipe);
  if (devices.length === 0) return;
  const isOwn = isNew(recipe, "network");
  const namespace = isOwn ? "container's network" : joined("network");
  if (isOwn) {
    processDirectory(recipe);
    host.sys("openat", [slot("process"), text("ns/net"), b.O.CLOEXEC], { out: namespace });
  }
  host.task("keep the own network namespace to come back to", { path: namespaces.get("network")!.configPath });
  host.sys("openat", [AT_FDCWD, text("/proc/self/ns/net"), b.O.CLOEXEC], { out: "own network" });
  for (const device of devices) {
    host.task(...taskOf(device, "move"));
    const refused = sendMove(host, device, device.newName, namespace);
    const moved = b.unique("moved");
    // The kernel may have moved the device, and then refused its name.
    host.set(halfway(device), 0).jump(moved, { left: slot("answer"), is: "==", right: 0 });
    const gone = { tolerate: [E.NODEV], to: `${moved} halfway` };
    host.sys("ioctl", [slot("netlink"), IOCTL.SIOCGIFINDEX, ifreq(host, device.name)], gone);
    refuse(host, refused);
    host.label(`${moved} halfway`).set(halfway(device), 1).label(moved);
    b.undo(`bring network device ${device.name} back`, (undo) => bringBack(undo, device, namespace));
    const whole = b.unique("whole");
    host.jump(whole, { left: slot(halfway(device)), is: "==", right: 0 });
    refuse(host, refused);
    host.label(whole);
  }
  meet(recipe, "host", "network devices moved");
  openNetlink(box);
  for (const device of devices) {
    box.task(...taskOf(device, "set up in the container"));
    findDevice(box, device, device.newName);
    giveAddresses(box, device);
    bringUp(box, device.newName);
  }
  box.close("netlink");
}

function openNetlink(lane: Lane): void {
  lane.sys("socket", [AF.NETLINK, SOCK.DGRAM | SOCK.CLOEXEC, NETLINK.ROUTE], { out: "netlink" });
  // Then a dump may be of one device.
  lane.sys("setsockopt", [slot("netlink"), SOL_NETLINK, NETLINK.GET_STRICT_CHK, words([1], "{1}"), 4]);
}

function ifreq(lane: Lane, name: string): Ref {
  const bytes = new Uint8Array(IFREQ_SIZE);
  bytes.set(new TextEncoder().encode(name));
  return lane.builder.buffer(`ifreq ${name}`, IFREQ_SIZE, { bytes });
}

/** The index and the flags of a device, by its name. */
function findDevice(lane: Lane, device: Device, name: string): void {
  const request = ifreq(lane, name);
  lane.sys("ioctl", [slot("netlink"), IOCTL.SIOCGIFFLAGS, request]).load(flagsSlot(device), 2, request, IFR_VALUE);
  lane.sys("ioctl", [slot("netlink"), IOCTL.SIOCGIFINDEX, request]).load(indexSlot(device), 4, request, IFR_VALUE);
}

function bringUp(lane: Lane, name: string): void {
  const request = ifreq(lane, name);
  const up = lane.builder.unique("up");
  lane.sys("ioctl", [slot("netlink"), IOCTL.SIOCGIFFLAGS, request]).load("flags", 2, request, IFR_VALUE);
  lane.jump(up, { left: slot("flags"), is: "==", right: IFF_UP, mask: IFF_UP });
  lane.set("flags", slot("flags"), IFF_UP).store(2, slot("flags"), request, IFR_VALUE);
  lane.sys("ioctl", [slot("netlink"), IOCTL.SIOCSIFFLAGS, request]).label(up);
}

/** A message's 64-bit words: nlmsghdr and what follows. */
const header = (length: number, type: number, flags: number) => [
  BigInt(length) | (BigInt(type) << 32n) | (BigInt(flags) << 48n),
  0n,
];

/** Asks for the addresses of a device, and marks those that do not last or are not global as no messages. */
function readAddresses(lane: Lane, device: Device): void {
  const b = lane.builder;
  const buffer = addressesOf(lane, device);
  const size = ADDRESS.attributes;
  const request = b.buffer("address request", size, {
    words: [...header(size, RTM.GETADDR, NLM_F.REQUEST | NLM_F.DUMP), 0n],
  });
  const [receive, message, other, next, done] = ["receive", "message", "other", "next", "addresses"].map((name) =>
    b.unique(name)
  ) as [...[string, string, string, string, string]];
  const [at, end, type] = ["message", "messages' end", "message's type"] as const;
  lane.store(4, slot(indexSlot(device)), request, ADDRESS.index);
  lane.sys("sendto", [slot("netlink"), request, size, 0, 0, 0]);
  lane.set(end, buffer);
  lane.label(receive).set(at, slot(end));
  lane.fail("too many addresses", { left: buffer.plus(ADDRESSES_SIZE - PACKET_SIZE), is: "<", right: slot(end) });
  lane.sys("recvfrom", [slot("netlink"), slot(end), PACKET_SIZE, 0, 0, 0], { out: "received" });
  lane.set(end, slot(end), slot("received"));
  lane.label(message).jump(receive, { left: slot(at), is: "==", right: slot(end) });
  lane.load(type, 2, slot(at), HEADER.type);
  lane.jump(done, { left: slot(type), is: "==", right: NLMSG.DONE });
  lane.fail("the kernel tells no addresses", { left: slot(type), is: "==", right: NLMSG.ERROR });
  lane.load("scope", 1, slot(at), ADDRESS.scope).jump(other, { left: slot("scope"), is: "!=", right: 0 });
  lane.load("flags", 1, slot(at), ADDRESS.flags);
  lane.jump(next, { left: slot("flags"), is: "!=", right: 0, mask: IFA_F_PERMANENT });
  lane.label(other).store(2, NLMSG.NOOP, slot(at), HEADER.type);
  lane.label(next);
  advance(lane, at, "length", 4);
  lane.jump(message).label(done);
}

/** Goes on behind a message or attribute: its length at the place itself, and up to a multiple of 4. */
function advance(lane: Lane, at: string, length: string, bytes: 2 | 4): void {
  lane.load(length, bytes, slot(at)).set(at, slot(at), slot(length));
  const aligned = lane.builder.unique("aligned");
  const step = lane.builder.unique("align");
  lane.label(step).jump(aligned, { left: slot(at), is: "==", right: 0, mask: 3 });
  lane.set(at, slot(at), 1).jump(step).label(aligned);
}

/** Asks the kernel to give a device the addresses that were kept. */
function giveAddresses(lane: Lane, device: Device): void {
  const b = lane.builder;
  const [message, next, done] = ["message", "next", "addresses"].map((name) => b.unique(name)) as [
    ...[string, string, string],
  ];
  const [at, type] = ["message", "message's type"] as const;
  lane.set(at, addressesOf(lane, device));
  lane.label(message).load(type, 2, slot(at), HEADER.type);
  lane.jump(done, { left: slot(type), is: "==", right: NLMSG.DONE });
  lane.jump(next, { left: slot(type), is: "!=", right: RTM.NEWADDR });
  lane.store(2, NLM_F.REQUEST | NLM_F.ACK | NLM_F.CREATE | NLM_F.EXCL, slot(at), HEADER.flags);
  lane.store(4, slot(indexSlot(device)), slot(at), ADDRESS.index);
  if (device.name !== device.newName) dropLabel(lane, at);
  lane.load("length", 4, slot(at));
  lane.sys("sendto", [slot("netlink"), slot(at), slot("length"), 0, 0, 0]);
  requireAnswer(lane, `unable to give network device ${JSON.stringify(device.name)} its addresses`);
  lane.label(next);
  advance(lane, at, "length", 4);
  lane.jump(message).label(done);
}

/** An address's label is the device's name: without one it is the new name. */
function dropLabel(lane: Lane, message: string): void {
  const b = lane.builder;
  const [loop, other, done] = [b.unique("attribute"), b.unique("other"), b.unique("attributes")];
  lane.load("length", 4, slot(message)).set("attributes' end", slot(message), slot("length"));
  lane.set("attribute", slot(message), ADDRESS.attributes);
  lane.label(loop).jump(done, { left: slot("attribute"), is: "==", right: slot("attributes' end") });
  lane.load("kind", 2, slot("attribute"), 2).jump(other, { left: slot("kind"), is: "!=", right: IFA_LABEL });
  lane.store(2, 0, slot("attribute"), 2).label(other);
  advance(lane, "attribute", "length", 2);
  lane.jump(loop).label(done);
}

/**
 * Moves the device of a slot into the namespace of another, under a name; the kernel's answer in slot "answer".
 * @returns the words for a refusal
 */
function sendMove(lane: Lane, device: Device, name: string, namespace: string): string {
  const nameLength = new TextEncoder().encode(name).length + 1;
  const fdAt = LINK.attributes + 4;
  const nameAt = fdAt + 4;
  const length = nameAt + 4 + nameLength;
  const bytes = new Uint8Array((length + 7) & ~7);
  const view = new DataView(bytes.buffer);
  view.setUint32(HEADER.length, length, true);
  view.setUint16(HEADER.type, RTM.SETLINK, true);
  view.setUint16(HEADER.flags, NLM_F.REQUEST | NLM_F.ACK, true);
  view.setUint16(LINK.attributes, 8, true);
  view.setUint16(LINK.attributes + 2, IFLA_NET_NS_FD, true);
  view.setUint16(nameAt, 4 + nameLength, true);
  view.setUint16(nameAt + 2, IFLA_IFNAME, true);
  bytes.set(new TextEncoder().encode(name), nameAt + 4);
  const request = lane.builder.buffer(`move to ${namespace} as ${name}`, bytes.length, { bytes });
  lane.store(4, slot(indexSlot(device)), request, LINK.index).store(4, slot(namespace), request, fdAt);
  lane.sys("sendto", [slot("netlink"), request, length, 0, 0, 0]);
  readAnswer(lane);
  return `unable to move network device ${JSON.stringify(device.name)}`;
}

/** The kernel's answer to a request, in slot "answer": 0, or an error number. */
function readAnswer(lane: Lane): void {
  const answer = lane.builder.buffer("netlink answer", ANSWER_SIZE);
  lane.sys("recvfrom", [slot("netlink"), answer, ANSWER_SIZE, 0, 0, 0]).load("answer", 4, answer, ANSWER_ERROR);
}

/** Fails with what slot "answer" says. */
function refuse(lane: Lane, error: string): void {
  for (const errno of REFUSALS) lane.fail(error, { left: slot("answer"), is: "==", right: 2 ** 32 - errno }, errno);
  lane.fail(error);
}

function requireAnswer(lane: Lane, error: string): void {
  const fine = lane.builder.unique("fine");
  readAnswer(lane);
  lane.jump(fine, { left: slot("answer"), is: "==", right: 0 });
  refuse(lane, error);
  lane.label(fine);
}

/** Of a container that was not made: its namespace would take the device with it, and its addresses. */
function bringBack(undo: Lane, device: Device, namespace: string): void {
  const down = undo.builder.unique("was down");
  undo.sys("setns", [slot(namespace), CLONE.NEWNET]);
  openNetlink(undo);
  const [old, found, fine] = ["old name", "found", "back"].map((name) => undo.builder.unique(name)) as [
    ...[string, string, string],
  ];
  undo.jump(old, { left: slot(halfway(device)), is: "==", right: 1 });
  findDevice(undo, device, device.newName);
  undo.jump(found).label(old);
  findDevice(undo, device, device.name);
  undo.label(found);
  const refused = sendMove(undo, device, device.name, "own network");
  undo.jump(fine, { left: slot("answer"), is: "==", right: 0 });
  refuse(undo, refused);
  undo.label(fine);
  undo.close("netlink").sys("setns", [slot("own network"), CLONE.NEWNET]);
  openNetlink(undo);
  findDevice(undo, device, device.name);
  giveAddresses(undo, device);
  undo.jump(down, { left: slot(`${flagsSlot(device)} before`), is: "==", right: 0, mask: IFF_UP });
  bringUp(undo, device.name);
  undo.label(down).close("netlink");
}
