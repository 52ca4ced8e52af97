/** An interpreter for the eBPF instructions of device filters, written from the instruction set's document. */

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * Runs a program on a context that register 1 points to.
 * @returns register 0 at the exit
 */
export function runFilter(program: Uint8Array, context: Uint8Array): number {
  const [code, memory] = [view(program), view(context)];
  const registers: (number | "context" | undefined)[] = [undefined, "context"];
  const read = (index: number): number => {
    const value = registers[index];
    if (typeof value !== "number") throw new Error(`register ${index} is read before it is set`);
    return value;
  };
  for (let pc = 0;; pc++) {
    if (8 * pc >= program.length) throw new Error("the program runs over its end");
    const [op, regs] = [code.getUint8(8 * pc), code.getUint8(8 * pc + 1)];
    const [dst, src] = [regs & 15, regs >> 4];
    const [offset, imm] = [code.getInt16(8 * pc + 2, true), code.getUint32(8 * pc + 4, true)];
    if (dst === 10) throw new Error("the frame pointer is written to");
    switch (op) {
      case 0x61: // BPF_LDX | BPF_MEM | BPF_W
        if (registers[src] !== "context") throw new Error(`register ${src} is no pointer`);
        registers[dst] = memory.getUint32(offset, true);
        break;
      case 0xb4: // BPF_ALU | BPF_MOV | BPF_K
        registers[dst] = imm;
        break;
      case 0xbc: // BPF_ALU | BPF_MOV | BPF_X
        registers[dst] = read(src);
        break;
      case 0x54: // BPF_ALU | BPF_AND | BPF_K
        registers[dst] = (read(dst) & imm) >>> 0;
        break;
      case 0x74: // BPF_ALU | BPF_RSH | BPF_K
        registers[dst] = read(dst) >>> imm;
        break;
      case 0x56: // BPF_JMP32 | BPF_JNE | BPF_K
        if (read(dst) !== imm) pc += offset;
        break;
      case 0x16: // BPF_JMP32 | BPF_JEQ | BPF_K
        if (read(dst) === imm) pc += offset;
        break;
      case 0x95: // BPF_JMP | BPF_EXIT
        return read(0);
      default:
        throw new Error(`instruction ${pc} has opcode 0x${op.toString(16)}`);
    }
  }
}

/** struct bpf_cgroup_dev_ctx: type 1 (block) or 2 (character), access of mknod 1, read 2, write 4. */
export function deviceContext(type: number, access: number, major: number, minor: number): Uint8Array {
  return new Uint8Array(Uint32Array.of((access << 16) | type, major, minor).buffer);
}
