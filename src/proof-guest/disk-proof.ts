// Owns the model of the proof guest's disk writes and the checker that decides from the disk's bytes whether it contains each
// acknowledged write (G4). Pure: no I/O, no clock. The machine code that writes is in `disk-firmware.ts`; `continuity.ts` checks
// the guest's reports about its disk on the serial port.

/** The parameters that determine every sector that the proof guest writes. */
export interface DiskParameters {
  /** Sectors written in turn, a power of two from 2 to 256: write n goes to slot `n % slots`. */
  readonly slots: number;
  /** Contained in every sector, to distinguish those of other guests; 32 bits. */
  readonly seed: number;
}

/** The first sector of slot 0 is the disk's first; each slot spans 128 KiB, more than the granularity of a disk mirror. */
export const slotBytes = 128 * 1024;
export const sectorDwords = 128;
export const sectorMagic = 0x6b736964; // "disk"

/** The guest's report about its disk in each line. */
export interface DiskState {
  /** The last write that the drive acknowledged, including the flush of its cache; counted from 1. */
  readonly acknowledged: number;
  /** Checksum of the previous contents of all overwritten slots. */
  readonly readBack: number;
}

export const nothingWritten: DiskState = { acknowledged: 0, readBack: 0 };

/** The size of the area at the beginning of the disk, in bytes. */
export function diskAreaBytes({ slots }: DiskParameters): number {
  return slots * slotBytes;
}

/** Magic, sequence number and seed; each following dword is a checksum of all before it, so the last one covers the sector. */
export function sectorOf({ seed }: DiskParameters, sequence: number): Uint32Array {
  const sector = Uint32Array.of(sectorMagic, sequence, seed, ...new Uint32Array(sectorDwords - 3));
  let checksum = 0;
  for (let index = 0; index < sectorDwords; index++) {
    if (index >= 3) sector[index] = checksum;
    checksum = fold(checksum, sector[index] ?? 0);
  }
  return sector;
}

/** Returns the guest's report after its next acknowledged write; before the write it has read the slot's old contents. */
export function nextWrite(disk: DiskParameters, { acknowledged, readBack }: DiskState): DiskState {
  const found = acknowledged + 1 - disk.slots;
  const checksum = found <= 0 ? readBack : sectorOf(disk, found).reduce(fold, readBack);
  return { acknowledged: acknowledged + 1, readBack: checksum };
}

function fold(checksum: number, dword: number): number {
  return (((checksum << 5) | (checksum >>> 27)) + dword) >>> 0;
}

export type DiskFault =
  /** The slot contains an older write than the acknowledged one, or nothing (`foundSequence` 0). */
  | {
      readonly kind: "lost";
      readonly slot: number;
      readonly sequence: number;
      readonly foundSequence: number;
    }
  /** The slot contains a write that a single guest cannot have made yet: two copies ran. */
  | { readonly kind: "ahead"; readonly slot: number; readonly newest: number; readonly foundSequence: number }
  /** The slot does not contain an intact sector. */
  | { readonly kind: "torn"; readonly slot: number; readonly sequence: number }
  /** The slot contains an intact sector of another slot, or of a guest with another seed. */
  | {
      readonly kind: "foreign";
      readonly slot: number;
      readonly sequence: number;
      readonly foundSequence: number;
      readonly foundSeed: number;
    };

export interface DiskReport {
  readonly ok: boolean;
  /** At most one fault per slot. */
  readonly faults: readonly DiskFault[];
  /** The last write reported as acknowledged. */
  readonly acknowledged: number;
  /** The last write found. */
  readonly newest: number;
  /** Number of slots that contain an acknowledged write or a newer one. */
  readonly slotsVerified: number;
}

/** Options for a guest that continues to write while its disk is read. */
export interface StillWriting {
  /** The last write reported as acknowledged after the disk was read. */
  readonly heardSince: number;
}

/**
 * Checks G4: whether `area` contains each write up to `acknowledged`, the last one reported. `area` is the first `diskAreaBytes` of
 * the disk, or less when the rest is blank. The guest has ended, or its reports were read before and after the disk.
 */
