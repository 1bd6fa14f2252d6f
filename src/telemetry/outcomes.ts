// How a side has ended, in a word: its final state; of a coordinator, what follows from what both sides have told it.

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

/** Those of which nothing is to be mended. */
export const isGood = (outcome: string): boolean => ["left", "arrived", "aborted"].includes(outcome);

export class Outcomes {
  readonly #heard = new Map<string, SideReports>();

  /** To be told each state of each side; null until the side has ended. */
  of({ side, migrationId, state, learned, because }: StateRecord): string | null {
    const ended = isFinal(side, state);
    if (side !== "coordinator") return ended ? topState(state) : null;
    const heard = this.#heard.get(migrationId) ?? { source: null, destination: null, failures: [] };
    this.#heard.set(migrationId, heard);
    heard.source = learned.source?.outcome ?? heard.source;
    heard.destination = learned.destination?.outcome ?? heard.destination;
    heard.failures.push(...because);
    if (!ended) return null;
    this.#heard.delete(migrationId);
    return deriveOutcome({ ...heard, failures: byRootCause(heard.failures) });
  }
}
