// Keeps the recent history of a memory stream, built from QEMU's progress reports, and forecasts from it whether the
// migration converges, when it completes and with what downtime. Pure decisions: no clock, no effects.

import type { Progress } from "./limits.js";

/** One pass over the dirty memory, as the progress reports show it. */
interface Pass {
  readonly pass: number;
  readonly startedMs: number;
  /** Bytes left to send when the pass began. */
  readonly bytes: number;
  /** QEMU's dirty rate during this pass; 0 while QEMU has not measured one. */
  readonly dirtyBytesPerSecond: number;
}

/** Bounded history of all reports: enough for forecasts and policies; it does not grow with the number of passes. */
export interface StreamHistory {
  /** The last reports, oldest first. They are averaged because QEMU's own bandwidth covers only the last 100 ms. */
  readonly reports: readonly Progress[];
  /** The last passes, oldest first. */
  readonly passes: readonly Pass[];
  /** Bytes at the start of the last pass that converged; small gains accumulate against it. */
  readonly minBytes: number;
  /** Number of consecutive passes that did not begin with clearly less than the last converging pass. */
  readonly notConvergingPasses: number;
}

export const emptyHistory: StreamHistory = {
  reports: [],
  passes: [],
  minBytes: Infinity,
  notConvergingPasses: 0,
};

const keptReports = 10;
const keptPasses = 4;
/** A pass converges when it begins with at most this share of the last converging pass; a smaller gain is noise. */
const clearlyLess = 0.95;
/** After this many passes without convergence, the memory counts as not converging. */
const stuckPasses = 2;
const nearBandwidth = 0.8;

export function addReport(history: StreamHistory, now: Progress): StreamHistory {
  const reports = [...history.reports, now].slice(-keptReports);
  const last = history.passes.at(-1);
  const { dirtyBytesPerSecond } = now;
  if (last !== undefined && now.pass <= last.pass)
    return {
      ...history,
      reports,
      passes: [...history.passes.slice(0, -1), { ...last, dirtyBytesPerSecond }],
    };
  const begun: Pass = {
    pass: now.pass,
    startedMs: now.elapsedMs,
    bytes: now.remainingBytes,
    dirtyBytesPerSecond,
  };
  const converges = now.remainingBytes <= history.minBytes * clearlyLess;
  return {
    reports,
    passes: [...history.passes, begun].slice(-keptPasses),
    minBytes: converges ? now.remainingBytes : history.minBytes,
    notConvergingPasses: converges
      ? 0
      : history.notConvergingPasses + now.pass - (last?.pass ?? now.pass - 1),
  };
}

/** Returns the last report, or null before the first. */
export const latest = (history: StreamHistory): Progress | null => history.reports.at(-1) ?? null;

export type Forecast =
  | { readonly kind: "unknown"; readonly why: string }
  | {
      readonly kind: "converges";
      /** Time until the guest runs at the destination, in ms. */
      readonly remainingMs: number;
      /**
       * Longest time for which sending the rest of the memory may stop the guest, in ms; device state and the
       * switchover itself are not included. QEMU lifts a bandwidth limit for this phase, so only the link determines
       * it then.
       */
      readonly downtimeMs: number;
    }
  | {
      readonly kind: "diverges";
      /** The maximum downtime with which the migration would converge, in ms. */
      readonly pauseNeededMs: number;
      /** The bandwidth with which the migration would converge. */
      readonly bandwidthNeededBytesPerSecond: number;
    };

/** The figures known before the first byte is sent. Sizes in bytes, rates in bytes per second. */
export interface PreMigrationEstimate {
  readonly memoryBytes: number;
  /** Measured by QEMU's `query-dirty-rate`, which counts distinct pages over one second. */
  readonly dirtyBytesPerSecond: number;
  /** Null when the bandwidth is unknown. */
  readonly bandwidthBytesPerSecond: number | null;
  readonly maxDowntimeMs: number;
}

