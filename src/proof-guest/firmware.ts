// Builds the proof guest: a 64 KiB firmware image for QEMU's `-bios`, without a kernel, that counts, keeps rewriting its memory and
// optionally its disk (`disk-firmware.ts`), and reports over COM1. Owns the machine code and the valid ranges of its options; the
// model in `model.ts` defines the lines.
import { Assembler, addressOf, at, atRegister } from "./assembler.js";
import { acknowledged, emitDiskSetup, emitDiskStep, readBack } from "./disk-firmware.js";
import type { DiskParameters } from "./disk-proof.js";
import { bootBanner, type ProofGuestParameters } from "./model.js";

export interface ProofGuestOptions extends ProofGuestParameters {
  /** Work steps per second, 19 to 1000; fewer when the host is slow. */
  readonly ticksPerSecond: number;
}

const pageBytes = 4096;
const imageBytes = 64 * 1024;
const imageStart = 0xf0000; // the firmware's alias below 1 MiB
const resetVector = 0xffff0;
const workingSetStart = 0x100000;
// On q35 QEMU maps memory above this beyond 4 GiB, so a larger working set would reach into a hole.
const workingSetLimit = 0x80000000;
const pitHz = 1193182;

// Low memory. The state has its own page: its loss shows as a repeated count.
const stackTop = 0x8000;
const count = at(0x1000);
const checksum = at(0x1004);
const nextPage = at(0x1008);
const visits = at(0x100c);

const codeSelector = 0x08;
const dataSelector = 0x10;
const firstVector = 0x20; // the timer's; below are the CPU's exceptions
const spuriousVector = 0x3f;

const picMaster = 0x20;
const picSlave = 0xa0;
const pitChannel0 = 0x40;
const pitControl = 0x43;
const systemControlA = 0x92;
const com1 = 0x3f8;
const com1LineStatus = com1 + 5;
const localApicSpurious = 0xfee000f0;
const localApicLint0 = 0xfee00350;

/**
 * Options for a guest of `memoryKiB` (QEMU's `-m <n>K`) that rewrites `workingSetMiB` of it in turn, at about
 * `dirtyMiBps` (counted in whole pages, and rounded to whole pages per tick, at least one).
 * Throws a RangeError when such a guest is not possible.
 */
export function proofGuestOptions(wish: {
  readonly memoryKiB: number;
  readonly workingSetMiB: number;
  readonly dirtyMiBps: number;
  readonly ticksPerSecond?: number;
  readonly disk?: DiskParameters;
}): ProofGuestOptions {
  const { memoryKiB, workingSetMiB, dirtyMiBps, ticksPerSecond = 100, disk } = wish;
  demand(Number.isInteger(memoryKiB), `memoryKiB ${memoryKiB} must be a whole number`);
  demand(
    memoryKiB % 256 !== 0,
    `memoryKiB ${memoryKiB} is a multiple of 256: QEMU 7.2 under TCG loses dirty pages at such sizes; use ${memoryKiB + 8}`,
  );
  demand(workingSetMiB > 0, `workingSetMiB ${workingSetMiB} must be above 0`);
  demand(dirtyMiBps > 0, `dirtyMiBps ${dirtyMiBps} must be above 0`);
  demand(
    (workingSetMiB + 1) * 1024 <= memoryKiB,
    `workingSetMiB ${workingSetMiB} does not fit above the first MiB of ${memoryKiB} KiB`,
  );
  const pages = Math.floor((workingSetMiB * 1024) / 4);
  const pagesPerTick = Math.max(1, Math.round((dirtyMiBps * 256) / ticksPerSecond));
  const options = { pages, pagesPerTick, ticksPerSecond, ...(disk !== undefined && { disk }) };
  validate(options);
  return options;
}

function validate({ pages, pagesPerTick, ticksPerSecond, disk }: ProofGuestOptions): void {
  // Below 19 the timer's 16-bit divisor overflows; above 1000 TCG can't keep up.
  demand(
    ticksPerSecond >= 19 && ticksPerSecond <= 1000,
    `ticksPerSecond ${ticksPerSecond} must be from 19 to 1000`,
  );
  const maxPages = (workingSetLimit - workingSetStart) / pageBytes;
  demand(
    Number.isInteger(pages) && pages >= 1 && pages <= maxPages,
    `pages ${pages} must be a whole number from 1 to ${maxPages}`,
  );
  demand(
    Number.isInteger(pagesPerTick) && pagesPerTick >= 1 && pagesPerTick <= pages,
    `pagesPerTick ${pagesPerTick} must be a whole number from 1 to the ${pages} pages: lower the dirty rate, or raise the working set or the ticks`,
  );
  if (disk === undefined) return;
  const { slots, seed } = disk;
  demand(
    [2, 4, 8, 16, 32, 64, 128, 256].includes(slots),
    `slots ${slots} must be a power of two from 2 to 256`,
  );
  demand(seed === seed >>> 0, `seed ${seed} must be a whole number of 32 bits`);
}

