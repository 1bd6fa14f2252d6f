// How long each state may wait for a fact. Upholds G5: every waiting state has one of
// these, a watchdog or a backoff.

/** All in milliseconds. */
export interface Deadlines {
  /** Source, begun: for Perform to be asked. */
  readonly performRequestedMs: number;
  /** Source, beyond the maximum downtime: from the guest's STOP, or from migrate-continue, to QEMU's completed. */
  readonly switchoverMs: number;
  /** Source, from a cancel to QEMU's word that it ended. */
  readonly cancelMs: number;
  /** Source, handed over: for Confirm; after it the source asks the destination itself. */
  readonly confirmMs: number;
  /** Destination, listening: for the stream to begin. */
  readonly listenMs: number;
  /** Destination, receiving: for the whole stream. A last resort: the source's own watchdog is faster. */
  readonly receiveMs: number;
  /** Destination, received: for Finish. */
  readonly finishMs: number;
  /** Destination, told that the source is done: for the stream's end. */
  readonly completeMs: number;
  /** In post-copy: from a new connection to QEMU's word that it goes on. */
  readonly reconnectMs: number;
  /** First pause between two tries of the same effect; doubles up to `maxBackoffMs`. */
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

/** The pause before try number `attempt` (0 is the first), in milliseconds. */
export const backoffMs = (deadlines: Deadlines, attempt: number): number =>
  Math.min(deadlines.backoffMs * 2 ** Math.min(attempt, 30), deadlines.maxBackoffMs);

/** How often an undo or a kill is tried before it is reported as stuck. */
export const maxAttempts = 6;
