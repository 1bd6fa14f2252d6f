// Both sides in one process: the peers as plain calls on the actors. A question is sent as an event, and answered as
// soon as the state determines the answer and is durable: an answer once given survives a crash (G3).

import type { Actor } from "xstate";
import type { destinationMachine } from "../machines/destination/machine.js";
import {
  type DestinationReply,
  type DestinationSnapshot,
  destinationReplies,
  replyToAbort,
  replyToBegin,
  replyToConfirm,
  replyToPerform,
  replyToPrepare,
  type SourceSnapshot,
} from "../machines/replies.js";
import type { sourceMachine } from "../machines/source/machine.js";
import { type Answer, failed, unknown } from "../protocol/effect-result.js";
import type { GuestDescription } from "../protocol/messages.js";
import { questionTable } from "../protocol/questions.js";
import type { Opened } from "./actors.js";
import type { DestinationPeer, SettlingPeer, SourcePeer } from "./ports.js";

export type SourceActor = Actor<typeof sourceMachine>;
export type DestinationActor = Actor<typeof destinationMachine>;

export function localSource({ actor, durable }: Opened<SourceActor>): SourcePeer {
  const reply = async <T>(
    read: (snapshot: SourceSnapshot) => Answer<T> | undefined,
    signal: AbortSignal,
  ): Promise<Answer<T>> => {
    const answer = await replyOf(actor, read, signal);
    await unlessBroken(durable());
    return answer;
  };
  return {
    begin: (signal) => reply(replyToBegin, signal),
    perform: (prepared, signal) => {
      put(actor, { type: questionTable.askPerform.event, prepared });
      // Answered at once, since the guest is paused: QEMU itself preserves the completed state.
      return replyOf(actor, replyToPerform, signal);
    },
    abort: (signal) => {
      put(actor, { type: questionTable.askAbort.event });
      return reply(replyToAbort, signal);
    },
    confirm: ({ cancelled }, signal) => {
      put(actor, { type: questionTable[cancelled ? "askConfirmCancelled" : "askConfirm"].event });
      return reply(replyToConfirm, signal);
    },
  };
}

/**
 * `start` starts the destination's machine; it is called once, by the first Prepare. After a crash it is the resumed
 * actor instead, or null when there was none.
 */
export function localDestination(
  start: ((guest: GuestDescription) => Opened<DestinationActor>) | Opened<DestinationActor> | null,
): DestinationPeer & SettlingPeer {
  let opened = typeof start === "function" ? null : start;
  const reply = async <T>(
    { actor, durable }: Opened<DestinationActor>,
    read: (snapshot: DestinationSnapshot) => Answer<T> | undefined,
    signal: AbortSignal,
  ): Promise<Answer<T>> => {
    const answer = await replyOf(actor, read, signal);
    await unlessBroken(durable());
    return answer;
  };
  const ask = <T>(
    question: keyof typeof destinationReplies,
    { read, unprepared }: DestinationReply<T>,
    signal: AbortSignal,
  ): Promise<Answer<T>> => {
    if (opened === null) return Promise.resolve(unprepared);
    put(opened.actor, { type: questionTable[question].event });
    return reply(opened, read, signal);
  };
  const {
    askFinish,
    askFinishCancelled,
    settle,
    announcePostcopy,
    handOver,
    reconnect,
    concede: yields,
  } = destinationReplies;
  return {
    prepare: (guest, signal) => {
      if (typeof start === "function") opened ??= start(guest);
      if (opened !== null) return reply(opened, replyToPrepare, signal);
      return Promise.resolve(failed("the destination had not begun when the engine was restarted"));
    },
    finish: ({ cancelled }, signal) =>
      cancelled ? ask("askFinishCancelled", askFinishCancelled, signal) : ask("askFinish", askFinish, signal),
    settle: (_, signal) => ask("settle", settle, signal),
    announcePostcopy: (_, signal) => ask("announcePostcopy", announcePostcopy, signal),
    handOver: (_, signal) => ask("handOver", handOver, signal),
    reconnect: (_, signal) => ask("reconnect", reconnect, signal),
    concede: (_, signal) => ask("concede", yields, signal),
  };
}

/** A journal failure has already been reported, by the effect that needed the journal. */
const unlessBroken = (durable: Promise<void>): Promise<void> => durable.catch(() => {});

/** A machine that has ended receives no event: its reply follows from its last state. */
function put<Event>(
  actor: { getSnapshot(): { status: string }; send(event: Event): void },
  event: Event,
): void {
  if (actor.getSnapshot().status === "active") actor.send(event);
}

interface Watched<Snapshot> {
  getSnapshot(): Snapshot;
  subscribe(observer: { next(): void; complete(): void; error(error: unknown): void }): {
    unsubscribe(): void;
  };
}

/** Waits until `read` derives a reply from the actor's state; `unknown` when the caller no longer waits. */
function replyOf<Snapshot, T>(
  actor: Watched<Snapshot>,
  read: (snapshot: Snapshot) => Answer<T> | undefined,
  signal: AbortSignal,
): Promise<Answer<T>> {
  const now = read(actor.getSnapshot());
  if (now !== undefined) return Promise.resolve(now);
  return new Promise((resolve) => {
    const end = (answer: Answer<T>) => {
      subscription.unsubscribe();
      signal.removeEventListener("abort", abandon);
      resolve(answer);
    };
    const abandon = () => end(unknown("the caller no longer waits for it"));
    const look = () => {
      const answer = read(actor.getSnapshot());
      if (answer !== undefined) end(answer);
    };
    const subscription = actor.subscribe({
      next: look,
      complete: look,
      error: (error) => end(unknown(`the machine failed: ${String(error)}`)),
    });
    signal.addEventListener("abort", abandon);
  });
}