function demand(condition: boolean, message: string): void {
  if (!condition) throw new RangeError(message);
}

/**
 * The image of the proof guest, 64 KiB. The guest writes `bootBanner(options)`, then after each work step a line
 * `<count> <checksum>`, with a disk `<count> <checksum> <acknowledged> <read back>`, all as 8 hex digits. Throws a RangeError on invalid options.
 */
export function buildFirmware(options: ProofGuestOptions): Uint8Array {
  validate(options);
  const asm = new Assembler(imageStart);
  emitEntry(asm);
  emitHardwareSetup(asm, options);
  emitMemorySetup(asm, options);
  if (options.disk !== undefined) emitDiskSetup(asm);
  emitMainLoop(asm, options);
  emitWorkStep(asm, options);
  if (options.disk !== undefined) emitDiskStep(asm, options.disk);
  emitSerialOutput(asm);
  emitInterruptHandlers(asm);
  emitTables(asm, options);
  // The CPU starts here in 16-bit mode, 16 bytes before the end of the image.
  asm.padTo(resetVector);
  asm.bits(16);
  asm.jmp("entry");
  asm.padTo(imageStart + imageBytes);
  return asm.assemble();
}

/** From real mode to 32-bit protected mode with flat segments. */
function emitEntry(asm: Assembler): void {
  asm.bits(16);
  asm.label("entry");
  asm.cli();
  asm.cld();
  asm.lgdtFromCodeSegment("gdt pointer");
  asm.movEaxFromCr0();
  asm.orAl(1); // protected mode
  asm.movCr0FromEax();
  asm.jmpFar(codeSelector, "protected mode");

  asm.bits(32);
  asm.label("protected mode");
  asm.mov("eax", dataSelector);
  asm.movSegmentFromAx("ds");
  asm.movSegmentFromAx("es");
  asm.movSegmentFromAx("ss");
  asm.mov("esp", stackTop);
  asm.lidt("idt pointer");
}

function emitHardwareSetup(asm: Assembler, { ticksPerSecond }: ProofGuestOptions): void {
  // A20 on, without the bit that resets the machine.
  asm.inAl(systemControlA);
  asm.orAl(0x02);
  asm.andAl(0xfe);
  asm.outAl(systemControlA);

  // Interrupt controllers: vectors off the CPU's exceptions, only the timer let through.
  asm.outb(picMaster, 0x11);
  asm.outb(picSlave, 0x11);
  asm.outb(picMaster + 1, firstVector);
  asm.outb(picSlave + 1, firstVector + 8);
  asm.outb(picMaster + 1, 0x04); // the slave is on line 2
  asm.outb(picSlave + 1, 0x02);
  asm.outb(picMaster + 1, 0x01);
  asm.outb(picSlave + 1, 0x01);
  asm.outb(picMaster + 1, 0xfe);
  asm.outb(picSlave + 1, 0xff);

  // The local APIC masks the line from the PIC until it is unmasked; usually SeaBIOS does this.
  asm.mov("eax", 0x100 | spuriousVector); // APIC on
  asm.store(at(localApicSpurious), "eax");
  asm.mov("eax", 0x700); // LINT0: ExtINT, not masked
  asm.store(at(localApicLint0), "eax");

  // Timer channel 0 as rate generator.
  const divisor = Math.round(pitHz / ticksPerSecond);
  asm.outb(pitControl, 0x34);
  asm.outb(pitChannel0, divisor & 0xff);
  asm.outb(pitChannel0, divisor >>> 8);

  // COM1: no interrupts, no FIFO, 115200 baud, 8N1.
  asm.outb(com1 + 1, 0x00);
  asm.outb(com1 + 2, 0x00);
  asm.outb(com1 + 3, 0x80);
  asm.outb(com1 + 0, 0x01);
  asm.outb(com1 + 1, 0x00);
  asm.outb(com1 + 3, 0x03);
}

/** Prints the banner first, so that a reset is visible; clears memory, so that the count after a reset matches the model. */
function emitMemorySetup(asm: Assembler, { pages }: ProofGuestOptions): void {
  asm.mov("esi", addressOf("banner"));
  asm.call("write text");

  asm.mov("eax", 0);
  asm.store(count, "eax");
  asm.store(checksum, "eax");
  asm.store(visits, "eax");
  asm.mov("edi", workingSetStart);
  asm.store(nextPage, "edi");
  asm.label("clear page");
  asm.store(atRegister("edi"), "eax");
  asm.store(atRegister("edi", pageBytes - 4), "eax");
  asm.add("edi", pageBytes);
  asm.cmp("edi", workingSetStart + pages * pageBytes);
  asm.jb("clear page");
}

