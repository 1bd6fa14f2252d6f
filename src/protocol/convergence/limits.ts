// The limits under which memory has to converge, and what is read off a progress report. Plain decisions: the
// machine owns the watchdog's timer, the QEMU driver applies the limits.

/** Each of these can be changed while the migration runs. */
export interface Limits {
  /** Ceiling for the memory stream in MiB/s; 0 means no limit. */
  readonly bandwidthMiBps: number;
  /** Ceiling for the copy of each disk in MiB/s; 0 means no limit. */
  readonly diskBandwidthMiBps: number;
  /** The longest pause QEMU may plan for, in milliseconds (QEMU's `downtime-limit`). */
  readonly maxDowntimeMs: number;
  /** The longest time without one byte of progress before the migration is given up, in milliseconds. */
  readonly stallMs: number;
}

/**
 * No bandwidth limit, because QEMU's own 128 MiB/s in slots of 100 ms stretches the pause (facts/qemu.md);
 * 300 ms is QEMU's and libvirt's default downtime.
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

/** Checks each limit that is given; a RangeError names the limit, its value and the range. */
export function checkLimits(limits: Partial<Limits>): void {
  for (const name of Object.keys(lowest) as (keyof Limits)[]) {
    const value = limits[name];
    if (value === undefined) continue;
    if (!Number.isFinite(value) || value < lowest[name] || value > highest[name]) {
      throw new RangeError(`${name} is ${value}; it must be from ${lowest[name]} to ${highest[name]}`);
    }
  }
}

/** How far the copy of all disks is, as QEMU's `query-block-jobs` gives it, in bytes; the total grows as the guest writes. */
export interface DiskProgress {
  readonly copiedBytes: number;
  readonly totalBytes: number;
}

/** One report of the memory stream, as QEMU's `query-migrate` gives it. Sizes in bytes, rates in bytes per second. */
export interface Progress {
  readonly transferredBytes: number;
  readonly remainingBytes: number;
  readonly totalBytes: number;
  readonly dirtyBytesPerSecond: number;
  readonly bandwidthBytesPerSecond: number;
  /** How often QEMU has synchronized the dirty bitmap: the number of the pass. */
  readonly pass: number;
  readonly expectedDowntimeMs: number | null;
  readonly elapsedMs: number;
  /** Null when no disk is copied. */
  readonly disks: DiskProgress | null;
}

/** Whether memory or a disk has moved since the last report; what the watchdog waits for. */
export const hasMoved = (last: Progress | null, now: Progress): boolean =>
  last === null ||
  now.transferredBytes > last.transferredBytes ||
  now.pass > last.pass ||
  (now.disks?.copiedBytes ?? 0) > (last.disks?.copiedBytes ?? 0);

/**
 * How long the rest takes in milliseconds when nothing changes, or null when it would never end: the guest
 * dirties memory as fast as it is sent.
 */
export function expectedRemainingMs(progress: Progress): number | null {
  const netBytesPerSecond = progress.bandwidthBytesPerSecond - progress.dirtyBytesPerSecond;
  if (progress.remainingBytes === 0) return 0;
  if (netBytesPerSecond <= 0) return null;
  return Math.round((progress.remainingBytes / netBytesPerSecond) * 1000);
}
