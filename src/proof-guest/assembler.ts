// A minimal x86 assembler: the few instructions that the proof guest needs, with forward references to labels. Owns encodings and
// fix-ups, nothing specific to the guest. Not a general assembler: memory operands exist only in 32-bit sections, and conditional
// jumps are short.

/** A 32-bit general register; `al` is the low byte of `eax`. */
export type Register = "eax" | "ecx" | "edx" | "ebx" | "esp" | "ebp" | "esi" | "edi";
/** A data segment register. */
export type SegmentRegister = "es" | "ss" | "ds";
/** A 32-bit memory operand: `base + displacement`, or the absolute address `displacement`. */
export interface Memory {
  readonly base?: Exclude<Register, "esp">;
  readonly displacement: number;
}
/** A reference to a named place in the code, as the address operand of an instruction. */
export interface AddressOf {
  readonly label: string;
}

const registerNumber: Readonly<Record<Register, number>> = {
  eax: 0,
  ecx: 1,
  edx: 2,
  ebx: 3,
  esp: 4,
  ebp: 5,
  esi: 6,
  edi: 7,
};
const segmentNumber: Readonly<Record<SegmentRegister, number>> = { es: 0, ss: 2, ds: 3 };

type FixupKind = "relative8" | "relative16" | "relative32" | "absolute32" | "low16" | "high16";
interface Fixup {
  readonly kind: FixupKind;
  readonly at: number;
  readonly label: string;
}

/** References the address of a label, for `mov` and `dword`. */
export function addressOf(label: string): AddressOf {
  return { label };
}

/** References the memory at an absolute address. */
export function at(address: number): Memory {
  return { displacement: address };
}

/** References the memory `displacement` bytes after the address in `base`. */
export function atRegister(base: Exclude<Register, "esp">, displacement = 0): Memory {
  return { base, displacement };
}

/** Collects code and data from `origin` (the linear address of the first byte); `assemble` resolves the labels. */
export class Assembler {
  readonly #origin: number;
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: Fixup[] = [];
  #bits: 16 | 32 = 16;

  constructor(origin: number) {
    this.#origin = origin;
  }

  /** The linear address of the next byte. */
  get address(): number {
    return this.#origin + this.#bytes.length;
  }

  /** Instructions from here on are decoded by a CPU in 16-bit or 32-bit mode. */
  bits(bits: 16 | 32): void {
    this.#bits = bits;
  }

