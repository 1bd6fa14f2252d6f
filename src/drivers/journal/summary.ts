// The summary of a migration, which is kept permanently, even when the story has been removed: the guest, the last state of
// each side, and this host's decision. It is folded over a story's records as they are written or read.

import type { JournalRecord } from "../../effects/ports.js";
import { hasTag, isFinal } from "../../machines/shared/states.js";
import type { Failure } from "../../protocol/failure.js";
import type { Decision } from "../../protocol/messages.js";
import type { Side } from "../../protocol/steps.js";

export interface Summary {
  readonly migrationId: string;
  /** The guest's uuid; null when no record has it, as in the tombstones of older versions. */
  readonly uuid: string | null;
  readonly name: string | null;
  /** Time of the last record, in milliseconds since 1970; null in summaries of older versions. */
  readonly atMs: number | null;
  /** This host's decision as the destination, which is the answer to every settle; null when there is none. */
  readonly decision: Decision | null;
  /** The last durable state of each side that ran on this host. */
  readonly states: Readonly<Partial<Record<Side, string>>>;
  readonly sourceFailures: readonly Failure[];
  /** Whether the source's coordinator was informed that the destination took the guest and lost it. */
  readonly lostThere: boolean;
}

export const noSummary = (migrationId: string): Summary => ({
  migrationId,
  uuid: null,
  name: null,
  atMs: null,
  decision: null,
  states: {},
  sourceFailures: [],
  lostThere: false,
});

/** Returns the summary after one more record. */
export function withRecord(summary: Summary, record: JournalRecord): Summary {
  const { atMs, side } = record;
  const known = { ...summary, atMs };
  if (record.kind === "opened") {
    const { uuid, name } = record.input.identity;
    return { ...known, uuid, name };
  }
  if (record.kind === "tombstone")
    return { ...known, uuid: record.uuid ?? known.uuid, decision: record.decision ?? "refused" };
  if (record.kind !== "state") return known;
  const isLost = record.side === "coordinator" && record.learned.destination?.outcome === "lost";
  const because = side === "source" ? record.because : [];
  return {
    ...known,
    states: { ...known.states, [side]: record.state },
    // A decision is final: a destination that takes the guest and is stuck afterwards has still taken it.
    decision: (side === "destination" ? decisionIn(record.state) : null) ?? known.decision,
    lostThere: known.lostThere || isLost,
    sourceFailures: because.length === 0 ? known.sourceFailures : [...known.sourceFailures, ...because],
  };
}

export const summaryOf = (migrationId: string, records: readonly JournalRecord[]): Summary =>
  records.reduce(withRecord, noSummary(migrationId));

/**
 * Returns whether every side has reached its end, without the need for an operator. A side without a state has done nothing; a
 * story without any state has not begun, and the next start removes it, so that the migration can be requested again.
 */
export const hasEnded = ({ states }: Pick<Summary, "states">): boolean =>
  Object.keys(states).length > 0 &&
  sides.every((side) => {
    const state = states[side];
    return state === undefined || (isFinal(side, state) && !hasTag(side, state, "needsOperator"));
  });

const sides: readonly Side[] = ["source", "destination", "coordinator"];
function decisionIn(state: string): Decision | null {
  const says = (tag: Decision) => hasTag("destination", state, tag);
  return says("taken") ? "taken" : says("refused") ? "refused" : null;
}
