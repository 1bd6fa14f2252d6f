// Owns the checker that decides from the proof guest's serial output whether exactly one copy of the guest ran, with intact memory,
// and read from its disk what it had written. Pure: no I/O, no clock. The expected lines come from the model in `model.ts`.
import { type DiskReport, describeDisk, nextWrite } from "./disk-proof.js";
import {
  bootBanner,
  hex8,
  justBooted,
  lineOf,
  type ProofGuestParameters,
  type ProofGuestState,
  parseLine,
  step,
  stepAndWrite,
} from "./model.js";

/** The place of a fault. A line split between two streams belongs to the one in which it ends. */
export interface FaultPlace {
  readonly stream: string;
  /** The line within that stream, from 1. */
  readonly line: number;
}

export type ContinuityFault =
  /** Counts are missing. */
  | ({ readonly kind: "gap"; readonly afterCount: number; readonly foundCount: number } & FaultPlace)
  /** A count not greater than the last one: two copies ran, or the guest went back in time. */
  | ({ readonly kind: "repeat"; readonly afterCount: number; readonly foundCount: number } & FaultPlace)
  /** A second boot banner. */
  | ({ readonly kind: "reset"; readonly afterCount: number } & FaultPlace)
  /** The guest read data from its memory that it had not written: a lost or stale page. */
  | ({
      readonly kind: "memory";
      readonly count: number;
      readonly expectedChecksum: number;
      readonly foundChecksum: number;
    } & FaultPlace)
  /** The guest did not read back the acknowledged write `sequence` from its disk. */
  | ({
      readonly kind: "disk";
      readonly sequence: number;
      readonly expectedChecksum: number;
      readonly foundChecksum: number;
    } & FaultPlace)
  /** The acknowledged write is not the next one: the guest continued from other memory. */
  | ({
      readonly kind: "acknowledgement";
      readonly afterSequence: number;
      readonly foundSequence: number;
    } & FaultPlace)
  /** A line that the guest never writes at this place. `text` is truncated to 80 characters. */
  | ({ readonly kind: "garbled"; readonly text: string; readonly expected: string } & FaultPlace)
  /** No counted line ended in a stream that had to carry one. */
  | { readonly kind: "silent"; readonly stream: string };

export interface StreamReport {
  readonly name: string;
  readonly bytes: number;
  /** Counted lines that ended in this stream. */
  readonly lines: number;
  readonly firstCount?: number;
  readonly lastCount?: number;
  /** Complete passes over the working set that were certainly read back after the guest had moved to this stream. */
  readonly cyclesVerified: number;
  /** With a disk: the last write reported as acknowledged in this stream. */
  readonly acknowledged?: number;
}

export interface ContinuityReport {
  readonly ok: boolean;
  /** The first faults, at most `maxStoredFaults`. */
  readonly faults: readonly ContinuityFault[];
  /** All faults, stored or not. */
  readonly faultCount: number;
  readonly firstCount?: number;
  readonly lastCount?: number;
  /** Counted lines in all streams. */
  readonly lines: number;
  readonly perStream: readonly StreamReport[];
  /** Complete passes over the working set that were read back and verified; the first pass only writes. */
  readonly cyclesVerified: number;
  /** With a disk: the last write reported as acknowledged. */
  readonly acknowledged?: number;
  /** The result of a check of the disk itself, if it was read; it counts for `ok`. */
  readonly disk?: DiskReport;
}

export interface ContinuityOptions {
  /** Streams that must contain at least one counted line, otherwise `silent`. By default one line in any stream is sufficient. */
  readonly expectLinesFrom?: readonly string[];
  /** The maximum number of stored faults; default 20. */
  readonly maxStoredFaults?: number;
}

interface StreamTally {
  readonly name: string;
  bytes: number;
  linesEnded: number;
  lines: number;
  pagesReadBack: number;
  firstCount?: number;
  lastCount?: number;
  acknowledged?: number;
}

/**
 * Checks serial output incrementally and can report at any time. Bytes must be pushed in the order in which the guest ran: all of
 * the source's before the destination's. After a fault the checker continues from the line that it found, so that one cause
 * produces one fault or few.
 */
export class ContinuityChecker {
  readonly #parameters: ProofGuestParameters;
  readonly #options: ContinuityOptions;
  readonly #decoder = new TextDecoder("latin1");
  readonly #streams = new Map<string, StreamTally>();
  readonly #faults: ContinuityFault[] = [];
  #faultCount = 0;
  #state: ProofGuestState;
  #booted = false;
  #unfinishedLine = "";
  #firstCount: number | undefined;
  #lastCount: number | undefined;
  #lines = 0;
  #pagesReadBack = 0;
  #current: StreamTally | undefined;

  constructor(parameters: ProofGuestParameters, options: ContinuityOptions = {}) {
    this.#parameters = parameters;
    this.#state = justBooted(parameters);
    this.#options = options;
  }