  /** Places a label at the next byte. Throws when the label is already placed. */
  label(name: string): void {
    if (this.#labels.has(name)) throw new Error(`label "${name}" is placed twice`);
    this.#labels.set(name, this.address);
  }

  // Data

  byte(...values: number[]): void {
    for (const value of values) this.#bytes.push(value & 0xff);
  }
  word(value: number): void {
    this.byte(value, value >>> 8);
  }
  dword(value: number | AddressOf): void {
    if (typeof value === "number") this.byte(value, value >>> 8, value >>> 16, value >>> 24);
    else this.#refer("absolute32", value.label, 4);
  }
  /** Emits ASCII text, terminated by a zero byte. */
  text(text: string): void {
    for (const character of text) this.byte(character.charCodeAt(0));
    this.byte(0);
  }
  /** Pads up to a linear address. Throws when the code already extends beyond it. */
  padTo(address: number, fill = 0): void {
    if (this.address > address) throw new Error(`code ends at ${hex(this.address)}, beyond ${hex(address)}`);
    while (this.address < address) this.#bytes.push(fill);
  }
  /** Emits an IDT entry: a present 32-bit interrupt gate of ring 0 to `handler`. */
  interruptGate(selector: number, handler: string): void {
    this.#refer("low16", handler, 2);
    this.word(selector);
    this.byte(0, 0x8e);
    this.#refer("high16", handler, 2);
  }

  // Moves

  mov(register: Register, value: number | AddressOf): void {
    this.#operand32();
    this.byte(0xb8 + registerNumber[register]);
    this.dword(value);
  }
  load(register: Register, from: Memory): void {
    this.#withMemory(0x8b, registerNumber[register], from);
  }
  store(to: Memory, register: Register): void {
    this.#withMemory(0x89, registerNumber[register], to);
  }
  /** Loads a data segment register from `ax`. */
  movSegmentFromAx(segment: SegmentRegister): void {
    this.byte(0x8e, 0xc0 | (segmentNumber[segment] << 3));
  }
  movEaxFromCr0(): void {
    this.byte(0x0f, 0x20, 0xc0);
  }
  movCr0FromEax(): void {
    this.byte(0x0f, 0x22, 0xc0);
  }
  movAl(value: number): void {
    this.byte(0xb0, value);
  }
  /** Loads `al` from the byte at `esi` and advances `esi`. */
  lodsb(): void {
    this.byte(0xac);
  }
  push(register: Register): void {
    this.#operand32();
    this.byte(0x50 + registerNumber[register]);
  }
  pop(register: Register): void {
    this.#operand32();
    this.byte(0x58 + registerNumber[register]);
  }

  // Arithmetic

  add(register: Register, value: number | Register | Memory): void {
    if (typeof value === "number") this.#withImmediate(0, register, value);
    else if (typeof value === "string") this.#withRegister(0x03, registerNumber[register], value);
    else this.#withMemory(0x03, registerNumber[register], value);
  }
  cmp(register: Register, value: number): void {
    this.#withImmediate(7, register, value);
  }
  inc(target: Register | Memory): void {
    if (typeof target === "object") this.#withMemory(0xff, 0, target);
    else this.#withRegister(0xff, 0, target);
  }
  dec(register: Register): void {
    this.#withRegister(0xff, 1, register);
  }
  rol(register: Register, bits: number): void {
    this.#withRegister(0xc1, 0, register);
    this.byte(bits);
  }
  addAl(value: number): void {
    this.byte(0x04, value);
  }
  orAl(value: number): void {
    this.byte(0x0c, value);
  }
  andAl(value: number): void {
    this.byte(0x24, value);
  }
  cmpAl(value: number): void {
    this.byte(0x3c, value);
  }
  testAl(value: number): void {
    this.byte(0xa8, value);
  }

  // Jumps

  jmp(label: string): void {
    this.byte(0xe9);
    if (this.#bits === 16) this.#refer("relative16", label, 2);
    else this.#refer("relative32", label, 4);
  }
  jmpShort(label: string): void {
    this.#short(0xeb, label);
  }
  /** Jumps when the last result was zero, or the last comparison equal. */
  jz(label: string): void {
    this.#short(0x74, label);
  }
  jnz(label: string): void {
    this.#short(0x75, label);
  }
  /** Jumps when the last comparison was "below", unsigned. */
  jb(label: string): void {
    this.#short(0x72, label);
  }
  jbe(label: string): void {
    this.#short(0x76, label);
  }
  /** Jumps to the address held in memory. */
  jmpTo(address: Memory): void {
    this.#withMemory(0xff, 4, address);
  }
  /** Far jump to a 32-bit code segment. */
  jmpFar(selector: number, label: string): void {
    this.#operand32();
    this.byte(0xea);
    this.#refer("absolute32", label, 4);
    this.word(selector);
  }
  call(label: string): void {
    this.#only32("call");
    this.byte(0xe8);
    this.#refer("relative32", label, 4);
  }
  ret(): void {
    this.byte(0xc3);
  }
  iret(): void {
    this.byte(0xcf);
  }

  // Processor and ports

  cli(): void {
    this.byte(0xfa);
  }
  sti(): void {
    this.byte(0xfb);
  }
  hlt(): void {
    this.byte(0xf4);
  }
  cld(): void {
    this.byte(0xfc);
  }
  /** Loads the GDT register in a 16-bit section, from a label in the code segment itself. */
  lgdtFromCodeSegment(label: string): void {
    if (this.#bits !== 16) throw new Error("lgdtFromCodeSegment belongs in a 16-bit section");
    this.byte(0x66, 0x2e, 0x0f, 0x01, 0x16);
    this.#refer("low16", label, 2);
  }
  lidt(label: string): void {
    this.#only32("lidt");
    this.byte(0x0f, 0x01, 0x1d);
    this.#refer("absolute32", label, 4);
  }
  /** Reads the port in `dx` into `al`. */
  inAlDx(): void {
    this.byte(0xec);
  }
  /** Writes `al` to the port in `dx`. */
  outDxAl(): void {
    this.byte(0xee);
  }
  /** Reads 32 bits from the port in `dx` into `eax`. */
  inEaxDx(): void {
    this.#operand32();
    this.byte(0xed);
  }
  outDxEax(): void {
    this.#operand32();
    this.byte(0xef);
  }
  /** Reads a port below 256 into `al`. */
  inAl(port: number): void {
    this.byte(0xe4, port);
  }
  /** Writes `al` to a port below 256. */
  outAl(port: number): void {
    this.byte(0xe6, port);
  }
  /** Writes a constant to a port through `al` and `dx`. */
  outb(port: number, value: number): void {
    this.mov("edx", port);
    this.movAl(value);
    this.outDxAl();
  }

  /** Returns the assembled bytes. Throws on a label that was never placed and on a jump out of range. */
  assemble(): Uint8Array {
    const image = Uint8Array.from(this.#bytes);
    const view = new DataView(image.buffer);
    for (const fixup of this.#fixups) this.#resolve(view, fixup);
    return image;
  }

  #resolve(view: DataView, { kind, at: offset, label }: Fixup): void {
    const target = this.#labels.get(label);
    if (target === undefined) throw new Error(`unknown label "${label}"`);
    const place = this.#origin + offset;
    if (kind === "relative8") {
      const distance = target - (place + 1);
      if (distance < -128 || distance > 127) {
        throw new RangeError(`short jump to "${label}" spans ${distance} bytes: expected -128 to 127`);
      }
      view.setInt8(offset, distance);
    } else if (kind === "relative16") {
      // In 16-bit code the instruction pointer wraps, so every address in the same 64 KiB is reachable.
      if (target >>> 16 !== place >>> 16) throw new RangeError(`jump to "${label}" leaves its segment`);
      view.setUint16(offset, (target - (place + 2)) & 0xffff, true);
    } else if (kind === "relative32") view.setInt32(offset, target - (place + 4), true);
    else if (kind === "absolute32") view.setUint32(offset, target, true);
    else if (kind === "low16") view.setUint16(offset, target & 0xffff, true);
    else view.setUint16(offset, target >>> 16, true);
  }

  #refer(kind: FixupKind, label: string, width: number): void {
    this.#fixups.push({ kind, at: this.#bytes.length, label });
    for (let index = 0; index < width; index++) this.#bytes.push(0);
  }
  #short(opcode: number, label: string): void {
    this.byte(opcode);
    this.#refer("relative8", label, 1);
  }
  #operand32(): void {
    if (this.#bits === 16) this.byte(0x66);
  }
  #only32(what: string): void {
    if (this.#bits !== 32) throw new Error(`${what} belongs in a 32-bit section`);
  }
  #withRegister(opcode: number, field: number, register: Register): void {
    this.#operand32();
    this.byte(opcode, 0xc0 | (field << 3) | registerNumber[register]);
  }
  #withImmediate(extension: number, register: Register, value: number): void {
    this.#withRegister(0x81, extension, register);
    this.dword(value);
  }
  #withMemory(opcode: number, field: number, memory: Memory): void {
    this.#only32("a memory operand");
    if (memory.base === undefined) this.byte(opcode, 0x05 | (field << 3));
    else this.byte(opcode, 0x80 | (field << 3) | registerNumber[memory.base]);
    this.dword(memory.displacement);
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
