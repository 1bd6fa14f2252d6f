// The errors that users of the library receive. Upholds G7: they carry step, side, cause, what was undone and what to
// do next.

import { describeFailure, type Failure } from "./failure.js";
import { type OutcomeKind, outcomes, type RunningSide } from "./outcomes.js";
import type { Side, StepName } from "./steps.js";

/** Advice to the operator for each outcome. */
export const nextStep: Record<Exclude<OutcomeKind, "arrived">, string> = {
  stayed: "remove the cause and migrate again; the guest's migration settings have been restored",
  aborted: "nothing to repair; migrate again at any time",
  lost: "start the guest again from its disks; no copy is left that can run",
  undecided:
    "restore the connection to the side that did not answer; do not start the guest on any host before it is certain that no host runs it",
};

/** A migration that did not arrive. `failures[0]` is the root cause; the others followed from it. */
export class MigrationError extends Error {
  override readonly name = "MigrationError";
  readonly outcome: Exclude<OutcomeKind, "arrived">;
  readonly step: StepName;
  readonly side: Side;
  /** Which side runs the guest now. */
  readonly runs: RunningSide;
  readonly failures: readonly Failure[];
  /** Undo steps that were completed, in order, one sentence each. */
  readonly undone: readonly string[];
  readonly next: string;

  constructor(
    outcome: Exclude<OutcomeKind, "arrived">,
    failures: readonly [Failure, ...Failure[]],
    undone: readonly string[],
  ) {
    const [first, ...later] = failures;
    super(`${describeFailure(first)} (${outcomes[outcome].says})`, {
      cause:
        later.length === 0
          ? first
          : new AggregateError(later.map((failure) => new Error(describeFailure(failure)))),
    });
    this.outcome = outcome;
    this.step = first.step;
    this.side = first.side;
    this.runs = outcomes[outcome].runs;
    this.failures = failures;
    this.undone = undone;
    this.next = nextStep[outcome];
  }
}
