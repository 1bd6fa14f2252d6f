// Each side's replies to the five steps and to settle. A reply is derived from the machine's state, so a repeated
// question gets the same reply, also after a restart. `undefined`: not decided yet.

import type { SnapshotFrom } from "xstate";
import { type Answer, done, failed, failedThere, nothing } from "../protocol/effect-result.js";
import type {
  Abort,
  Decision,
  DestinationReport,
  GuestDescription,
  Prepared,
  Reconnection,
  SourceReport,
} from "../protocol/messages.js";
import type { destinationMachine } from "./destination/machine.js";
import type { sourceMachine } from "./source/machine.js";

export type SourceSnapshot = SnapshotFrom<typeof sourceMachine>;
export type DestinationSnapshot = SnapshotFrom<typeof destinationMachine>;
type Reply<T> = Answer<T> | undefined;

const failuresOf = (snapshot: SourceSnapshot | DestinationSnapshot) => snapshot.context.failures;

export function replyToBegin(snapshot: SourceSnapshot): Reply<GuestDescription> {
  if (snapshot.context.guest !== null) return done(snapshot.context.guest);
  return snapshot.status === "active" ? undefined : failedThere(failuresOf(snapshot), "Begin failed");
}

export function replyToPerform(snapshot: SourceSnapshot): Reply<null> {
  if (snapshot.hasTag("performed")) return nothing;
  return snapshot.status === "active" && !snapshot.hasTag("restored")
    ? undefined
    : failedThere(failuresOf(snapshot), "Perform failed");
}

/** Called right after the abort was delivered to the machine. */
export function replyToAbort(snapshot: SourceSnapshot): Reply<Abort> {
  if (snapshot.hasTag("pointOfNoReturn") || snapshot.output?.outcome === "left") {
    return done({ accepted: false, why: "the guest has been handed over to the destination" });
  }
  return done({ accepted: true, why: "the source is ending the migration" });
}

export const replyToConfirm = (snapshot: SourceSnapshot): Reply<SourceReport> =>
  snapshot.output === undefined ? undefined : done(snapshot.output);

export function replyToPrepare(snapshot: DestinationSnapshot): Reply<Prepared> {
  if (
    snapshot.hasTag("refused") ||
    snapshot.matches({ refusal: "refusing" }) ||
    snapshot.context.prepared === null
  ) {
    return snapshot.status === "active" ? undefined : failedThere(failuresOf(snapshot), "Prepare failed");
  }
  return done(snapshot.context.prepared);
}

/** The reply to Finish and to Finish with cancelled alike: how this side has ended. */
export const replyToFinish = (snapshot: DestinationSnapshot): Reply<DestinationReport> =>
  snapshot.output === undefined ? undefined : done(snapshot.output);

export function replyToAnnounce(snapshot: DestinationSnapshot): Reply<null> {
  if (snapshot.hasTag("announced") || snapshot.hasTag("taken")) return nothing;
  if (snapshot.hasTag("refused"))
    return failedThere(failuresOf(snapshot), "the destination refused the guest");
  return undefined;
}

/** In post-copy: the address for the new connection. */
export function replyToReconnect(snapshot: DestinationSnapshot): Reply<Reconnection> {
  if (snapshot.status !== "active" || snapshot.hasTag("refused"))
    return done(snapshot.output?.outcome === "arrived" ? "arrived" : "lost");
  const { reconnection, memory } = snapshot.context;
  if (snapshot.matches({ postcopy: "postcopyReady" }) && memory !== "partly") return done("whole");
  if (snapshot.hasTag("listensAgain") && reconnection !== null) return done(reconnection);
  // The question came before the engine was restarted, or had no effect.
  return snapshot.hasTag("disconnected") || snapshot.hasTag("connected")
    ? failed("QEMU is not listening again")
    : undefined;
}

export function replyToSettle(snapshot: DestinationSnapshot): Reply<Decision> {
  if (snapshot.hasTag("taken")) return done("taken");
  if (snapshot.hasTag("refused")) return done("refused");
  return undefined;
}

/** A side's reply to a question, and that of a destination without a Prepare. */
export interface DestinationReply<T> {
  readonly read: (snapshot: DestinationSnapshot) => Reply<T>;
  readonly unprepared: Answer<T>;
}
const replies = <T>(
  read: (snapshot: DestinationSnapshot) => Reply<T>,
  unprepared: Answer<T>,
): DestinationReply<T> => ({ read, unprepared });

export const sourceReplies = {
  askBegin: replyToBegin,
  askPerform: replyToPerform,
  askAbort: replyToAbort,
  askConfirm: replyToConfirm,
  askConfirmCancelled: replyToConfirm,
};

const noPrepare = failed("this migration has no Prepare on this host");

/** Without a Prepare there is no copy here, and there never will be one under this migration id. */
export const destinationReplies = {
  askFinish: replies(replyToFinish, noPrepare),
  askFinishCancelled: replies(replyToFinish, done({ outcome: "refused", failures: [], undone: [] })),
  settle: replies(replyToSettle, done("refused")),
  retractPostcopy: replies(replyToSettle, done("refused")),
  concede: replies(replyToSettle, done("refused")),
  announcePostcopy: replies(replyToAnnounce, noPrepare),
  handOver: replies(replyToSettle, done("refused")),
  reconnect: replies(replyToReconnect, done("lost")),
};