/**
 * Forecasts before the migration starts, for a guest that writes evenly. It assumes that the guest writes to every
 * page: in a short pass it may dirty more than the proportional share of a second, and no measurement shows how much
 * more.
 */
export function forecastBefore(beforehand: PreMigrationEstimate): Forecast {
  if (beforehand.bandwidthBytesPerSecond === null || beforehand.bandwidthBytesPerSecond <= 0)
    return { kind: "unknown", why: "the bandwidth is not known before the migration" };
  const { memoryBytes, dirtyBytesPerSecond, bandwidthBytesPerSecond, maxDowntimeMs } = beforehand;
  return play({
    bytes: memoryBytes,
    passedMs: 0,
    hotBytes: memoryBytes,
    dirtyBytesPerSecond,
    bandwidthBytesPerSecond,
    maxDowntimeMs,
  });
}

/**
 * Forecasts while memory is being transferred. With `guestRuns` false the guest is paused and dirties nothing, so
 * both figures are upper bounds. A dirty rate measured beforehand is used until QEMU reports its own, at the end of
 * the first pass.
 */
export function forecast(
  history: StreamHistory,
  { maxDowntimeMs }: { readonly maxDowntimeMs: number },
  { guestRuns = true, measuredDirtyBytesPerSecond = null }: Known = {},
): Forecast {
  const now = latest(history);
  if (now === null) return { kind: "unknown", why: "nothing has been sent yet" };
  const bandwidthBytesPerSecond = bandwidthOf(history);
  if (bandwidthBytesPerSecond === null) return { kind: "unknown", why: "the bandwidth is not known yet" };
  const later = history.passes.filter((pass) => pass.pass > 1);
  const hotBytes = later.length === 0 ? now.totalBytes : Math.max(...later.map((journal) => journal.bytes));
  if (!guestRuns) {
    // The pages that the guest dirtied in this pass before it was paused are sent again, and its downtime has begun.
    const remainingMs = Math.round(((now.remainingBytes + hotBytes) / bandwidthBytesPerSecond) * 1000);
    return { kind: "converges", remainingMs, downtimeMs: remainingMs };
  }
  const dirty = dirtyRateOf(later) ?? measuredDirtyBytesPerSecond;
  if (dirty === null)
    return { kind: "unknown", why: "the dirty rate is not known before the first pass ends" };
  const stream: Stream = {
    bytes: now.remainingBytes,
    passedMs: now.elapsedMs - (history.passes.at(-1)?.startedMs ?? now.elapsedMs),
    hotBytes,
    dirtyBytesPerSecond: dirty,
    bandwidthBytesPerSecond,
    maxDowntimeMs,
  };
  // A guest that dirties memory as fast as it is sent has a dirty rate close to the bandwidth, sometimes above it and
  // sometimes below: then the passes are a better indicator than the rates.
  const stuck =
    history.notConvergingPasses >= stuckPasses && dirty >= bandwidthBytesPerSecond * nearBandwidth;
  return stuck && stream.hotBytes > fittingBytes(stream) ? diverges(stream.hotBytes, stream) : play(stream);
}

interface Known {
  readonly guestRuns?: boolean;
  readonly measuredDirtyBytesPerSecond?: number | null;
}

/**
 * Averages over all kept reports, which is steadier than QEMU's own figure; that one is used for the first few
 * reports.
 */
function bandwidthOf({ reports }: StreamHistory): number | null {
  const [first, last] = [reports[0], reports.at(-1)];
  if (first === undefined || last === undefined) return null;
  const ms = last.elapsedMs - first.elapsedMs;
  const bytes = last.transferredBytes - first.transferredBytes;
  if (reports.length >= 3 && ms > 0 && bytes > 0) return (bytes / ms) * 1000;
  return last.bandwidthBytesPerSecond > 0 ? last.bandwidthBytesPerSecond : null;
}

