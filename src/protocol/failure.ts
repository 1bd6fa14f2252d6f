// A failure as data: step, side, and the cause in our words and in QEMU's. Upholds G7: the first failure of a
// migration is its story.

import type { Side, StepName } from "./steps.js";

/** Kind of the failure, for programs; the sentence is in `message`. */
export type FailureCode =
  | "aborted"
  | "stalled"
  | "diverges"
  | "deadline"
  | "died"
  | "refused"
  | "unanswered"
  | "disk"
  | "rejected"
  | "qemu";

export interface Failure {
  readonly code: FailureCode;
  readonly step: StepName;
  readonly side: Side;
  readonly message: string;
  /** QEMU's own words: a monitor error or the last lines of its stderr. */
  readonly qemu?: readonly string[];
}

export const failure = (
  code: FailureCode,
  step: StepName,
  side: Side,
  because: Pick<Failure, "message" | "qemu">,
): Failure => ({
  code,
  step,
  side,
  message: because.message,
  ...(because.qemu && { qemu: because.qemu }),
});

/**
 * Sorts failures in the order in which they are reported: first the decision of an operator or a watchdog, then the
 * death of a QEMU, then the others as they came. A broken stream is only a consequence of a death on the other side,
 * and the death of the destination's QEMU only a consequence of a decision to stop.
 */
export function byRootCause(failures: readonly Failure[]): readonly Failure[] {
  const ranks: Partial<Record<FailureCode, number>> = {
    aborted: 0,
    stalled: 1,
    diverges: 1,
    deadline: 1,
    disk: 1,
    died: 2,
  };
  const rank = (reported: Failure) => ranks[reported.code] ?? 3;
  return failures.toSorted((a, b) => rank(a) - rank(b));
}

/** Returns one line: step, side, what happened, and QEMU's words after a colon. */
export function describeFailure(reported: Failure): string {
  const words = reported.qemu === undefined ? "" : `: ${reported.qemu.join(" | ")}`;
  return `${reported.step} failed at the ${reported.side}: ${reported.message}${words}`;
}
