// What a host answers about a migration, what a restarted host makes of its records, and what a Confirm is worth: pure
// rules. The search of the host world runs them; src/daemon/{migrations,domain-recovery,outgoing}.ts decide in the same order. Upholds G1 and G3: a host answers on evidence only.

import type { Decision } from "./messages.js";

/** What a destination holds when a source asks it how a migration ended. */
export interface AskedHost {
  /** The story of the migration is on disk and cannot be read. */
  readonly isUnreadable: boolean;
  /** What the journal says was decided. */
  readonly decided: Decision | null;
  /** The question carries the identity of another journal than this host's. */
  readonly isOtherJournal: boolean;
  /** The migration is under way here: its own machine answers. */
  readonly isComing: boolean;
  readonly isQuarantined: boolean;
}

/** `refuseForGood`: nothing of the migration is here; that it never comes becomes durable, and then it is said. */
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

/** A guest of which a restarted host has a record, and no story that it goes on with. */
export interface RecordedGuest {
  /** The migration by which the record says that the guest departs or arrives. */
  readonly way: "none" | "out" | "in";
  readonly isUnreadable: boolean;
  /** The record was written beside another journal than this host's. */
  readonly isForgotten: boolean;
  /** Of the migration by which it arrives. */
  readonly decided: Decision | null;
  /** How the source of the migration by which it departs has ended; null when the journal does not say. */
  readonly sourceEnd: string | null;
}

export type AtRestart =
  /** It is this host's guest: what its QEMU says counts. */
  | "attach"
  /** Nobody can say whose guest it is: its QEMU is shown, and the guest is quarantined. */
  | "quarantine"
  /** A QEMU that is left is ended. */
  | "end"
  /** The same, and the guest is away. */
  | "endAway"
  /** A QEMU that runs the guest has been told to, which proves that the guest was taken; otherwise nothing is proven. */
  | "takenIfRunning";

export function atRestart({ way, isUnreadable, isForgotten, decided, sourceEnd }: RecordedGuest): AtRestart {
  if (way === "none") return "attach";
  if (isUnreadable) return "quarantine";
  if (way === "in") {
    if (decided === "taken") return "attach";
    return decided === "refused" || !isForgotten ? "end" : "takenIfRunning";
  }
  if (sourceEnd === null && isForgotten) return "quarantine";
  return sourceEnd === "left" ? "endAway" : "attach";
}

/** A Confirm that is not cancelled, at a source. */
export interface ConfirmSeen {
  /** It carries the destination's receipt for this very migration. */
  readonly isProven: boolean;
  /** The destination can be asked by the migration's id. */
  readonly isAskable: boolean;
}

/** Whether it counts, or the source asks the destination itself. */
export const confirmCounts = ({ isProven, isAskable }: ConfirmSeen): boolean => isProven || !isAskable;
