// Which conclusions about a guest that was sent to another host are allowed, and on which evidence: one pure function
// for every path. Upholds G1: a guest of the same uuid running there, or none running there, proves nothing about
// this migration.

import { type Answer, done, unknown } from "./effect-result.js";
import type { Decision } from "./messages.js";

/**
 * State in which the host shows the domain with the guest's uuid. `idle`: paused, without a job. `busy`: a job is
 * active on it.
 */
export type Seen =
  | { readonly at: "unanswered" | "absent" }
  | {
      readonly at: "active";
      readonly id: number;
      readonly is: "running" | "idle" | "busy" | "postcopyFailed";
    };

/** The destination, as far as it can be asked about this migration. */
export type AskedPeer =
  /** Answers by migration id; null when it does not answer. */
  | { readonly kind: "switchoverd"; readonly settled: Decision | null }
  /**
   * Has no migration ids. `incomingId`: libvirt's id of the domain that Prepare created; a domain that is started
   * gets a new one.
   */
  | { readonly kind: "libvirtd"; readonly incomingId: number | null };

export interface Evidence {
  readonly peer: AskedPeer;
  readonly protocol: 2 | 3;
  readonly postcopy: boolean;
  /** `unanswered`: sent, and possibly carried out. */
  readonly prepare: "unsent" | "unanswered" | "refused" | "done";
  /**
   * The Finish that asks the destination to run the guest. `failed`: the only one that was sent was answered with an
   * error. `destroyed`: a cancelled Finish has ended the incoming domain, as its answer reports.
   */
  readonly finish: "unsent" | "unanswered" | "failed" | "arrived" | "destroyed";
  readonly seen: Seen;
}

/**
 * `lost`: the guest was taken and cannot continue there. `unknown`: the source must not be resumed, and nothing is
 * reported.
 */
export type Conclusion = Decision | "lost" | "unknown";

export function conclude({ peer, protocol, postcopy, prepare, finish, seen }: Evidence): Conclusion {
  if (finish === "arrived") return "taken";
  if (finish === "destroyed") return "refused";
  // Nothing of this migration ever reached the destination.
  if (prepare === "unsent" || prepare === "refused") return "refused";
  if (peer.kind === "switchoverd") {
    if (peer.settled !== "taken" || !postcopy) return peer.settled ?? "unknown";
    if (seen.at === "active") return seen.is === "postcopyFailed" ? "lost" : "taken";
    return seen.at === "absent" ? "lost" : "unknown";
  }
  // A libvirtd runs an incoming guest only when it is asked to by Finish.
  if (finish === "unsent") return "refused";
  if (seen.at === "active") {
    if (seen.id !== peer.incomingId || seen.is === "busy") return "unknown";
    return seen.is === "postcopyFailed" ? "lost" : "taken";
  }
  // Absence alone does not prove a refusal: the guest may have run and ended. libvirtd ends the guest before Finish
  // returns an error.
  const isRefusal = seen.at === "absent" && finish === "failed" && protocol === 3 && !postcopy;
  return isRefusal ? "refused" : "unknown";
}

/**
 * Turns the conclusion into the answer to the source's question. A lost guest was taken: it is not resumed at the
 * source.
 */
export const asDecision = (conclusion: Conclusion): Answer<Decision> => {
  if (conclusion === "unknown") return unknown("nothing proves whether the destination has taken the guest");
  return done(conclusion === "lost" ? "taken" : conclusion);
};

/** The knowledge of the source's own coordinator just before it calls Finish. */
export interface BeforeFinish {
  readonly concluded: Conclusion | null;
  /** The source has abandoned the migration: its guest runs there again, or will. */
  readonly isBack: boolean;
}

/**
 * Returns whether the destination may still be asked to run the guest. Finish names the guest and travels over any
 * connection: a late one would run a guest that the source has already resumed.
 */
export const mayFinish = ({ concluded, isBack }: BeforeFinish): boolean => concluded !== "refused" && !isBack;
