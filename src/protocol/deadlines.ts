// The time for which each state waits for an event. Upholds G5: every waiting state has one of these deadlines, a
// watchdog or a backoff.

/** All in milliseconds. */
export interface Deadlines {
  /** Time for which the source waits for Perform after Begin. */
  readonly performRequestedMs: number;
  /**
   * Time for which the source waits for QEMU's `completed` after the guest's STOP or after migrate-continue, beyond the
   * maximum downtime.
   */
  readonly switchoverMs: number;
  /** Time for which the source waits after a cancel for QEMU to report its end. */
  readonly cancelMs: number;
  /** Time for which the source waits for Confirm after it handed over; then it asks the destination itself. */
  readonly confirmMs: number;
  /** Time for which the destination waits for the stream to begin. */
  readonly listenMs: number;
  /**
   * Time for which the destination waits for the whole stream: a last resort, since the source's watchdog is faster.
   */
  readonly receiveMs: number;
  /** Time for which the destination waits for Finish after the stream completed. */
  readonly finishMs: number;
  /** Time for which the destination waits for the stream's end after the source reported that it is done. */
  readonly completeMs: number;
  /** Time for which a post-copy waits after a new connection for QEMU to report that it continues. */
  readonly reconnectMs: number;
  /** First delay between two attempts of the same effect; doubles up to `maxBackoffMs`. */
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
}

export const defaultDeadlines: Deadlines = {
  performRequestedMs: 120_000,
  switchoverMs: 30_000,
  cancelMs: 1_000,
  confirmMs: 10_000,
  listenMs: 60_000,
  receiveMs: 86_400_000,
  finishMs: 60_000,
  completeMs: 10_000,
  reconnectMs: 10_000,
  backoffMs: 100,
  maxBackoffMs: 10_000,
};

/** Returns the delay before attempt number `attempt` (0 is the first), in milliseconds. */
export const backoffMs = (deadlines: Deadlines, attempt: number): number =>
  Math.min(deadlines.backoffMs * 2 ** Math.min(attempt, 30), deadlines.maxBackoffMs);

/** Number of attempts of an undo or a kill before it is reported as stuck. */
export const maxAttempts = 6;
