/** Every mount option that runc knows, and what becomes of it. */
import assert from "node:assert/strict";
import fc from "../../support/random.ts";
import { MOUNT_ATTR, MOUNT_ATTR__ATIME, MS } from "../../../src/abi/flags.ts";
import { attributesOf, knownMountOptions, parseMountOptions, propagationOf } from "../../../src/spec/mount_options.ts";
import { test } from "../../support/test.ts";

/** As runc's `features` lists them. */
const ALL =
  ("async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime " +
    "noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime " +
    "relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro " +
    "rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave " +
    "strictatime suid symfollow sync tmpcopyup unbindable").split(" ");

test("the options are runc's, all of them", [], () => {
  assert.deepEqual(knownMountOptions(), ALL);
  for (const option of [...ALL, "idmap", "ridmap"]) assert.deepEqual(parseMountOptions([option]).data, [], option);
});

test("each flag sets its bit, and its opposite clears it again and says so", [], () => {
  const pairs: [string, string, number][] = [
    ["ro", "rw", MS.RDONLY],
    ["nosuid", "suid", MS.NOSUID],
    ["nodev", "dev", MS.NODEV],
    ["noexec", "exec", MS.NOEXEC],
    ["sync", "async", MS.SYNCHRONOUS],
    ["mand", "nomand", MS.MANDLOCK],
    ["noatime", "atime", MS.NOATIME],
    ["nodiratime", "diratime", MS.NODIRATIME],
    ["relatime", "norelatime", MS.RELATIME],
    ["strictatime", "nostrictatime", MS.STRICTATIME],
    ["lazytime", "nolazytime", MS.LAZYTIME],
    ["iversion", "noiversion", MS.I_VERSION],
    ["silent", "loud", MS.SILENT],
    ["nosymfollow", "symfollow", MS.NOSYMFOLLOW],
  ];
  for (const [on, off, bit] of pairs) {
    assert.deepEqual(pick(parseMountOptions([on])), { flags: bit, cleared: 0 }, on);
    assert.deepEqual(pick(parseMountOptions([off])), { flags: 0, cleared: bit }, off);
    assert.deepEqual(pick(parseMountOptions([on, off])), { flags: 0, cleared: bit }, `${on},${off}`);
    assert.deepEqual(pick(parseMountOptions([off, on])), { flags: bit, cleared: 0 }, `${off},${on}`);
  }
  const alone: [string, number][] = [
    ["bind", MS.BIND],
    ["rbind", MS.BIND | MS.REC],
    ["dirsync", MS.DIRSYNC],
    ["remount", MS.REMOUNT],
    ["defaults", 0],
  ];
  for (const [option, flags] of alone) assert.equal(parseMountOptions([option]).flags, flags, option);
});
const pick = ({ flags, cleared }: ReturnType<typeof parseMountOptions>) => ({ flags, cleared });

test("propagation types are kept in their order, with or without recursion", [], () => {
  const types: [string, number][] = [
    ["private", MS.PRIVATE],
    ["slave", MS.SLAVE],
    ["shared", MS.SHARED],
    ["unbindable", MS.UNBINDABLE],
  ];
  for (const [name, flag] of types) {
    assert.equal(propagationOf(name), flag);
    assert.equal(propagationOf("r" + name), flag | MS.REC);
    assert.deepEqual(parseMountOptions([name, "r" + name]).propagation, [flag, flag | MS.REC]);
    assert.equal(parseMountOptions([name]).flags, 0);
  }
  assert.equal(propagationOf("private "), undefined);
});

test("recursive attributes are set or cleared for the whole tree; the access time is one field", [], () => {
  const recursive = (...options: string[]) => parseMountOptions(options).recursive;
  const bits: [string, string, number][] = [
    ["rro", "rrw", MOUNT_ATTR.RDONLY],
    ["rnosuid", "rsuid", MOUNT_ATTR.NOSUID],
    ["rnodev", "rdev", MOUNT_ATTR.NODEV],
    ["rnoexec", "rexec", MOUNT_ATTR.NOEXEC],
    ["rnodiratime", "rdiratime", MOUNT_ATTR.NODIRATIME],
    ["rnosymfollow", "rsymfollow", MOUNT_ATTR.NOSYMFOLLOW],
  ];
  for (const [on, off, bit] of bits) {
    assert.deepEqual(recursive(on), { set: bit, clear: 0 }, on);
    assert.deepEqual(recursive(off), { set: 0, clear: bit }, off);
    assert.deepEqual(recursive(off, on), { set: bit, clear: 0 }, `${off},${on}`);
    assert.deepEqual(recursive(on, off), { set: 0, clear: bit }, `${on},${off}`);
  }
  assert.deepEqual(recursive("rnoatime"), { set: MOUNT_ATTR.NOATIME, clear: MOUNT_ATTR__ATIME });
  assert.deepEqual(recursive("rstrictatime"), { set: MOUNT_ATTR.STRICTATIME, clear: MOUNT_ATTR__ATIME });
  assert.deepEqual(recursive("rrelatime"), { set: 0, clear: MOUNT_ATTR__ATIME });
  assert.equal(recursive("ro", "bind"), undefined);
});

test("a file system's own options pass through in order, empty ones do not", [], () => {
  assert.deepEqual(parseMountOptions(["mode=755", "", "ro", "size=64k", "uid=0"]).data, [
    "mode=755",
    "size=64k",
    "uid=0",
  ]);
});

test("names that every JavaScript object knows are no options of ours", [], () => {
  for (const name of ["constructor", "toString", "__proto__", "hasOwnProperty", "valueOf"]) {
    const { data, flags, recursive, propagation } = parseMountOptions([name]);
    assert.deepEqual({ data, flags, recursive, propagation }, {
      data: [name],
      flags: 0,
      recursive: undefined,
      propagation: [],
    });
    assert.equal(propagationOf(name), undefined);
  }
});

test("any list of texts is taken apart without a loss: what is no option is data", [], () => {
  fc.assert(fc.property(fc.array(fc.oneof(fc.string(), fc.constantFrom(...ALL))), (options) => {
    const { data } = parseMountOptions(options);
    const known = [...ALL, "idmap", "ridmap", "copy-symlink", "src-nofollow", "dest-nofollow"];
    assert.deepEqual(data, options.filter((option) => option !== "" && !known.includes(option)));
  }));
});

test("flags become attributes of a mount; strictatime wins over noatime", [], () => {
  const attributes = (...options: string[]) => attributesOf(parseMountOptions(options).flags);
  assert.equal(attributes("ro", "nosuid", "nodev", "noexec"), 1 | 2 | 4 | 8);
  assert.equal(attributes("noatime"), MOUNT_ATTR.NOATIME);
  assert.equal(attributes("noatime", "strictatime"), MOUNT_ATTR.STRICTATIME);
  assert.equal(attributes("relatime"), 0);
  assert.equal(attributes("nodiratime", "nosymfollow"), MOUNT_ATTR.NODIRATIME | MOUNT_ATTR.NOSYMFOLLOW);
});
