// A model of a memory stream: a guest that writes, a link, and passes as in QEMU. Runs a convergence policy without QEMU, in
// simulated time, with the same progress, forecast and rules as the source's machine. Deterministic.

import {
  addReport,
  describeForecast,
  emptyHistory,
  forecast,
  type StreamHistory,
} from "../protocol/convergence/forecast.js";
import { defaultLimits, type Limits, type Progress } from "../protocol/convergence/limits.js";
import {
  type AppliedRule,
  type ConvergencePolicy,
  dueMeasures,
  hasTaken,
  take,
} from "../protocol/convergence/policy.js";
import { checkConvergencePolicy } from "../protocol/convergence/validate.js";

/** Sizes in bytes, rates in bytes per second. */
export interface GuestModel {
  readonly memoryBytes: number;
  /** The working set that the guest keeps writing to. Default: all memory. */
  readonly hotBytes?: number;
  readonly dirtyBytesPerSecond: number;
  /** The bandwidth of the link; a lower limit takes precedence. */
  readonly bandwidthBytesPerSecond: number;
  readonly limits?: Partial<Limits>;
}

export interface Played {
  /** `endless`: the stream had not converged after `maxMs`. */
  readonly outcome: "arrived" | "postcopy" | "aborted" | "endless";
  /** The downtime for the transfer of memory, in ms; null when the guest did not arrive. */
  readonly downtimeMs: number | null;
  readonly elapsedMs: number;
  readonly passes: number;
  readonly measures: readonly { readonly rule: number; readonly step: number; readonly atMs: number }[];
  /** One line for each pass, each measure, and the end. */
  readonly story: readonly string[];
}

/** QEMU checks at least this often whether the remaining memory fits into the downtime limit; earlier when all is sent. */
const maxSliceMs = 50;
const minSliceMs = 1;
const reportEveryMs = 100;
/** The minimum period over which QEMU measures the dirty rate. */
const ratedMs = 1_000;
/** The number of bitmap synchronizations after which a requested throttle takes effect. */
const throttleSyncs = 2;

class Stream {
  elapsedMs = 0;
  pass = 1;
  transferredBytes = 0;
  remainingBytes: number;
  limits: Limits;
  /** The time at which the guest was suspended. */
  suspendedMs: number | null = null;
  readonly #guest: GuestModel;
  /** Bytes dirtied since the last bitmap synchronization. */
  #dirtyBytes = 0;
  #percent = 0;
  #asked = { percent: 0, syncs: 0 };
  #rated = { sinceMs: 0, bytes: 0, bytesPerSecond: 0 };

  constructor(guest: GuestModel) {
    this.#guest = guest;
    this.remainingBytes = guest.memoryBytes;
    this.limits = { ...defaultLimits, ...guest.limits };
  }