  /** Accepts the next bytes of the guest from its current stream; they may end in the middle of a line. */
  push(streamName: string, bytes: Uint8Array): void {
    const tally = this.#tally(streamName);
    this.#current = tally;
    tally.bytes += bytes.length;
    const lines = `${this.#unfinishedLine}${this.#decoder.decode(bytes)}`.split("\n");
    this.#unfinishedLine = lines.pop() ?? "";
    for (const line of lines) this.#takeLine(line, tally);
  }

  /** Returns the report so far. The last line may be incomplete if it is the beginning of the expected one. */
  report(): ContinuityReport {
    const late = [...this.#unfinishedFault(), ...this.#silentFaults()];
    const faults = [...this.#faults, ...late].slice(0, this.#maxStoredFaults);
    const faultCount = this.#faultCount + late.length;
    return {
      ok: faultCount === 0,
      faults,
      faultCount,
      ...countsOf(this.#firstCount, this.#lastCount),
      lines: this.#lines,
      ...acknowledgedOf(this.#state.disk?.acknowledged),
      perStream: [...this.#streams.values()].map((tally) => ({
        name: tally.name,
        bytes: tally.bytes,
        lines: tally.lines,
        ...countsOf(tally.firstCount, tally.lastCount),
        ...acknowledgedOf(tally.acknowledged),
        cyclesVerified: Math.floor(tally.pagesReadBack / this.#parameters.pages),
      })),
      cyclesVerified: Math.floor(this.#pagesReadBack / this.#parameters.pages),
    };
  }

  #takeLine(text: string, tally: StreamTally): void {
    tally.linesEnded += 1;
    const place: FaultPlace = { stream: tally.name, line: tally.linesEnded };
    const banner = bootBanner(this.#parameters);
    const found = parseLine(text, this.#parameters);
    if (!this.#booted) {
      this.#booted = true;
      if (text === banner) return;
      this.#fault({ kind: "garbled", text: excerpt(text), expected: banner, ...place });
    } else if (text.endsWith(banner)) {
      // A guest that is reset in the middle of a line leaves the beginning of the line before the banner.
      this.#fault({ kind: "reset", afterCount: this.#state.count, ...place });
      this.#state = justBooted(this.#parameters);
      return;
    } else if (!found) {
      this.#fault({ kind: "garbled", text: excerpt(text), expected: this.#nextLines()[0], ...place });
    }
    if (found) this.#takeCount(found, tally, place);
  }

  #takeCount(found: ProofGuestState, tally: StreamTally, place: FaultPlace): void {
    const afterCount = this.#state.count;
    const foundCount = found.count;
    if (foundCount <= afterCount) this.#fault({ kind: "repeat", afterCount, foundCount, ...place });
    else if (foundCount > afterCount + 1) this.#fault({ kind: "gap", afterCount, foundCount, ...place });
    else {
      this.#verifyMemory(found, tally, place);
      this.#verifyDisk(found, place);
    }
    this.#state = found;
    this.#lines += 1;
    this.#firstCount ??= foundCount;
    this.#lastCount = foundCount;
    tally.lines += 1;
    tally.firstCount ??= foundCount;
    tally.lastCount = foundCount;
    if (found.disk !== undefined) tally.acknowledged = found.disk.acknowledged;
  }

  #verifyMemory(found: ProofGuestState, tally: StreamTally, place: FaultPlace): void {
    const expectedChecksum = step(this.#parameters, this.#state).checksum;
    const foundChecksum = found.checksum;
    if (foundChecksum !== expectedChecksum) {
      this.#fault({ kind: "memory", count: found.count, expectedChecksum, foundChecksum, ...place });
      return;
    }
    const { pages, pagesPerTick } = this.#parameters;
    const readBack = Math.min(pagesPerTick, Math.max(0, found.count * pagesPerTick - pages));
    this.#pagesReadBack += readBack;
    // The pages of a stream's first line may have been read before the guest moved there.
    if (tally.lines > 0) tally.pagesReadBack += readBack;
  }

  #verifyDisk({ disk: found }: ProofGuestState, place: FaultPlace): void {
    const before = this.#state.disk;
    const { disk } = this.#parameters;
    if (disk === undefined || before === undefined || found === undefined) return;
    const afterSequence = before.acknowledged;
    const foundSequence = found.acknowledged;
    if (foundSequence !== afterSequence && foundSequence !== afterSequence + 1) {
      this.#fault({ kind: "acknowledgement", afterSequence, foundSequence, ...place });
      return;
    }
    const expected = foundSequence === afterSequence ? before : nextWrite(disk, before);
    if (found.readBack === expected.readBack) return;
    this.#fault({
      kind: "disk",
      sequence: foundSequence - disk.slots,
      expectedChecksum: expected.readBack,
      foundChecksum: found.readBack,
      ...place,
    });
  }

  /** Returns the possible next lines: with a disk the time of the acknowledgement is not predictable. */
  #nextLines(): [string, ...string[]] {
    if (!this.#booted) return [bootBanner(this.#parameters)];
    return [lineOf(step(this.#parameters, this.#state)), lineOf(stepAndWrite(this.#parameters, this.#state))];
  }

  #unfinishedFault(): ContinuityFault[] {
    const tally = this.#current;
    const lines = this.#nextLines();
    if (tally === undefined || lines.some((line) => line.startsWith(this.#unfinishedLine))) return [];
    const [expected] = lines;
    const place: FaultPlace = { stream: tally.name, line: tally.linesEnded + 1 };
    return [{ kind: "garbled", text: excerpt(this.#unfinishedLine), expected, ...place }];
  }

  #silentFaults(): ContinuityFault[] {
    const expected = this.#options.expectLinesFrom ?? [];
    const silent = expected.filter((name) => (this.#streams.get(name)?.lines ?? 0) === 0);
    if (silent.length === 0 && this.#lines === 0) silent.push([...this.#streams.keys()][0] ?? "every stream");
    return silent.map((stream) => ({ kind: "silent", stream }));
  }

  #fault(fault: ContinuityFault): void {
    this.#faultCount += 1;
    if (this.#faults.length < this.#maxStoredFaults) this.#faults.push(fault);
  }

  get #maxStoredFaults(): number {
    return this.#options.maxStoredFaults ?? 20;
  }

  #tally(name: string): StreamTally {
    const known = this.#streams.get(name);
    if (known) return known;
    const tally: StreamTally = { name, bytes: 0, linesEnded: 0, lines: 0, pagesReadBack: 0 };
    this.#streams.set(name, tally);
    return tally;
  }
}

/** Checks the serial streams of one guest, given in the order in which it ran in them. */
export function checkContinuity(
  streams: readonly { readonly name: string; readonly bytes: Uint8Array }[],
  parameters: ProofGuestParameters,
  options: ContinuityOptions = {},
): ContinuityReport {
  const checker = new ContinuityChecker(parameters, options);
  for (const { name, bytes } of streams) checker.push(name, bytes);
  return checker.report();
}

/** Formats the report as one sentence without a full stop. */
export function describeContinuity(report: ContinuityReport): string {
  const { disk, faults } = report;
  const [first] = faults;
  if (first !== undefined) {
    const others = report.faultCount - 1;
    return `${describeFault(first)}${others > 0 ? ` (and ${others} more)` : ""}`;
  }
  if (disk?.ok === false) return describeDisk(disk);
  const times = { 0: "not yet verified", 1: "verified once over" }[report.cyclesVerified];
  return (
    `counted ${report.firstCount} to ${report.lastCount} without gap, repeat or reset; ` +
    `memory ${times ?? `verified ${report.cyclesVerified} times over`}` +
    (disk === undefined ? "" : `; ${describeDisk(disk)}`)
  );
}

function describeFault(fault: ContinuityFault): string {
  if (fault.kind === "silent") return `${fault.stream} does not contain a counted line`;
  const where = `at line ${fault.line} of ${fault.stream}`;
  switch (fault.kind) {
    case "gap":
      return `the count jumps from ${fault.afterCount} to ${fault.foundCount} ${where}`;
    case "repeat":
      return `count ${fault.foundCount} follows ${fault.afterCount} ${where}: two copies ran, or the guest went back in time`;
    case "reset":
      return `the guest was reset after count ${fault.afterCount} ${where}`;
    case "memory": {
      const { expectedChecksum, foundChecksum } = fault;
      return `memory is lost or stale at count ${fault.count} ${where}: checksum ${hex8(foundChecksum)} instead of ${hex8(expectedChecksum)}`;
    }
    case "disk": {
      const { expectedChecksum, foundChecksum } = fault;
      return `acknowledged write ${fault.sequence} is not what was read from the disk ${where}: checksum ${hex8(foundChecksum)} instead of ${hex8(expectedChecksum)}`;
    }
    case "acknowledgement":
      return `write ${fault.foundSequence} is acknowledged after ${fault.afterSequence} ${where}`;
    case "garbled":
      return `${JSON.stringify(fault.text)} was found instead of ${JSON.stringify(fault.expected)} ${where}`;
  }
}

function countsOf(firstCount: number | undefined, lastCount: number | undefined) {
  return { ...(firstCount !== undefined && { firstCount }), ...(lastCount !== undefined && { lastCount }) };
}

function acknowledgedOf(acknowledged: number | undefined) {
  return acknowledged !== undefined && { acknowledged };
}

function excerpt(text: string): string {
  return text.slice(0, 80);
}