/** Returns the median of QEMU's dirty rates in the last passes; null while QEMU has none. */
function dirtyRateOf(passes: readonly Pass[]): number | null {
  const known = passes
    .map((pass) => pass.dirtyBytesPerSecond)
    .filter((dirtyBytesPerSecond) => dirtyBytesPerSecond > 0);
  return known.toSorted((a, b) => a - b)[known.length >> 1] ?? null;
}

interface Stream {
  /** Bytes left in this pass. */
  readonly bytes: number;
  /** Milliseconds since this pass began. */
  readonly passedMs: number;
  /** Upper bound of the memory that the guest writes to between two passes. */
  readonly hotBytes: number;
  readonly dirtyBytesPerSecond: number;
  readonly bandwidthBytesPerSecond: number;
  readonly maxDowntimeMs: number;
}

const maxPasses = 200;

/** Bytes that QEMU can send within the maximum downtime. */
const fittingBytes = (stream: Pick<Stream, "bandwidthBytesPerSecond" | "maxDowntimeMs">): number =>
  (stream.bandwidthBytesPerSecond * stream.maxDowntimeMs) / 1000;

/** Simulates pass after pass: each one sends what was dirtied during the one before. */
function play(stream: Stream): Forecast {
  const { hotBytes, dirtyBytesPerSecond, bandwidthBytesPerSecond } = stream;
  const fits = fittingBytes(stream);
  const sendMs = (bytes: number) => (bytes / bandwidthBytesPerSecond) * 1000;
  let passMs = stream.passedMs + sendMs(stream.bytes);
  let remainingMs = sendMs(stream.bytes);
  let before = Infinity;
  for (let pass = 0; pass < maxPasses; pass += 1) {
    const bytes = Math.min((dirtyBytesPerSecond * passMs) / 1000, hotBytes);
    if (bytes <= fits)
      return {
        kind: "converges",
        remainingMs: Math.round(remainingMs + sendMs(bytes)),
        downtimeMs: Math.round(sendMs(bytes)),
      };
    if (bytes > before * clearlyLess) return diverges(bytes, stream);
    before = bytes;
    passMs = sendMs(bytes);
    remainingMs += passMs;
  }
  return diverges(before, stream);
}

function diverges(bytes: number, stream: Stream): Forecast {
  const { dirtyBytesPerSecond, bandwidthBytesPerSecond, hotBytes, maxDowntimeMs } = stream;
  return {
    kind: "diverges",
    pauseNeededMs: Math.ceil((bytes / bandwidthBytesPerSecond) * 1000),
    bandwidthNeededBytesPerSecond: bandwidthFor({ dirtyBytesPerSecond, hotBytes, maxDowntimeMs }),
  };
}

/**
 * Returns the bandwidth with which memory converges: clearly above the dirty rate, or enough to send all hot pages
 * within the downtime.
 */
export function bandwidthFor({
  dirtyBytesPerSecond,
  hotBytes,
  maxDowntimeMs,
}: Pick<Stream, "dirtyBytesPerSecond" | "hotBytes" | "maxDowntimeMs">): number {
  const outruns = dirtyBytesPerSecond / clearlyLess;
  const fits = (hotBytes / maxDowntimeMs) * 1000;
  return Math.ceil(Math.min(outruns, fits));
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const mebibytes = (bytes: number) => Math.ceil(bytes / 2 ** 20);

/** Returns one sentence without a full stop. */
export function describeForecast(foreseen: Forecast): string {
  if (foreseen.kind === "unknown") return `not known yet: ${foreseen.why}`;
  if (foreseen.kind === "converges")
    return `completes in ${seconds(foreseen.remainingMs)}, with a downtime of up to ${foreseen.downtimeMs} ms`;
  const bandwidth = `about ${mebibytes(foreseen.bandwidthNeededBytesPerSecond)} MiB/s`;
  return `does not converge: it needs a downtime of ${foreseen.pauseNeededMs} ms or ${bandwidth}`;
}
