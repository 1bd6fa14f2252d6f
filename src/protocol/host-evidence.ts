// The rules by which a host answers and concludes from its durable records: pure functions that the daemon calls
// (src/daemon/migrations/{settling,story-owner,outgoing}.ts and domains/recovery.ts) and that the search of the host
// world runs. Upholds G1 and G3: a host answers on evidence only. The order in which things become durable is not
// here, because it is an order of effects and not a decision: the daemon's modules define it, and
// src/simulator/hosts/surroundings.ts names it for the search.

import type { Decision } from "./messages.js";

/** A destination's records when a source asks it how a migration ended. */
export interface AskedHost {
  /** The story of the migration is on disk but cannot be read, or its QEMU does not answer. */
  readonly isUnreadable: boolean;
  /** The decision in the journal. Null, without a lookup, for a migration in progress. */
  readonly decided: Decision | null;
  /** The question carries the identity of a journal other than this host's. */
  readonly isOtherJournal: boolean;
  /** The migration is in progress here: its own machine answers. */
  readonly isComing: boolean;
  readonly isQuarantined: boolean;
}

/**
 * `refuseForGood`: the host has no record of the migration; it records that the guest never arrives, then answers
 * *refused*.
 */
export type AnswerOfHost = Decision | "askMachine" | "refuseForGood" | "unknown";

export function answerOfHost(host: AskedHost): AnswerOfHost {
  if (host.isUnreadable) return "unknown";
  // With a different journal, the host can prove that the guest was taken (a QEMU that runs it shows that), but never
  // that it was not taken: Prepare may have been delivered twice, the second time to a host that had lost its record
  // of the first, and been refused there.
  if (host.isOtherJournal) return host.decided === "taken" && !host.isComing ? "taken" : "unknown";
  if (host.decided !== null && !host.isComing) return host.decided;
  if (host.isComing) return "askMachine";
  return host.isQuarantined ? "unknown" : "refuseForGood";
}

/** A story without an end, and the record of its guest, on a restarted host. */
export interface OpenStoryAtRestart {
  readonly migrationId: string;
  /** The migration named in the guest's record; null when it names none; undefined without a record. */
  readonly recorded: string | null | undefined;
  /** The QEMU in the record is the story's QEMU. */
  readonly isItsQemu: boolean;
  /** Another story of the guest is newer, or cannot be read. */
  readonly isDoubted: boolean;
}

/**
 * Returns whether a restarted host continues a story. A guest belongs to one migration at a time, which its record
 * names: a story that was abandoned while its QEMU did not answer must not end a guest that came to the host later.
 */
export function isGoneOnWith({ migrationId, recorded, isItsQemu, isDoubted }: OpenStoryAtRestart): boolean {
  if (recorded === migrationId) return true;
  return !isDoubted && (recorded === undefined || (recorded === null && isItsQemu));
}

/** A guest with a record on a restarted host, but without a story that continues. */
export interface RecordedGuest {
  /** The direction of the migration named in the record. */
  readonly way: "none" | "out" | "in";
  readonly isUnreadable: boolean;
  /** The record was written beside a journal other than this host's. */
  readonly isForgotten: boolean;
  /**
   * According to the record, QEMU was started for the arriving guest, or may have been told to send the departing
   * one.
   */
  readonly isBegun: boolean;
  /** The decision about the migration by which the guest arrives. */
  readonly decided: Decision | null;
  /** Outcome of the departing migration's source; null when the journal does not show it. */
  readonly sourceEnd: string | null;
}

export type AtRestart =
  /** The guest belongs to this host, in the state that its QEMU reports. */
  | "attach"
  /** It cannot be decided who runs the guest: its QEMU is shown, and the guest is quarantined. */
  | "quarantine"
  /** A remaining QEMU is ended. */
  | "end"
  /** A remaining QEMU is ended, and the guest is recorded as away. */
  | "endAway"
  /** A QEMU that runs the guest was told to do so, which proves *taken*; otherwise nothing is proven. */
  | "takenIfRunning";

export function atRestart(guest: RecordedGuest): AtRestart {
  const { way, isUnreadable, isForgotten, isBegun, decided, sourceEnd } = guest;
  if (way === "none") return "attach";
  if (isUnreadable) return "quarantine";
  // A migration that had begun had a story: a missing one was lost, and its absence proves nothing.
  const isLost = isForgotten || isBegun;
  if (way === "in") {
    if (decided === "taken") return "attach";
    return decided === "refused" || !isLost ? "end" : "takenIfRunning";
  }
  if (sourceEnd === null && isLost) return "quarantine";
  return sourceEnd === "left" ? "endAway" : "attach";
}

/** A Confirm that is not cancelled, as the source receives it. */
export interface ConfirmSeen {
  /** It carries the destination's receipt for this migration. */
  readonly isProven: boolean;
  /** The destination can be asked by migration id. */
  readonly isAskable: boolean;
}

/** Returns whether the source ends its copy on this Confirm; otherwise it asks the destination itself. */
export const confirmCounts = ({ isProven, isAskable }: ConfirmSeen): boolean => isProven || !isAskable;
