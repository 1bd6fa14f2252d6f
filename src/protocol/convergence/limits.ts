// The limits under which memory must converge, and the figures of QEMU's progress reports. Pure decisions: the
// machine owns the watchdog's timer, and the QEMU driver applies the limits.

/** Each of these limits can be changed while the migration runs. */
export interface Limits {
  /** Ceiling for the memory stream in MiB/s; 0 means no limit. */
  readonly bandwidthMiBps: number;
  /** Ceiling for the mirror of each disk in MiB/s; 0 means no limit. */
  readonly diskBandwidthMiBps: number;
  /** The longest downtime that QEMU may plan for, in milliseconds (QEMU's `downtime-limit`). */
  readonly maxDowntimeMs: number;
  /** The longest time without any data transferred before the migration is aborted, in milliseconds. */
  readonly stallMs: number;
}

/**
 * Sets no bandwidth limit, because QEMU's default of 128 MiB/s, applied in slots of 100 ms, lengthens the downtime;
 * 300 ms is QEMU's and libvirt's default maximum downtime.
 */
export const defaultLimits: Limits = {
  bandwidthMiBps: 0,
  diskBandwidthMiBps: 0,
  maxDowntimeMs: 300,
  stallMs: 30_000,
};

/** QEMU's upper bounds: `max-bandwidth` is a signed 64-bit count of bytes, `downtime-limit` at most 2000 s. */
export const highest = {
  bandwidthMiBps: 8_000_000,
  diskBandwidthMiBps: 8_000_000,
  maxDowntimeMs: 2_000_000,
  stallMs: 86_400_000,
} as const;
export const lowest = { bandwidthMiBps: 0, diskBandwidthMiBps: 0, maxDowntimeMs: 1, stallMs: 100 } as const;

/** Checks each limit that is given. @throws RangeError naming the limit, its value and the range. */
export function checkLimits(limits: Partial<Limits>): void {
  for (const name of Object.keys(lowest) as (keyof Limits)[]) {
    const value = limits[name];
    if (value === undefined) continue;
    if (!Number.isFinite(value) || value < lowest[name] || value > highest[name]) {
      throw new RangeError(`${name} is ${value}; it must be from ${lowest[name]} to ${highest[name]}`);
    }
  }
}

/** Progress of all disk mirrors, from QEMU's `query-block-jobs`, in bytes; the total grows while the guest writes. */
export interface DiskProgress {
  readonly copiedBytes: number;
  readonly totalBytes: number;
}

/** One progress report of the memory stream, from QEMU's `query-migrate`. Sizes in bytes, rates in bytes per second. */
export interface Progress {
  readonly transferredBytes: number;
  readonly remainingBytes: number;
  readonly totalBytes: number;
  readonly dirtyBytesPerSecond: number;
  readonly bandwidthBytesPerSecond: number;
  /** Number of the current pass: QEMU's count of dirty bitmap synchronizations. */
  readonly pass: number;
  readonly expectedDowntimeMs: number | null;
  readonly elapsedMs: number;
  /** Null when no disk is mirrored. */
  readonly disks: DiskProgress | null;
}

/** Returns whether memory or disk data was transferred since the last report; the stall watchdog depends on it. */
export const hasMoved = (last: Progress | null, now: Progress): boolean =>
  last === null ||
  now.transferredBytes > last.transferredBytes ||
  now.pass > last.pass ||
  (now.disks?.copiedBytes ?? 0) > (last.disks?.copiedBytes ?? 0);

/**
 * Returns how long the remaining transfer takes at the current rates, in milliseconds, or null when it would never
 * end because the guest dirties memory as fast as it is sent.
 */
export function expectedRemainingMs(progress: Progress): number | null {
  const netBytesPerSecond = progress.bandwidthBytesPerSecond - progress.dirtyBytesPerSecond;
  if (progress.remainingBytes === 0) return 0;
  if (netBytesPerSecond <= 0) return null;
  return Math.round((progress.remainingBytes / netBytesPerSecond) * 1000);
}
