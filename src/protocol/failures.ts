// A failure as data: step, side, cause in our words and in QEMU's. The first failure of a migration is its story (G7).

import type { Cause } from "./answer.js";
import type { Side, StepName } from "./steps.js";

/** What kind of failure it is, for programs; the sentence is in `message`. */
export type FailureCode =
  | "aborted"
  | "stalled"
  | "deadline"
  | "died"
  | "refused"
  | "unanswered"
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

export const failure = (code: FailureCode, step: StepName, side: Side, because: Cause): Failure => ({
  code,
  step,
  side,
  message: because.message,
  ...(because.qemu && { qemu: because.qemu }),
});

/**
 * The order in which failures are told: a person's abort, then a QEMU that died, then the rest as they came.
 * A broken stream is only the echo of a death on the other side.
 */
export function inTellingOrder(failures: readonly Failure[]): readonly Failure[] {
  const rank = (it: Failure) => (it.code === "aborted" ? 0 : it.code === "died" ? 1 : 2);
  return failures.toSorted((a, b) => rank(a) - rank(b));
}

/** One line: step, side, what happened, and QEMU's words after a colon. */
export function describeFailure(it: Failure): string {
  const words = it.qemu === undefined ? "" : `: ${it.qemu.join(" | ")}`;
  return `${it.step} failed at the ${it.side}: ${it.message}${words}`;
}
