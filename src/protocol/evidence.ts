// What may be concluded about a guest that was sent to another host, and from which evidence: one pure function for every
// path. Upholds G1: that a guest of the same uuid runs there, or that none does, proves nothing about this migration.

import { type Answer, done, unknown } from "./effect-result.js";
import type { Decision } from "./messages.js";

/** What a host shows of a guest's uuid. `idle`: paused, and nothing is done with it. `busy`: a job is at work on it. */
export type Seen =
  | { readonly at: "unanswered" | "absent" }
  | {
      readonly at: "active";
      readonly id: number;
      readonly is: "running" | "idle" | "busy" | "postcopyFailed";
    };

/** The destination, as far as it can be asked about this very migration. */
export type AskedPeer =
  /** It answers by the migration's id; null without an answer. */
  | { readonly kind: "switchoverd"; readonly settled: Decision | null }
  /** It knows no migration ids. `incomingId`: libvirt's id of the domain that Prepare made; a started one gets another. */
  | { readonly kind: "libvirtd"; readonly incomingId: number | null };

export interface Evidence {
  readonly peer: AskedPeer;
  readonly protocol: 2 | 3;
  readonly postcopy: boolean;
  /** `unanswered`: sent, and it may have been carried out. */
  readonly prepare: "unsent" | "unanswered" | "refused" | "done";
  /**
   * The Finish that asks the destination to run the guest. `failed`: the only one that was sent has been answered with an
   * error. `destroyed`: a cancelled one has ended the incoming domain, as its answer says.
   */
  readonly finish: "unsent" | "unanswered" | "failed" | "arrived" | "destroyed";
  readonly seen: Seen;
}

/** `lost`: it was taken, and cannot go on there. `unknown`: the source must not be resumed, and nothing is reported. */
export type Conclusion = Decision | "lost" | "unknown";

export function conclude({ peer, protocol, postcopy, prepare, finish, seen }: Evidence): Conclusion {
  if (finish === "arrived") return "taken";
  if (finish === "destroyed") return "refused";
  // Nothing of this migration was ever there.
  if (prepare === "unsent" || prepare === "refused") return "refused";
  if (peer.kind === "switchoverd") {
    if (peer.settled !== "taken" || !postcopy) return peer.settled ?? "unknown";
    if (seen.at === "active") return seen.is === "postcopyFailed" ? "lost" : "taken";
    return seen.at === "absent" ? "lost" : "unknown";
  }
  // A libvirtd runs an incoming guest only when Finish asks for it.
  if (finish === "unsent") return "refused";
  if (seen.at === "active") {
    if (seen.id !== peer.incomingId || seen.is === "busy") return "unknown";
    return seen.is === "postcopyFailed" ? "lost" : "taken";
  }
  // Absence alone is no refusal: the guest may have run and ended. libvirtd ends the guest before Finish answers an error.
  const isRefusal = seen.at === "absent" && finish === "failed" && protocol === 3 && !postcopy;
  return isRefusal ? "refused" : "unknown";
}

/** As a source's question. A guest that is lost was taken: it is not resumed at the source. */
export const asDecision = (conclusion: Conclusion): Answer<Decision> => {
  if (conclusion === "unknown") return unknown("nothing proves whether the destination has taken the guest");
  return done(conclusion === "lost" ? "taken" : conclusion);
};

/** What a source's own coordinator knows when it is about to ask for Finish. */
export interface BeforeFinish {
  readonly concluded: Conclusion | null;
  /** The source has given the migration up: its guest runs there again, or will. */
  readonly isBack: boolean;
}

/**
 * Whether the destination may still be asked to run the guest. Finish goes by name, over any connection: one that is asked
 * late would run a guest which the source has resumed.
 */
export const mayFinish = ({ concluded, isBack }: BeforeFinish): boolean => concluded !== "refused" && !isBack;
