// Owns the model of the proof guest's count and serial output, against which `continuity.ts` checks it. Pure: no I/O, no clock.
// The guest itself is in `firmware.ts`, the model of its disk in `disk-proof.ts`.
import { type DiskParameters, type DiskState, nextWrite, nothingWritten } from "./disk-proof.js";

/** The parameters that determine every line that the proof guest writes. */
export interface ProofGuestParameters {
  /** Size of the working set, in pages of 4 KiB. */
  readonly pages: number;
  /** Pages written per work step. */
  readonly pagesPerTick: number;
  /** If set, the guest also writes to a disk: at most one write in three work steps, fewer when the drive is slow. */
  readonly disk?: DiskParameters;
}

/** The guest's state between two work steps. */
export interface ProofGuestState {
  readonly count: number;
  readonly checksum: number;
  readonly disk?: DiskState;
}

export function justBooted({ disk }: ProofGuestParameters): ProofGuestState {
  return { count: 0, checksum: 0, ...(disk !== undefined && { disk: nothingWritten }) };
}

/** Returns the line that the guest writes at boot, without its newline. */
export function bootBanner({ pages, pagesPerTick, disk }: ProofGuestParameters): string {
  const ofDisk = disk === undefined ? "" : ` slots=${hex8(disk.slots)} seed=${hex8(disk.seed)}`;
  return `boot pages=${hex8(pages)} perTick=${hex8(pagesPerTick)}${ofDisk}`;
}

/**
 * Returns the state after a work step without an acknowledged write. The guest visits its pages in turn and writes the number of
 * the visit into each, so that the expected contents follow from the number of the visit and the model needs no memory.
 */
export function step({ pages, pagesPerTick }: ProofGuestParameters, state: ProofGuestState): ProofGuestState {
  let checksum = state.checksum;
  const firstVisit = state.count * pagesPerTick;
  for (let visit = firstVisit; visit < firstVisit + pagesPerTick; visit++) {
    const found = visit < pages ? 0 : visit - pages + 1;
    checksum = ((checksum << 5) | (checksum >>> 27)) + found; // the page's first dword
    checksum = (((checksum << 5) | (checksum >>> 27)) + found) >>> 0; // and its last
  }
  return { ...state, count: state.count + 1, checksum };
}

/** Returns the state after a work step in which a write is acknowledged; without a disk an ordinary step. */
export function stepAndWrite(parameters: ProofGuestParameters, state: ProofGuestState): ProofGuestState {
  const next = step(parameters, state);
  if (parameters.disk === undefined || next.disk === undefined) return next;
  return { ...next, disk: nextWrite(parameters.disk, next.disk) };
}

export function lineOf({ count, checksum, disk }: ProofGuestState): string {
  const ofDisk = disk === undefined ? [] : [disk.acknowledged, disk.readBack];
  return [count, checksum, ...ofDisk].map(hex8).join(" ");
}

/** Returns the output of a proof guest that boots and makes `counts` work steps; with a disk each step acknowledges a write. */
export function simulateProofGuest(parameters: ProofGuestParameters, counts: number): Uint8Array {
  const lines = [bootBanner(parameters)];
  for (let state = justBooted(parameters); state.count < counts; ) {
    state = stepAndWrite(parameters, state);
    lines.push(lineOf(state));
  }
  return new TextEncoder().encode(`${lines.join("\n")}\n`);
}

export function parseLine(text: string, { disk }: ProofGuestParameters): ProofGuestState | undefined {
  if (!/^[0-9a-f]{8}( [0-9a-f]{8})+$/.test(text)) return undefined;
  const columns = text.split(" ").map((column) => Number.parseInt(column, 16));
  const [count = 0, checksum = 0, acknowledged = 0, readBack = 0] = columns;
  if (columns.length !== (disk === undefined ? 2 : 4)) return undefined;
  return { count, checksum, ...(disk !== undefined && { disk: { acknowledged, readBack } }) };
}

export function hex8(value: number): string {
  return value.toString(16).padStart(8, "0");
}
