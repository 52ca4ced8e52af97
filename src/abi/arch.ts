/**
 * The two machines runk runs on, and the few constants of the kernel's interface that differ between them.
 * Source: include/uapi/asm-generic/fcntl.h, arch/arm64/include/uapi/asm/fcntl.h, include/uapi/linux/elf-em.h.
 */
export type Arch = "x86_64" | "aarch64";

/** ELF `e_machine` values. */
export const ELF_MACHINE: Record<Arch, number> = { x86_64: 62, aarch64: 183 };

/** open(2) flags, whose values differ between the machines. */
export interface OpenFlags {
  readonly WRONLY: number;
  readonly RDWR: number;
  readonly CREAT: number;
  readonly EXCL: number;
  readonly NOCTTY: number;
  readonly TRUNC: number;
  readonly APPEND: number;
  readonly NONBLOCK: number;
  readonly DIRECTORY: number;
  readonly NOFOLLOW: number;
  readonly CLOEXEC: number;
  readonly PATH: number;
}

const common = {
  WRONLY: 0o1,
  RDWR: 0o2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
};

export const O: Record<Arch, OpenFlags> = {
  x86_64: { ...common, DIRECTORY: 0o200000, NOFOLLOW: 0o400000 },
  aarch64: { ...common, DIRECTORY: 0o40000, NOFOLLOW: 0o100000 },
};
