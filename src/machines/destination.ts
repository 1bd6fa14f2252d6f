// The destination's side of one migration: from Prepare to arrived, refused, lost or stuck. No I/O: effects are
// bound in effects/bind.ts. Upholds G1 and G3: it runs the guest only after its decision to take it is durable,
// and once it has refused it never runs it.

import { castDraft, produce } from "immer";
import { assign, emit, fromCallback, fromPromise, setup, stateIn } from "xstate";
import type { Answer, Cause } from "../protocol/answer.js";
import { type Deadlines, mostAttempts } from "../protocol/deadlines.js";
import { type Failure, failure } from "../protocol/failures.js";
import type {
  DestinationReport,
  GuestDescription,
  GuestWas,
  Identity,
  Prepared,
} from "../protocol/messages.js";
import type { EffectName, StepName } from "../protocol/steps.js";
import {
  type Aside,
  deadlineCause,
  effectFailure,
  finalState,
  nextBackoffMs,
  type StateMeta,
  unbound,
} from "./habits.js";

export type DestinationEvent =
  | { type: "coordinator.finishAsked" }
  | { type: "coordinator.finishCancelledAsked" }
  | { type: "source.asked" }
  | { type: "source.yielded" }
  | { type: "monitor.active" }
  | { type: "monitor.completed" }
  | { type: "monitor.failed"; cause: Cause }
  | { type: "monitor.resumed" }
  | { type: "monitor.stopped" }
  | { type: "process.exited"; cause: Cause };

export interface DestinationInput {
  identity: Identity;
  guest: GuestDescription;
  deadlines: Deadlines;
}

export interface DestinationContext extends DestinationInput {
  prepared: Prepared | null;
  attempts: number;
  failures: Failure[];
  undone: string[];
}

export interface PrepareInput {
  identity: Identity;
  guest: GuestDescription;
}

const noted = (context: DestinationContext, what: Failure): DestinationContext =>
  produce(context, (draft) => {
    draft.failures.push(castDraft(what));
  });

const { createMachine } = setup({
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
    take: fromPromise<Answer<null>, GuestWas>(unbound("take")),
    resume: fromPromise<Answer<null>, GuestWas>(unbound("resume")),
    recordRefusal: fromPromise<Answer<null>>(unbound("recordRefusal")),
    killDestination: fromPromise<Answer<null>>(unbound("killDestination")),
  },
  actions: {
    keep: emit(({ event }, params: { why: string }) => ({
      type: "kept",
      event: event.type,
      why: params.why,
    })),
    refuse: emit(({ event }, params: { why: string }) => ({
      type: "refused",
      event: event.type,
      why: params.why,
    })),
    note: assign(({ context }, params: Failure) => noted(context, params)),
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
    /** QEMU may end by itself while it is being ended; when it says why, that may be the cause of it all. */
    noteWords: assign(({ context, event }, params: { step: StepName }) =>
      event.type === "process.exited" && event.cause.qemu !== undefined
        ? noted(context, failure("died", params.step, "destination", event.cause))
        : context,
    ),
    undo: assign(({ context }, params: { what: string }) =>
      produce(context, (draft) => {
        draft.undone.push(params.what);
      }),
    ),
    firstAttempt: assign({ attempts: 0 }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
  },
  guards: {
    outOfAttempts: ({ context }) => context.attempts >= mostAttempts,
  },
  delays: {
    listen: ({ context }) => context.deadlines.listenMs,
    receive: ({ context }) => context.deadlines.receiveMs,
    finish: ({ context }) => context.deadlines.finishMs,
    complete: ({ context }) => context.deadlines.completeMs,
    backoff: ({ context }) => nextBackoffMs(context),
  },
});

const late = (step: StepName, waitedFor: string, ms: number): Failure =>
  failure("deadline", step, "destination", deadlineCause(waitedFor, ms));
const isDone = ({ event }: { event: { output: Answer<unknown> } }) => event.output.kind === "done";
const isFailed = ({ event }: { event: { output: Answer<unknown> } }) => event.output.kind === "failed";
const noteEffect = (name: EffectName) =>
  ({
    type: "note",
    params: ({ event }: { event: { output: Answer<unknown> } }) => effectFailure(name, event.output),
  }) as const;

/** Undecided: whoever asks now gets a refusal, and a refusal is for good. */
const undecided = {
  "coordinator.finishCancelledAsked": "refusing",
  "source.asked": "refusing",
  "monitor.failed": { target: "refusing", actions: { type: "noteQemu", params: { step: "perform" } } },
  "process.exited": { target: "refusing", actions: { type: "noteQemu", params: { step: "perform" } } },
} as const;

