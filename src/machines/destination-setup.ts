// What the destination's machine is made of: its events, its context, its effects, actions, guards and delays. The order
// of things is in destination.ts.

import { assign, enqueueActions, fromCallback, fromPromise, setup, stateIn } from "xstate";
import type { Answer, Cause } from "../protocol/answer.js";
import { type Deadlines, mostAttempts } from "../protocol/deadlines.js";
import { failure } from "../protocol/failures.js";
import type {
  DestinationFound,
  DestinationReport,
  Fenced,
  GuestDescription,
  Identity,
  Prepared,
} from "../protocol/messages.js";
import type { StreamAddress } from "../protocol/peer-text.js";
import type { StepName } from "../protocol/steps.js";
import {
  type Aside,
  type Habits,
  habitualActions,
  nextBackoffMs,
  noted,
  present,
  type StateMeta,
  topState,
  unbound,
  type Woken,
} from "./habits.js";

export type DestinationEvent =
  | { type: "coordinator.finishAsked" }
  | { type: "coordinator.finishCancelledAsked" }
  | { type: "source.asked" }
  | { type: "source.yielded" }
  | { type: "source.announced" }
  | { type: "source.handedOver" }
  | { type: "source.reconnectAsked" }
  | { type: "monitor.active" }
  | { type: "monitor.postcopy" }
  | { type: "monitor.postcopyPaused" }
  | { type: "monitor.completed" }
  | { type: "monitor.failed"; cause: Cause }
  | { type: "monitor.resumed" }
  | { type: "monitor.stopped" }
  | { type: "process.exited"; cause: Cause };

export type DestinationQuestion = Exclude<
  DestinationEvent["type"],
  `monitor.${string}` | `process.${string}`
>;

/** What the destination has learned and must know again after a crash. */
export interface DestinationMemory {
  prepared: Prepared | null;
  /** `partly`: in post-copy, with memory still to come from the source, until all is `fetched`. */
  memory: "precopied" | "partly" | "fetched";
  /** `announced`: only the source gives the guest up. */
  postcopy: "unannounced" | "announced";
}

export interface DestinationInput {
  identity: Identity;
  guest: GuestDescription;
  deadlines: Deadlines;
  /** When the engine was restarted. */
  woken?: (Woken & { readonly memory: DestinationMemory }) | undefined;
}

export interface DestinationContext extends Habits, DestinationMemory {
  identity: Identity;
  guest: GuestDescription;
  /** Asked while QEMU is being asked how far it is: put again when that is known. */
  unanswered: readonly DestinationQuestion[];
  /** Where QEMU listens for a post-copy that has lost its connection. */
  reconnection: { readonly uri: StreamAddress } | null;
}

export interface PrepareInput {
  identity: Identity;
  guest: GuestDescription;
}

export const { createMachine, createStateConfig } = setup({
  types: {
    context: {} as DestinationContext,
    events: {} as DestinationEvent,
    emitted: {} as Aside,
    input: {} as DestinationInput,
    output: {} as DestinationReport,
    meta: {} as StateMeta,
    tags: {} as "prepared" | "taken" | "refused",
  },
  actors: {
    watch: fromCallback<DestinationEvent>(() => {}),
    prepare: fromPromise<Answer<Prepared>, PrepareInput>(unbound("prepare")),
    inquireDestination: fromPromise<Answer<DestinationFound>>(unbound("inquireDestination")),
    relisten: fromPromise<Answer<{ uri: StreamAddress }>>(unbound("relisten")),
    claim: fromPromise<Answer<null>, Fenced>(unbound("claim")),
    disclaim: fromPromise<Answer<null>, Fenced>(unbound("disclaim")),
    take: fromPromise<Answer<null>, GuestDescription>(unbound("take")),
    resume: fromPromise<Answer<null>, GuestDescription>(unbound("resume")),
    recordRefusal: fromPromise<Answer<null>>(unbound("recordRefusal")),
    killDestination: fromPromise<Answer<null>>(unbound("killDestination")),
  },
  actions: {
    ...habitualActions<DestinationContext, DestinationEvent>(),
    noteQemu: assign(({ context, event }, params: { step: StepName }) =>
      event.type === "process.exited" || event.type === "monitor.failed"
        ? noted(
            context,
            failure(
              event.type === "process.exited" ? "died" : "qemu",
              params.step,
              "destination",
              event.cause,
            ),
          )
        : context,
    ),
    putOff: assign(({ context }, question: DestinationQuestion) => ({
      ...context,
      unanswered: [...new Set([...context.unanswered, question])],
    })),
    putAgain: enqueueActions<
      DestinationContext,
      DestinationEvent,
      undefined,
      DestinationEvent,
      never,
      never,
      never,
      never,
      Aside
    >(({ context, enqueue }) => {
      for (const type of context.unanswered) enqueue.raise({ type });
      enqueue.assign({ unanswered: [] });
    }),
    keepAnnounced: assign(({ context }) => ({ ...context, postcopy: "announced" as const })),
    keepPartly: assign(({ context }) => ({ ...context, memory: "partly" as const })),
    keepWhole: assign(({ context }) => ({
      ...context,
      memory: context.memory === "precopied" ? ("precopied" as const) : ("fetched" as const),
    })),
    /** QEMU may end by itself while it is being ended; when it says why, that may be the cause of it all. */
    noteWords: assign(({ context, event }, params: { step: StepName }) =>
      event.type === "process.exited" && event.cause.qemu !== undefined
        ? noted(context, failure("died", params.step, "destination", event.cause))
        : context,
    ),
  },
  guards: {
    isDying: stateIn({ taking: "dying" }),
    wasAnnounced: ({ context }) => context.postcopy === "announced",
    inPostcopy: ({ context }) => context.memory !== "precopied",
    isWhole: ({ context }) => context.memory !== "partly",
    mustClaim: ({ context }) => context.guest.fencingToken !== null,
    outOfAttempts: ({ context }) => context.attempts >= mostAttempts,
    wokeIn: ({ context }, states: readonly string[]) =>
      context.woken !== null && states.includes(topState(context.woken.state)),
  },
  delays: {
    listen: ({ context }) => context.deadlines.listenMs,
    receive: ({ context }) => context.deadlines.receiveMs,
    finish: ({ context }) => context.deadlines.finishMs,
    complete: ({ context }) => context.deadlines.completeMs,
    backoff: ({ context }) => nextBackoffMs(context),
  },
});

/** What the fence is asked about; only in states of a guest that has a token. */
export const fencedGuest = ({ context }: { context: DestinationContext }): Fenced => ({
  identity: context.identity,
  token: present(context.guest.fencingToken, "the fencing token"),
});
