// The proof guest's disk, as machine code: an ATA drive at the ports of the first IDE channel (QEMU's machine pc), by
// programmed I/O and without interrupts. Each tick advances it by at most one command and never waits for the drive, so that
// the count stays on time. The model in `disk-proof.ts` defines the contents of the sectors.
import { type Assembler, addressOf, at } from "./assembler.js";
import { type DiskParameters, sectorDwords, sectorMagic } from "./disk-proof.js";

/** The last write that the drive has flushed. */
export const acknowledged = at(0x1010);
/** Checksum of the previous contents of all overwritten slots, up to the last acknowledged write. */
export const readBack = at(0x1014);
const readAhead = at(0x1018); // `readBack` including the slot of the write in progress
const nextStep = at(0x101c); // the address to continue at when the drive has finished

const data = 0x1f0;
const sectorCount = 0x1f2;
const lbaLow = 0x1f3;
const lbaMiddle = 0x1f4; // counts 128 KiB: a slot
const lbaHigh = 0x1f5;
const driveSelect = 0x1f6;
const statusOrCommand = 0x1f7;

const busy = 0x80;
const faultOrError = 0x21;
const dataRequest = 0x08;
const readSectors = 0x20;
const writeSectors = 0x30;
const flushCache = 0xe7;

export function emitDiskSetup(asm: Assembler): void {
  asm.mov("eax", 0);
  asm.store(acknowledged, "eax");
  asm.store(readBack, "eax");
  asm.store(readAhead, "eax");
  goOnAt(asm, "begin write");
}

/** Reads the slot as the previous round wrote it (from the second round on), writes the slot, flushes the cache. */
export function emitDiskStep(asm: Assembler, { slots, seed }: DiskParameters): void {
  asm.label("disk step");
  asm.mov("edx", statusOrCommand);
  asm.inAlDx();
  asm.testAl(busy);
  asm.jz("drive is ready");
  asm.ret();
  asm.label("drive is ready");
  asm.testAl(faultOrError);
  asm.jnz("disk error");
  asm.jmpTo(nextStep);

  asm.label("cache flushed");
  asm.load("eax", readAhead);
  asm.store(readBack, "eax");
  asm.inc(acknowledged);

  asm.label("begin write");
  asm.load("eax", acknowledged);
  asm.cmp("eax", slots);
  asm.jb("write slot");
  goOnAt(asm, "slot read");
  asm.mov("eax", readSectors);
  asm.jmp("send command");

  // The error persists until the next command, and none follows: each tick reports it, and no line of the model matches it.
  asm.label("disk error");
  asm.mov("esi", addressOf("disk error text"));
  asm.jmp("write text");

  asm.label("slot read");
  asm.testAl(dataRequest);
  asm.jz("disk error");
  asm.load("ebx", readBack);
  asm.mov("edx", data);
  asm.mov("ecx", sectorDwords);
  asm.label("read dword");
  asm.inEaxDx();
  asm.rol("ebx", 5);
  asm.add("ebx", "eax");
  asm.dec("ecx");
  asm.jnz("read dword");
  asm.store(readAhead, "ebx");

  asm.label("write slot");
  goOnAt(asm, "begin write"); // in case the drive does not accept it
  asm.mov("eax", writeSectors);
  asm.call("send command");
  asm.inAlDx();
  asm.testAl(dataRequest);
  asm.jz("disk error");
  emitSector(asm, seed);
  goOnAt(asm, "slot written");
  asm.ret();

  asm.label("slot written");
  goOnAt(asm, "cache flushed");
  asm.mov("eax", flushCache);
  asm.jmp("send command");

  emitCommand(asm, slots);
  asm.label("disk error text");
  asm.text("disk error\n");
}

function emitSector(asm: Assembler, seed: number): void {
  asm.mov("edx", data);
  asm.mov("ebx", 0); // checksum of the dwords sent so far
  asm.mov("eax", sectorMagic);
  asm.call("send dword");
  asm.load("eax", acknowledged);
  asm.inc("eax");
  asm.call("send dword");
  asm.mov("eax", seed);
  asm.call("send dword");
  asm.mov("ecx", sectorDwords - 3);
  asm.label("send filling");
  asm.push("ebx");
  asm.pop("eax");
  asm.call("send dword");
  asm.dec("ecx");
  asm.jnz("send filling");
}

function emitCommand(asm: Assembler, slots: number): void {
  asm.label("send dword"); // eax: the dword, folded into ebx; edx: the data port
  asm.outDxEax();
  asm.rol("ebx", 5);
  asm.add("ebx", "eax");
  asm.ret();

  asm.label("send command"); // eax: the command, for the slot of the next write; leaves the status port in edx
  asm.push("eax");
  asm.outb(driveSelect, 0xe0); // the first drive, by LBA
  asm.outb(sectorCount, 1);
  asm.outb(lbaLow, 0);
  asm.outb(lbaHigh, 0);
  asm.load("eax", acknowledged);
  asm.inc("eax");
  asm.andAl(slots - 1);
  asm.mov("edx", lbaMiddle);
  asm.outDxAl();
  asm.pop("eax");
  asm.mov("edx", statusOrCommand);
  asm.outDxAl();
  asm.ret();
}

function goOnAt(asm: Assembler, label: string): void {
  asm.mov("eax", addressOf(label));
  asm.store(nextStep, "eax");
}