/** Decided to take: the answer to whoever asks follows from the state, as soon as it is certain. */
const taking = {
  "coordinator.finishAsked": { actions: { type: "keep", params: { why: "the guest is being taken" } } },
  "coordinator.finishCancelledAsked": {
    actions: { type: "refuse", params: { why: "the guest is being taken; the source has to let go" } },
  },
  "source.asked": {
    actions: { type: "keep", params: { why: "the answer follows when `cont` has had its own" } },
  },
  "source.yielded": { actions: { type: "keep", params: { why: "the guest is being taken" } } },
} as const;

export const destinationMachine = createMachine({
  id: "destination",
  context: ({ input }) => ({ ...input, prepared: null, attempts: 0, failures: [], undone: [] }),
  output: ({ context, event }) => ({
    outcome: finalState(event.type, {
      arrived: "arrived",
      refused: "refused",
      lost: "lost",
      stuck: "stuck",
      leftBehind: "stuck",
    }),
    failures: context.failures,
    undone: context.undone,
  }),
  invoke: { src: "watch", id: "watch" },
  initial: "preparing",
  // What a state does not name itself. process.exited is missing on purpose: each state says what it means there.
  on: {
    "coordinator.finishAsked": {
      actions: { type: "refuse", params: { why: "this copy has been refused and will never run" } },
    },
    "coordinator.finishCancelledAsked": {
      actions: { type: "keep", params: { why: "this copy is being ended already" } },
    },
    "source.asked": { actions: { type: "keep", params: { why: "the answer follows from the state" } } },
    "source.yielded": { actions: { type: "keep", params: { why: "the answer follows from the state" } } },
    "monitor.active": { actions: { type: "keep", params: { why: "the state does not depend on it" } } },
    "monitor.completed": { actions: { type: "keep", params: { why: "the state does not depend on it" } } },
    "monitor.failed": { actions: { type: "keep", params: { why: "this copy is being ended already" } } },
    "monitor.resumed": { actions: { type: "keep", params: { why: "the state does not depend on it" } } },
    "monitor.stopped": { actions: { type: "keep", params: { why: "the state does not depend on it" } } },
  },
  states: {
    preparing: {
      description: "starts QEMU paused, sets its capabilities, has it listen",
      meta: { phase: "prepare" },
      invoke: {
        src: "prepare",
        id: "prepare",
        input: ({ context }) => ({ identity: context.identity, guest: context.guest }),
        onDone: [
          {
            guard: isDone,
            target: "listening",
            actions: assign(({ context, event }) =>
              event.output.kind === "done" ? { ...context, prepared: event.output.value } : context,
            ),
          },
          {
            target: "refusing",
            actions: noteEffect("prepare"),
          },
        ],
      },
      on: {
        "coordinator.finishAsked": {
          actions: { type: "refuse", params: { why: "Prepare has not been answered yet" } },
        },
        "coordinator.finishCancelledAsked": "refusing",
        "source.asked": "refusing",
        "source.yielded": "refusing",
        "process.exited": { target: "refusing", actions: { type: "noteQemu", params: { step: "prepare" } } },
      },
    },
    listening: {
      description: "QEMU listens; the stream has not begun",
      meta: { phase: "prepare" },
      tags: ["prepared"],
      on: {
        ...undecided,
        "monitor.active": "receiving",
        "monitor.completed": "received",
        "coordinator.finishAsked": "completing",
        "source.yielded": "completing",
      },
      after: {
        listen: {
          target: "refusing",
          actions: {
            type: "note",
            params: ({ context }) => late("perform", "the stream", context.deadlines.listenMs),
          },
        },
      },
    },
    receiving: {
      description: "memory comes in",
      meta: { phase: "prepare" },
      tags: ["prepared"],
      on: {
        ...undecided,
        "monitor.completed": "received",
        "coordinator.finishAsked": "completing",
        "source.yielded": "completing",
      },
      after: {
        receive: {
          target: "refusing",
          actions: {
            type: "note",
            params: ({ context }) => late("perform", "the end of the stream", context.deadlines.receiveMs),
          },
        },
      },
    },
    completing: {
      description: "the source is done, this QEMU still loads the end of the stream",
      meta: { phase: "finish3" },
      tags: ["prepared"],
      on: {
        ...undecided,
        "monitor.completed": "taking",
        "coordinator.finishAsked": { actions: { type: "keep", params: { why: "known already" } } },
        "source.yielded": { actions: { type: "keep", params: { why: "known already" } } },
      },
      after: {
        complete: {
          target: "refusing",
          actions: {
            type: "note",
            params: ({ context }) => late("finish", "the end of the stream", context.deadlines.completeMs),
          },
        },
      },
    },
    received: {
      description: "the guest is here whole, and paused; nobody has said yet who runs it",
      meta: { phase: "prepare" },
      tags: ["prepared"],
      on: {
        ...undecided,
        "coordinator.finishAsked": "taking",
        "source.yielded": "taking",
        // Someone else let it run: it has run here, so the source's copy must not (G3).
        "monitor.resumed": "taking",
      },
      after: {
        finish: {
          target: "refusing",
          actions: {
            type: "note",
            params: ({ context }) => late("finish", "Finish", context.deadlines.finishMs),
          },
        },
      },
    },
    taking: {
      description:
        "the decision to take the guest becomes durable, then it is let run; the answer says whether it was",
      meta: { phase: "finish3" },
      tags: ["prepared"],
      invoke: {
        src: "take",
        id: "take",
        input: ({ context }) => context.guest.guestWas,
        onDone: [
          { guard: ({ event }) => isFailed({ event }), target: "refusing", actions: noteEffect("take") },
          // `cont` may have had its effect before QEMU died: this copy may have run, so the source's must not.
          { guard: stateIn({ taking: "dying" }), target: "lost" },
          { guard: isDone, target: "arrived" },
          { target: "resuming", actions: noteEffect("take") },
        ],
      },
      initial: "asking",
      on: { ...taking, "monitor.resumed": "arrived" },
      states: {
        asking: {
          on: {
            "process.exited": { target: "dying", actions: { type: "noteQemu", params: { step: "finish" } } },
          },
        },
        dying: {
          description: "this QEMU has died; it is certain soon whether the guest may have run here",
          on: { "process.exited": { actions: { type: "keep", params: { why: "known already" } } } },
        },
      },
    },
    resuming: {
      description:
        "point of no return: `cont` had no answer, so the guest may run here; it is asked again until that is certain",
      meta: { phase: "finish3" },
      tags: ["prepared"],
      entry: "firstAttempt",
      initial: "waiting",
      on: {
        ...taking,
        "monitor.resumed": "arrived",
        "process.exited": { target: "lost", actions: { type: "noteQemu", params: { step: "finish" } } },
      },
      states: {
        trying: {
          entry: "countAttempt",
          invoke: {
            src: "resume",
            id: "resume",
            input: ({ context }) => context.guest.guestWas,
            onDone: [
              { guard: isDone, target: "#destination.arrived" },
              { guard: "outOfAttempts", target: "#destination.stuck", actions: noteEffect("resume") },
              { target: "waiting" },
            ],
          },
        },
        waiting: { after: { backoff: "trying" } },
      },
    },
    refusing: {
      description: "the decision never to run this copy becomes durable",
      meta: { phase: "finish3" },
      entry: "firstAttempt",
      initial: "trying",
      on: {
        "process.exited": { target: "refused", actions: { type: "noteWords", params: { step: "perform" } } },
      },
      states: {
        trying: {
          entry: "countAttempt",
          invoke: {
            src: "recordRefusal",
            id: "recordRefusal",
            onDone: [
              { guard: isDone, target: "#destination.killing" },
              // A killed copy cannot run either: without a journal the kill itself is the refusal.
              { guard: "outOfAttempts", target: "#destination.killing" },
              { target: "waiting" },
            ],
          },
        },
        waiting: { after: { backoff: "trying" } },
      },
    },
    killing: {
      description: "this copy is ended; it will never run",
      meta: { phase: "finish3" },
      tags: ["refused"],
      entry: "firstAttempt",
      initial: "trying",
      on: {
        "process.exited": { target: "refused", actions: { type: "noteWords", params: { step: "perform" } } },
      },
      states: {
        trying: {
          entry: "countAttempt",
          invoke: {
            src: "killDestination",
            id: "killDestination",
            onDone: [
              { guard: isDone, target: "#destination.refused" },
              {
                guard: "outOfAttempts",
                target: "#destination.leftBehind",
                actions: noteEffect("killDestination"),
              },
              { target: "waiting" },
            ],
          },
        },
        waiting: { after: { backoff: "trying" } },
      },
    },
    arrived: { type: "final", description: "the guest runs here", tags: ["prepared", "taken"] },
    refused: {
      type: "final",
      description: "nothing is left here",
      tags: ["refused"],
      entry: { type: "undo", params: { what: "the destination's copy of the guest is gone" } },
    },
    lost: { type: "final", description: "this QEMU died when the guest may have run here", tags: ["taken"] },
    stuck: {
      type: "final",
      description: "QEMU does not say whether the guest runs here; a person has to look",
    },
    leftBehind: {
      type: "final",
      description: "refused for good, but QEMU could not be ended; a person has to look",
      tags: ["refused"],
    },
  },
});