/** One step per timer tick, halted in between: `sti` takes effect after `hlt` has started, so no tick is missed. */
function emitMainLoop(asm: Assembler, { disk }: ProofGuestOptions): void {
  asm.label("main loop");
  asm.sti();
  asm.hlt();
  asm.cli();
  asm.call("work step");
  if (disk !== undefined) asm.call("disk step");
  asm.load("eax", count);
  asm.call("write hex");
  for (const column of [checksum, ...(disk !== undefined ? [acknowledged, readBack] : [])]) {
    asm.movAl(" ".charCodeAt(0));
    asm.call("write byte");
    asm.load("eax", column);
    asm.call("write hex");
  }
  asm.movAl("\n".charCodeAt(0));
  asm.call("write byte");
  asm.jmpShort("main loop");
}

/** Reads the contents of the next pages from the last pass, adds them to the checksum, writes the number of the visit. */
function emitWorkStep(asm: Assembler, { pages, pagesPerTick }: ProofGuestOptions): void {
  const firstDword = atRegister("edi");
  const lastDword = atRegister("edi", pageBytes - 4);
  asm.label("work step");
  asm.inc(count);
  asm.load("ebx", checksum);
  asm.load("edi", nextPage);
  asm.load("edx", visits);
  asm.mov("ecx", pagesPerTick);

  asm.label("visit page");
  asm.inc("edx");
  asm.rol("ebx", 5);
  asm.add("ebx", firstDword);
  asm.rol("ebx", 5);
  asm.add("ebx", lastDword);
  asm.store(firstDword, "edx");
  asm.store(lastDword, "edx");
  asm.add("edi", pageBytes);
  asm.cmp("edi", workingSetStart + pages * pageBytes);
  asm.jb("page visited");
  asm.mov("edi", workingSetStart);
  asm.label("page visited");
  asm.dec("ecx");
  asm.jnz("visit page");

  asm.store(checksum, "ebx");
  asm.store(nextPage, "edi");
  asm.store(visits, "edx");
  asm.ret();
}

function emitSerialOutput(asm: Assembler): void {
  asm.label("write text"); // esi: zero-ended text
  asm.lodsb();
  asm.testAl(0xff);
  asm.jz("text written");
  asm.call("write byte");
  asm.jmpShort("write text");
  asm.label("text written");
  asm.ret();

  asm.label("write hex"); // eax: the number, written as 8 digits
  asm.mov("ecx", 8);
  asm.label("next digit");
  asm.rol("eax", 4);
  asm.push("eax");
  asm.andAl(0x0f);
  asm.addAl("0".charCodeAt(0));
  asm.cmpAl("9".charCodeAt(0));
  asm.jbe("digit ready");
  asm.addAl("a".charCodeAt(0) - "9".charCodeAt(0) - 1);
  asm.label("digit ready");
  asm.call("write byte");
  asm.pop("eax");
  asm.dec("ecx");
  asm.jnz("next digit");
  asm.ret();

  asm.label("write byte"); // al: the byte; clobbers edx
  asm.push("eax");
  asm.mov("edx", com1LineStatus);
  asm.label("await transmitter");
  asm.inAlDx();
  asm.testAl(0x20); // transmit holding register empty
  asm.jz("await transmitter");
  asm.pop("eax");
  asm.mov("edx", com1);
  asm.outDxAl();
  asm.ret();
}

function emitInterruptHandlers(asm: Assembler): void {
  asm.label("timer tick"); // it only has to end the halt
  asm.push("eax");
  asm.movAl(0x20); // end of interrupt
  asm.outAl(picMaster);
  asm.pop("eax");
  asm.label("spurious interrupt"); // a spurious interrupt requires no end of interrupt
  asm.iret();
}

/** The tables stay in the firmware: they do not depend on any page of RAM. */
function emitTables(asm: Assembler, options: ProofGuestOptions): void {
  asm.padTo(Math.ceil(asm.address / 8) * 8);
  asm.label("gdt");
  asm.byte(0, 0, 0, 0, 0, 0, 0, 0);
  // Base 0, limit 4 GiB, ring 0; already marked as accessed, since the CPU can't mark it in the firmware.
  asm.byte(0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0);
  asm.byte(0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0);
  asm.label("gdt pointer");
  asm.word(3 * 8 - 1);
  asm.dword(addressOf("gdt"));

  // Exceptions have no handler: the CPU shuts down, the machine is reset, and the banner reveals it.
  asm.label("idt");
  asm.padTo(asm.address + firstVector * 8);
  asm.interruptGate(codeSelector, "timer tick");
  for (let vector = firstVector + 1; vector <= spuriousVector; vector++) {
    asm.interruptGate(codeSelector, "spurious interrupt");
  }
  asm.label("idt pointer");
  asm.word((spuriousVector + 1) * 8 - 1);
  asm.dword(addressOf("idt"));

  asm.label("banner");
  asm.text(`${bootBanner(options)}\n`);
}
