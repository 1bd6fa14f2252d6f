// The rules by which a host answers, and concludes, from what is durable on it: pure functions that the daemon calls
// (src/daemon/migrations/{settling,story-owner,outgoing}.ts and domains/recovery.ts) and that the search of the host world runs. Upholds G1
// and G3: a host answers on evidence only. Not here, because it is an order of effects and no decision: what becomes durable
// before what. The daemon's modules have that order, and src/simulator/hosts/surroundings.ts names it for the search.

import type { Decision } from "./messages.js";

/** What a destination holds when a source asks it how a migration ended. */
export interface AskedHost {
  /** The story of the migration is on disk and cannot be read, or its QEMU does not answer. */
  readonly isUnreadable: boolean;
  /** The decision in the journal. Not looked up, and null, for a migration that is under way. */
  readonly decided: Decision | null;
  /** The question carries the identity of another journal than this host's. */
  readonly isOtherJournal: boolean;
  /** The migration is under way here: its own machine answers. */
  readonly isComing: boolean;
  readonly isQuarantined: boolean;
}

/** `refuseForGood`: nothing of the migration is here; the host records that it never comes, and answers *refused* then. */
export type AnswerOfHost = Decision | "askMachine" | "refuseForGood" | "unknown";

export function answerOfHost(host: AskedHost): AnswerOfHost {
  if (host.isUnreadable) return "unknown";
  // A second journal proves that the guest was taken, which is read from a QEMU that runs it, and never that it was not:
  // Prepare may have been delivered again to a host that has forgotten what it did after the first, and refused there.
  if (host.isOtherJournal) return host.decided === "taken" && !host.isComing ? "taken" : "unknown";
  if (host.decided !== null && !host.isComing) return host.decided;
  if (host.isComing) return "askMachine";
  return host.isQuarantined ? "unknown" : "refuseForGood";
}

/** A story that has not ended, and the record of its guest on a host that was restarted. */
export interface OpenStoryAtRestart {
  readonly migrationId: string;
  /** The migration that the guest's record names; null when it names none; undefined when there is no record. */
  readonly recorded: string | null | undefined;
  /** The QEMU in the record is the one of the story. */
  readonly isItsQemu: boolean;
  /** Another story of the guest is newer, or cannot be read. */
  readonly isDoubted: boolean;
}

/**
 * Whether a restarted host goes on with a story. A guest belongs to one migration at a time, which its record names: a story
 * that was given up while its QEMU did not answer must not end what has come to the host since.
 */
export function isGoneOnWith({ migrationId, recorded, isItsQemu, isDoubted }: OpenStoryAtRestart): boolean {
  if (recorded === migrationId) return true;
  return !isDoubted && (recorded === undefined || (recorded === null && isItsQemu));
}

/** A guest of which a restarted host has a record, and no story that it goes on with. */
export interface RecordedGuest {
  /** The migration by which the record says that the guest departs or arrives. */
  readonly way: "none" | "out" | "in";
  readonly isUnreadable: boolean;
  /** The record was written beside another journal than this host's. */
  readonly isForgotten: boolean;
  /** The record says that QEMU was started for the guest that arrives, or may have been told to send the one that departs. */
  readonly isBegun: boolean;
  /** The decision about the migration by which it arrives. */
  readonly decided: Decision | null;
  /** How the source of the migration by which it departs has ended; null when the journal does not say. */
  readonly sourceEnd: string | null;
}

export type AtRestart =
  /** It is this host's guest: its state is the one that its QEMU answers with. */
  | "attach"
  /** It cannot be decided who runs the guest: its QEMU is shown, and the guest is quarantined. */
  | "quarantine"
  /** A QEMU that is left is ended. */
  | "end"
  /** The same, and the guest is away. */
  | "endAway"
  /** A QEMU that runs the guest was told to, which proves that the guest was taken; otherwise nothing is proven. */
  | "takenIfRunning";

export function atRestart(guest: RecordedGuest): AtRestart {
  const { way, isUnreadable, isForgotten, isBegun, decided, sourceEnd } = guest;
  if (way === "none") return "attach";
  if (isUnreadable) return "quarantine";
  // A migration that had begun had a story: one that is not there any more was lost, and it proves nothing.
  const isLost = isForgotten || isBegun;
  if (way === "in") {
    if (decided === "taken") return "attach";
    return decided === "refused" || !isLost ? "end" : "takenIfRunning";
  }
  if (sourceEnd === null && isLost) return "quarantine";
  return sourceEnd === "left" ? "endAway" : "attach";
}

/** A Confirm that is not cancelled, at a source. */
export interface ConfirmSeen {
  /** It carries the destination's receipt for this very migration. */
  readonly isProven: boolean;
  /** The destination can be asked by the migration's id. */
  readonly isAskable: boolean;
}

/** Whether the source ends its copy on it, or asks the destination itself. */
export const confirmCounts = ({ isProven, isAskable }: ConfirmSeen): boolean => isProven || !isAskable;
