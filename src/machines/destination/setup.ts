// The parts of the destination's machine: its events, context, effects, actions, guards and delays. The order of its
// states is in machine.ts.

import { assign, enqueueActions, fromCallback, fromPromise, setup, stateIn } from "xstate";
import { type Deadlines, maxAttempts } from "../../protocol/deadlines.js";
import type { Answer, Cause } from "../../protocol/effect-result.js";
import { failure } from "../../protocol/failure.js";
import type {
  DestinationFound,
  DestinationReport,
  Fenced,
  GuestDescription,
  Identity,
  Prepared,
} from "../../protocol/messages.js";
import type { StreamAddress } from "../../protocol/peer-text.js";
import type { StepName } from "../../protocol/steps.js";
import {
  type Answered,
  answers,
  type CommonContext,
  commonActions,
  deadlineCause,
  ignoring,
  type Notice,
  nextBackoffMs,
  present,
  recordFailure,
  type StateMeta,
  unbound,
  type Woken,
  withFailures,
} from "../shared/actions.js";
import { retryingIn } from "../shared/retry.js";
import { topState } from "../shared/state-name.js";

export type DestinationEvent =
  | { type: "coordinator.finishRequested" }
  | { type: "coordinator.finishCancelledRequested" }
  | { type: "source.settleRequested" }
  | { type: "source.conceded" }
  | { type: "source.announced" }
  | { type: "source.handedOver" }
  | { type: "source.reconnectRequested" }
  /** An operator destroys the incoming guest; once it is taken, its QEMU is ended instead. */
  | { type: "operator.destroyed" }
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
  `monitor.${string}` | `process.${string}` | `operator.${string}`
>;

/** The destination's knowledge that must survive a crash. */
export interface DestinationMemory {
  prepared: Prepared | null;
  /** `partly`: in post-copy, with memory still missing until all is `fetched`. */
  memory: "precopied" | "partly" | "fetched";
  /** `announced`: only the source may abandon the guest. */
  postcopy: "unannounced" | "announced";
}

export interface DestinationInput {
  identity: Identity;
  guest: GuestDescription;
  deadlines: Deadlines;
  /** Set when the engine was restarted. */
  woken?: (Woken & { readonly memory: DestinationMemory }) | undefined;
}