export function checkDisk(
  area: Uint8Array,
  disk: DiskParameters,
  acknowledged: number,
  stillWriting?: StillWriting,
): DiskReport {
  const slots = Array.from({ length: disk.slots }, (_, slot) => readSlot(area, slot));
  const ours = slots.filter((slot) => slot.whole && slot.seed === disk.seed).map((slot) => slot.sequence);
  const newest = Math.max(0, ...ours);
  // A killed guest may have one more acknowledged write than it could report, and may have begun the next.
  const possible = (stillWriting?.heardSince ?? acknowledged) + 2;
  // The guest does not begin a write before the previous one is acknowledged.
  const begun = Math.max(0, ...ours.filter((size) => size <= possible));
  const known = stillWriting ? acknowledged : Math.max(acknowledged, begun - 1);
  const faults: DiskFault[] = [];
  let slotsVerified = 0;
  for (const [slot, found] of slots.entries()) {
    const sequence = lastWriteTo(slot, known, disk);
    const fault = slotFault(slot, found, { sequence, possible, disk });
    if (fault !== undefined) faults.push(fault);
    else if (sequence > 0) slotsVerified += 1;
  }
  return { ok: faults.length === 0, faults, acknowledged, newest, slotsVerified };
}

interface Slot {
  readonly blank: boolean;
  readonly whole: boolean;
  readonly sequence: number;
  readonly seed: number;
}

function readSlot(area: Uint8Array, slot: number): Slot {
  const sector = new Uint8Array(sectorDwords * 4);
  sector.set(area.subarray(slot * slotBytes, slot * slotBytes + sector.length));
  const view = new DataView(sector.buffer);
  const dwords = Uint32Array.from({ length: sectorDwords }, (_, index) => view.getUint32(index * 4, true));
  const [, sequence = 0, seed = 0] = dwords;
  const genuine = sectorOf({ slots: 0, seed }, sequence);
  return {
    blank: dwords.every((dword) => dword === 0),
    whole: dwords.every((dword, index) => dword === genuine[index]),
    sequence,
    seed,
  };
}

/** Returns the last write up to `acknowledged` to the slot; 0 when there was none. */
function lastWriteTo(slot: number, acknowledged: number, { slots }: DiskParameters): number {
  return Math.max(0, acknowledged - ((((acknowledged - slot) % slots) + slots) % slots));
}

function slotFault(
  slot: number,
  found: Slot,
  { sequence, possible, disk }: { sequence: number; possible: number; disk: DiskParameters },
): DiskFault | undefined {
  const { seed: foundSeed, sequence: foundSequence } = found;
  if (found.blank || !found.whole) {
    if (sequence === 0) return undefined; // contents from before the guest
    return found.blank
      ? { kind: "lost", slot, sequence, foundSequence: 0 }
      : { kind: "torn", slot, sequence };
  }
  if (foundSeed !== disk.seed || foundSequence % disk.slots !== slot) {
    return sequence === 0 ? undefined : { kind: "foreign", slot, sequence, foundSequence, foundSeed };
  }
  if (foundSequence < sequence) return { kind: "lost", slot, sequence, foundSequence };
  if (foundSequence > possible) return { kind: "ahead", slot, newest: possible, foundSequence };
  return undefined;
}

/** Formats the report as one sentence without a full stop. */
export function describeDisk({ faults, acknowledged, slotsVerified }: DiskReport): string {
  const [first] = faults;
  if (first === undefined)
    return `disk contains the last ${slotsVerified} of ${acknowledged} acknowledged writes`;
  const others = faults.length - 1;
  return `${describeFault(first)}${others > 0 ? ` (and ${others} more slots)` : ""}`;
}

function describeFault(fault: DiskFault): string {
  const where = `in slot ${fault.slot} of the disk`;
  switch (fault.kind) {
    case "lost": {
      const found = fault.foundSequence === 0 ? "nothing" : `write ${fault.foundSequence}`;
      return `acknowledged write ${fault.sequence} is lost: ${found} was found ${where}`;
    }
    case "ahead":
      return `write ${fault.foundSequence} was found ${where}, but the guest has made at most ${fault.newest}: two copies ran`;
    case "torn":
      return `acknowledged write ${fault.sequence} is torn ${where}`;
    case "foreign":
      return `write ${fault.foundSequence} with seed ${fault.foundSeed} was found instead of write ${fault.sequence} ${where}`;
  }
}