  get bandwidth(): number {
    const { bandwidthMiBps } = this.limits;
    const limit = bandwidthMiBps === 0 ? Infinity : bandwidthMiBps * 2 ** 20;
    return Math.min(this.#guest.bandwidthBytesPerSecond, limit);
  }

  throttle(percent: number): void {
    this.#asked = { percent, syncs: throttleSyncs };
  }

  /** Advances by one slice; returns true when the remaining memory fits into the downtime limit. */
  goOn(): boolean {
    const fits = (this.bandwidth * this.limits.maxDowntimeMs) / 1000;
    if (this.remainingBytes <= fits) {
      this.#synchronize();
      if (this.remainingBytes <= fits) return true;
    }
    const { dirtyBytesPerSecond, hotBytes = this.#guest.memoryBytes } = this.#guest;
    const remainingMs = (this.remainingBytes / this.bandwidth) * 1000;
    const sliceMs = Math.max(minSliceMs, Math.min(maxSliceMs, Math.ceil(remainingMs)));
    const sent = Math.min((this.bandwidth * sliceMs) / 1000, this.remainingBytes);
    this.transferredBytes += sent;
    this.remainingBytes -= sent;
    this.elapsedMs += sliceMs;
    const runs = this.suspendedMs === null ? 1 - this.#percent / 100 : 0;
    this.#dirtyBytes = Math.min(this.#dirtyBytes + (dirtyBytesPerSecond * runs * sliceMs) / 1000, hotBytes);
    return false;
  }

  #synchronize(): void {
    this.pass += 1;
    this.remainingBytes += this.#dirtyBytes;
    this.#rated.bytes += this.#dirtyBytes;
    this.#dirtyBytes = 0;
    const ms = this.elapsedMs - this.#rated.sinceMs;
    if (ms >= ratedMs)
      this.#rated = {
        sinceMs: this.elapsedMs,
        bytes: 0,
        bytesPerSecond: (this.#rated.bytes / ms) * 1000,
      };
    this.#asked.syncs -= 1;
    if (this.#asked.syncs === 0) this.#percent = this.#asked.percent;
  }

  report(): Progress {
    return {
      transferredBytes: this.transferredBytes,
      remainingBytes: this.remainingBytes,
      totalBytes: this.#guest.memoryBytes,
      dirtyBytesPerSecond: this.#rated.bytesPerSecond,
      bandwidthBytesPerSecond: this.bandwidth,
      pass: this.pass,
      expectedDowntimeMs: null,
      disks: null,
      elapsedMs: this.elapsedMs,
    };
  }
}

/**
 * Runs the policy until the guest has arrived, the migration is aborted, or `maxMs` of simulated time have passed.
 * @throws RangeError when the policy is not valid.
 */
export function playPolicy(
  policy: ConvergencePolicy,
  guest: GuestModel,
  { maxMs = 600_000 }: { readonly maxMs?: number } = {},
): Played {
  checkConvergencePolicy(policy);
  const stream = new Stream(guest);
  const story: string[] = [];
  const measures: { rule: number; step: number; atMs: number }[] = [];
  let taken: readonly AppliedRule[] = [];
  let history: StreamHistory = emptyHistory;
  const log = (what: string) => story.push(`${stream.elapsedMs} ms  ${what}`);
  const ended = (outcome: Played["outcome"], downtimeMs: number | null): Played => {
    log(downtimeMs === null ? outcome : `${outcome}, with a downtime of ${Math.round(downtimeMs)} ms`);
    const { elapsedMs, pass } = stream;
    return { outcome, downtimeMs, elapsedMs, passes: pass, measures, story };
  };
  let reportMs = reportEveryMs;
  while (stream.elapsedMs < maxMs) {
    if (stream.goOn()) {
      const remainingMs = (stream.remainingBytes / stream.bandwidth) * 1000;
      const { suspendedMs, elapsedMs } = stream;
      return ended("arrived", remainingMs + (suspendedMs === null ? 0 : elapsedMs - suspendedMs));
    }
    if (stream.elapsedMs < reportMs) continue;
    reportMs += reportEveryMs;
    const { pass } = stream;
    const before = history.passes.at(-1)?.pass;
    history = addReport(history, stream.report());
    if (pass !== before) {
      const guestRuns = !hasTaken(policy, taken, "suspend");
      const says = describeForecast(forecast(history, stream.limits, { guestRuns }));
      log(`pass ${pass} has ${Math.ceil(stream.remainingBytes / 2 ** 20)} MiB to send; forecast: ${says}`);
    }
    for (;;) {
      const [due] = dueMeasures(policy, history, taken, stream.limits);
      if (due === undefined) break;
      const { rule, step, action, does, why } = due;
      taken = take(taken, due, history);
      measures.push({ rule, step, atMs: stream.elapsedMs });
      log(`rule ${rule} ${does}, because ${why}`);
      if (action.kind === "abort") return ended("aborted", null);
      if (action.kind === "postcopy") return ended("postcopy", 0);
      if (action.kind === "suspend") stream.suspendedMs ??= stream.elapsedMs;
      if (action.kind === "throttle") stream.throttle(action.percent);
      if (action.kind === "relaxLimits") stream.limits = { ...stream.limits, ...action.limits };
    }
  }
  return ended("endless", null);
}
