// The course of a memory stream, kept from its progress reports, and what is to be expected of it: whether it converges,
// when, and with what pause. Plain decisions: a few figures in, a sentence's worth of figures out; no clock.

import type { Progress } from "./limits.js";

/** One pass over the dirty memory, as far as the reports show it. */
interface Pass {
  readonly pass: number;
  readonly startedMs: number;
  /** What there was to send in it. */
  readonly bytes: number;
  /** QEMU's figure in this pass; 0 where it had none yet. */
  readonly dirtyBytesPerSecond: number;
}

/** What is kept of all reports so far: enough for a forecast and for a policy, and no more with the hundredth pass. */
export interface StreamHistory {
  /** The last reports, oldest first: QEMU's own bandwidth is of its last 100 ms. */
  readonly reports: readonly Progress[];
  /** The last passes, oldest first. */
  readonly passes: readonly Pass[];
  /** What the last pass that converged began with: small gains add up against it. */
  readonly minBytes: number;
  /** How many passes in a row have not begun with clearly less than the last that did. */
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
/** A pass converges when it begins with no more than this share of the last that did; closer is noise. */
const clearlyLess = 0.95;
/** After so many that did not, memory is taken for one that does not converge. */
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

/** The last report; null before there is one. */
export const latest = (history: StreamHistory): Progress | null => history.reports.at(-1) ?? null;

export type Forecast =
  | { readonly kind: "unknown"; readonly why: string }
  | {
      readonly kind: "converges";
      /** Until the guest runs at the destination, in ms. */
      readonly remainingMs: number;
      /**
       * How long the rest of the memory may keep the guest stopped, in ms; devices and the switchover come on top. QEMU
       * lifts a bandwidth limit for it: then it is only as long as the link makes it.
       */
      readonly downtimeMs: number;
    }
  | {
      readonly kind: "diverges";
      /** The maximum downtime with which it would converge, in ms. */
      readonly pauseNeededMs: number;
      /** The bandwidth with which it would. */
      readonly bandwidthNeededBytesPerSecond: number;
    };

/** What is known before the first byte. Sizes in bytes, rates in bytes per second. */
export interface PreMigrationEstimate {
  readonly memoryBytes: number;
  /** As measured (QEMU's `query-dirty-rate`): different pages in a second, each counted once. */
  readonly dirtyBytesPerSecond: number;
  /** Null when nobody knows. */
  readonly bandwidthBytesPerSecond: number | null;
  readonly maxDowntimeMs: number;
}

/**
 * Before the migration, for a guest that writes evenly: it may dirty more in a short pass than a part of what it dirties
 * in a second, and nobody has measured how much. Every page is taken for one that it writes to.
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
 * While memory flows. `guestRuns` is false when the guest is paused: then it dirties nothing, and both figures are the most it can be. A dirty rate that was
 * measured before serves until QEMU has its own, at the end of the first pass.
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
    // What it has dirtied in this pass before it was paused comes again, and its pause has begun.
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
  // A guest that dirties all that is sent has a rate next to the bandwidth, now above and now below it: then the passes
  // themselves say more than the rates.
  const stuck =
    history.notConvergingPasses >= stuckPasses && dirty >= bandwidthBytesPerSecond * nearBandwidth;
  return stuck && stream.hotBytes > fittingBytes(stream) ? diverges(stream.hotBytes, stream) : play(stream);
}

interface Known {
  readonly guestRuns?: boolean;
  readonly measuredDirtyBytesPerSecond?: number | null;
}

/** Over all kept reports: steadier than QEMU's own, which is kept for the first few. */
function bandwidthOf({ reports }: StreamHistory): number | null {
  const [first, last] = [reports[0], reports.at(-1)];
  if (first === undefined || last === undefined) return null;
  const ms = last.elapsedMs - first.elapsedMs;
  const bytes = last.transferredBytes - first.transferredBytes;
  if (reports.length >= 3 && ms > 0 && bytes > 0) return (bytes / ms) * 1000;
  return last.bandwidthBytesPerSecond > 0 ? last.bandwidthBytesPerSecond : null;
}

/** The middle one of QEMU's figures in the last passes; null while QEMU has none. */
function dirtyRateOf(passes: readonly Pass[]): number | null {
  const known = passes
    .map((pass) => pass.dirtyBytesPerSecond)
    .filter((dirtyBytesPerSecond) => dirtyBytesPerSecond > 0);
  return known.toSorted((a, b) => a - b)[known.length >> 1] ?? null;
}

interface Stream {
  /** Left in this pass. */
  readonly bytes: number;
  /** Since this pass began. */
  readonly passedMs: number;
  /** The guest writes to no more than this between two passes. */
  readonly hotBytes: number;
  readonly dirtyBytesPerSecond: number;
  readonly bandwidthBytesPerSecond: number;
  readonly maxDowntimeMs: number;
}

const maxPasses = 200;

/** What QEMU sends while the guest is stopped. */
const fittingBytes = (item: Pick<Stream, "bandwidthBytesPerSecond" | "maxDowntimeMs">): number =>
  (item.bandwidthBytesPerSecond * item.maxDowntimeMs) / 1000;

/** Pass after pass: each has to send what was dirtied during the one before. */
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

/** The bandwidth with which memory converges: it outruns the guest clearly, or fits all that is hot into the pause. */
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

/** One sentence without a full stop. */
export function describeForecast(foreseen: Forecast): string {
  if (foreseen.kind === "unknown") return `not known yet: ${foreseen.why}`;
  if (foreseen.kind === "converges")
    return `arrives in ${seconds(foreseen.remainingMs)}, with a pause of up to ${foreseen.downtimeMs} ms`;
  const bandwidth = `about ${mebibytes(foreseen.bandwidthNeededBytesPerSecond)} MiB/s`;
  return `does not converge: it needs a pause of ${foreseen.pauseNeededMs} ms or ${bandwidth}`;
}