export interface DestinationContext extends CommonContext, DestinationMemory {
  identity: Identity;
  guest: GuestDescription;
  /** Questions that arrived while QEMU's state was being queried; they are raised again afterwards. */
  deferred: readonly DestinationQuestion[];
  /** Where QEMU listens for a post-copy that lost its connection. */
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
    emitted: {} as Notice,
    input: {} as DestinationInput,
    output: {} as DestinationReport,
    meta: {} as StateMeta,
    tags: {} as
      | "announced"
      | "connected"
      | "decided"
      | "disconnected"
      | "listensAgain"
      | "needsOperator"
      | "refused"
      | "taken",
  },
  actors: {
    watch: fromCallback<DestinationEvent>(() => {}),
    prepare: fromPromise<Answer<Prepared>, PrepareInput>(unbound("prepare")),
    probeDestination: fromPromise<Answer<DestinationFound>>(unbound("probeDestination")),
    listenAgain: fromPromise<Answer<{ uri: StreamAddress }>>(unbound("listenAgain")),
    claim: fromPromise<Answer<null>, Fenced>(unbound("claim")),
    disclaim: fromPromise<Answer<null>, Fenced>(unbound("disclaim")),
    take: fromPromise<Answer<null>, GuestDescription>(unbound("take")),
    resume: fromPromise<Answer<null>, GuestDescription>(unbound("resume")),
    recordRefusal: fromPromise<Answer<null>>(unbound("recordRefusal")),
    killDestination: fromPromise<Answer<null>>(unbound("killDestination")),
  },
  actions: {
    ...commonActions<DestinationContext, DestinationEvent>(),
    recordQemuFailure: assign(({ context, event }, params: { step: StepName }) =>
      event.type === "process.exited" || event.type === "monitor.failed"
        ? withFailures(
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
    defer: assign(({ context }, question: DestinationQuestion) => ({
      ...context,
      deferred: [...new Set([...context.deferred, question])],
    })),
    replayDeferred: enqueueActions<
      DestinationContext,
      DestinationEvent,
      undefined,
      DestinationEvent,
      never,
      never,
      never,
      never,
      Notice
    >(({ context, enqueue }) => {
      for (const type of context.deferred) enqueue.raise({ type });
      enqueue.assign({ deferred: [] });
    }),
    keepAnnounced: assign(({ context }) => ({ ...context, postcopy: "announced" as const })),
    keepPartly: assign(({ context }) => ({ ...context, memory: "partly" as const })),
    keepWhole: assign(({ context }) => ({
      ...context,
      memory: context.memory === "precopied" ? ("precopied" as const) : ("fetched" as const),
    })),
    /** QEMU may exit by itself while it is being ended; its stderr may then hold the root cause. */
    recordStderr: assign(({ context, event }, params: { step: StepName }) =>
      event.type === "process.exited" && event.cause.qemu !== undefined
        ? withFailures(context, failure("died", params.step, "destination", event.cause))
        : context,
    ),
  },
  guards: {
    isDying: stateIn({ takeover: { taking: "dying" } }),
    isConnected: stateIn({ takeover: { fetchingPages: { connection: "connected" } } }),
    wasAnnounced: ({ context }) => context.postcopy === "announced",
    inPostcopy: ({ context }) => context.memory !== "precopied",
    isWhole: ({ context }) => context.memory !== "partly",
    mustClaim: ({ context }) => context.guest.fencingToken !== null,
    outOfAttempts: ({ context }) => context.attempts >= maxAttempts,
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

export const retrying = retryingIn<DestinationContext>();

export const follows = ignoring("the answer follows from the state");
export const ending = ignoring("this copy is already being ended");

export const recordQemuFailure = (step: StepName) =>
  ({ type: "recordQemuFailure", params: { step } }) as const;
export const recordDestroyed = recordFailure(
  failure("aborted", "prepare", "destination", {
    message: "an operator destroyed the incoming guest at the destination",
  }),
);
export const recordLastStderr = { type: "recordStderr", params: { step: "perform" } } as const;
export const memoryGone = recordFailure(
  failure("died", "perform", "source", {
    message:
      "the source's QEMU died in post-copy, or lost its connection for good: memory that had not arrived is lost; the guest runs here until it needs a missing page",
  }),
);

export const keepPartly = "keepPartly";
export const keepWhole = "keepWhole";

/** Leads to the decision to take the guest; it is claimed at the fence first, if there is one. */
export const deciding = <const Actions extends typeof keepPartly | typeof keepWhole>(actions?: Actions) =>
  [
    { guard: "mustClaim", target: "#destination.takeover.claiming", ...(actions && { actions }) },
    { target: "#destination.takeover.taking", ...(actions && { actions }) },
  ] as const;

/** Post-copy had been announced before the engine was restarted, and QEMU has given one of these answers. */
export const announcedAnd =
  (...found: readonly string[]) =>
  ({ context, event }: { context: DestinationContext } & Answered): boolean =>
    context.postcopy === "announced" && found.some((value) => answers(value)({ event }));

export const defer = (question: DestinationQuestion, why = "the answer follows when QEMU has been asked") =>
  ({
    actions: [
      { type: "defer", params: question },
      { type: "keep", params: { why } },
    ],
  }) as const;

export const refusesLate = (
  step: StepName,
  waitedFor: string,
  deadline: "listenMs" | "receiveMs" | "completeMs" | "finishMs",
) =>
  ({
    target: "#destination.refusal",
    actions: {
      type: "note",
      params: ({ context }: { context: DestinationContext }) =>
        failure("deadline", step, "destination", deadlineCause(waitedFor, context.deadlines[deadline])),
    },
  }) as const;

/** Identifies the guest in a question to the fence; only for states in which the guest has a token. */
export const fencedGuest = ({ context }: { context: DestinationContext }): Fenced => ({
  identity: context.identity,
  token: present(context.guest.fencingToken, "the fencing token"),
});
