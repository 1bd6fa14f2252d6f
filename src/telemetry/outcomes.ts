// Determines how a side has ended: by its final state, or for a coordinator by the outcome that follows from both sides' reports.

import type { StateRecord } from "../effects/ports.js";
import { topState } from "../machines/shared/state-name.js";
import { isFinal } from "../machines/shared/states.js";
import { byRootCause, type Failure } from "../protocol/failure.js";
import { type DestinationOutcome, deriveOutcome, type SourceOutcome } from "../protocol/outcomes.js";

interface SideReports {
  source: SourceOutcome | null;
  destination: DestinationOutcome | null;
  failures: Failure[];
}

/** Returns true for outcomes that need no attention. */
export const isGood = (outcome: string): boolean => ["left", "arrived", "aborted"].includes(outcome);

export class Outcomes {
  readonly #reports = new Map<string, SideReports>();

  /** Must be called with each state of each side; returns null until the side has ended. */
  of({ side, migrationId, state, learned, because }: StateRecord): string | null {
    const ended = isFinal(side, state);
    if (side !== "coordinator") return ended ? topState(state) : null;
    const reports = this.#reports.get(migrationId) ?? { source: null, destination: null, failures: [] };
    this.#reports.set(migrationId, reports);
    reports.source = learned.source?.outcome ?? reports.source;
    reports.destination = learned.destination?.outcome ?? reports.destination;
    reports.failures.push(...because);
    if (!ended) return null;
    this.#reports.delete(migrationId);
    return deriveOutcome({ ...reports, failures: byRootCause(reports.failures) });
  }
}
