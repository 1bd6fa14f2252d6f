// The coordinator of managed mode: Begin, Prepare, Perform, Finish, Confirm, and one outcome. No I/O: effects are
// bound in effects/bind.ts. It decides nothing about the guest: each side is safe without it (G1, G2).

import { castDraft, produce } from "immer";
import { assign, emit, fromPromise, setup } from "xstate";
import type { Answer } from "../protocol/answer.js";
import type { Deadlines } from "../protocol/deadlines.js";
import { type Failure, failure, inTellingOrder } from "../protocol/failures.js";
import type {
  Abort,
  DestinationReport,
  GuestDescription,
  Identity,
  Prepared,
  SourceReport,
} from "../protocol/messages.js";
import type { Heard, OutcomeKind } from "../protocol/outcomes.js";
import { judge } from "../protocol/outcomes.js";
import { type StepName, steps } from "../protocol/steps.js";
import { type Aside, nextBackoffMs, present, type StateMeta, unbound } from "./habits.js";

export type CoordinatorEvent = { type: "person.aborted" };

export interface CoordinatorInput {
  identity: Identity;
  deadlines: Deadlines;
}

export interface CoordinatorContext extends CoordinatorInput {
  guest: GuestDescription | null;
  prepared: Prepared | null;
  source: SourceReport | null;
  destination: DestinationReport | null;
  attempts: number;
  /** The first is the story. */
  failures: Failure[];
}

export interface CoordinatorOutput extends Heard {
  readonly kind: OutcomeKind;
  readonly undone: readonly string[];
}

const noted = (context: CoordinatorContext, ...what: readonly Failure[]): CoordinatorContext =>
  produce(context, (draft) => {
    const known = new Set(draft.failures.map((it) => JSON.stringify(it)));
    for (const it of what) if (!known.has(JSON.stringify(it))) draft.failures.push(castDraft(it));
  });

/** How often a question is asked again when no answer comes. */
const mostAsks = 4;

const { createMachine } = setup({
  types: {
    context: {} as CoordinatorContext,
    events: {} as CoordinatorEvent,
    emitted: {} as Aside,
    input: {} as CoordinatorInput,
    output: {} as CoordinatorOutput,
    meta: {} as StateMeta,
  },
  actors: {
    askBegin: fromPromise<Answer<GuestDescription>>(unbound("askBegin")),
    askPrepare: fromPromise<Answer<Prepared>, GuestDescription>(unbound("askPrepare")),
    askPerform: fromPromise<Answer<null>, Prepared>(unbound("askPerform")),
    askAbort: fromPromise<Answer<Abort>>(unbound("askAbort")),
    askFinish: fromPromise<Answer<DestinationReport>>(unbound("askFinish")),
    askFinishCancelled: fromPromise<Answer<DestinationReport>>(unbound("askFinishCancelled")),
    askConfirm: fromPromise<Answer<SourceReport>>(unbound("askConfirm")),
    askConfirmCancelled: fromPromise<Answer<SourceReport>>(unbound("askConfirmCancelled")),
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
    noteAll: assign(({ context }, params: readonly Failure[]) => noted(context, ...params)),
    firstAttempt: assign({ attempts: 0 }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    hearSource: assign(({ context }, params: Answer<SourceReport>) =>
      params.kind === "done"
        ? { ...noted(context, ...params.value.failures), source: params.value }
        : noted(context, ...unanswered("confirm", params)),
    ),
    hearDestination: assign(({ context }, params: Answer<DestinationReport>) =>
      params.kind === "done"
        ? { ...noted(context, ...params.value.failures), destination: params.value }
        : noted(context, ...unanswered("finish", params)),
    ),
  },
  guards: { outOfAsks: ({ context }) => context.attempts >= mostAsks },
  delays: { backoff: ({ context }) => nextBackoffMs(context) },
});

/** What a step that was not done tells: the peer's own failures, or ours when it said nothing. */
function unanswered(step: StepName, answer: Answer<unknown>): readonly Failure[] {
  if (answer.kind === "done") return [];
  if (answer.cause.failures?.length) return answer.cause.failures;
  const code = answer.kind === "unknown" ? "unanswered" : "rejected";
  return [failure(code, step, steps[step].side, answer.cause)];
}

const aborted: Failure = failure("aborted", "perform", "coordinator", {
  message: "a person aborted the migration",
});
const isDone = ({ event }: { event: { output: Answer<unknown> } }) => event.output.kind === "done";
const isUnknown = ({ event }: { event: { output: Answer<unknown> } }) => event.output.kind === "unknown";
const tooLate = {
  actions: {
    type: "refuse",
    params: { why: "the source has handed the guest over; the destination is being asked to run it" },
  },
} as const;
const ending = {
  actions: { type: "keep", params: { why: "the migration is being ended already" } },
} as const;

export const coordinatorMachine = createMachine({
  id: "coordinator",
  context: ({ input }) => ({
    ...input,
    guest: null,
    prepared: null,
    source: null,
    destination: null,
    attempts: 0,
    failures: [],
  }),
  output: ({ context }) => {
    const heard: Heard = {
      source: context.source?.outcome ?? null,
      destination: context.destination?.outcome ?? null,
      failures: inTellingOrder(context.failures),
    };
    const undone = [...(context.source?.undone ?? []), ...(context.destination?.undone ?? [])];
    return { ...heard, kind: judge(heard), undone };
  },
  initial: "beginning",
  states: {
    beginning: {
      description: "Begin: the source takes the job and describes its guest",
      on: {
        "person.aborted": { target: "confirmingCancelled", actions: { type: "note", params: aborted } },
      },
      invoke: {
        src: "askBegin",
        id: "askBegin",
        onDone: [
          {
            guard: isDone,
            target: "preparing",
            actions: assign(({ context, event }) =>
              event.output.kind === "done" ? { ...context, guest: event.output.value } : context,
            ),
          },
          {
            target: "confirmingCancelled",
            actions: { type: "noteAll", params: ({ event }) => unanswered("begin", event.output) },
          },
        ],
      },
    },
    preparing: {
      description: "Prepare: the destination starts QEMU and listens",
      on: { "person.aborted": { target: "finishingCancelled", actions: { type: "note", params: aborted } } },
      invoke: {
        src: "askPrepare",
        id: "askPrepare",
        input: ({ context }) => present(context.guest, "Begin's answer"),
        onDone: [
          {
            guard: isDone,
            target: "performing",
            actions: assign(({ context, event }) =>
              event.output.kind === "done" ? { ...context, prepared: event.output.value } : context,
            ),
          },
          {
            // Also after a failed Prepare, which libvirt does not: asking a destination that has nothing left is harmless.
            target: "finishingCancelled",
            actions: { type: "noteAll", params: ({ event }) => unanswered("prepare", event.output) },
          },
        ],
      },
    },
    performing: {
      description: "Perform: the source moves the memory and hands the guest over",
      entry: "firstAttempt",
      invoke: {
        src: "askPerform",
        id: "askPerform",
        input: ({ context }) => present(context.prepared, "Prepare's answer"),
        onDone: [
          { guard: isDone, target: "finishing" },
          {
            target: "finishingCancelled",
            actions: { type: "noteAll", params: ({ event }) => unanswered("perform", event.output) },
          },
        ],
      },
      initial: "moving",
      states: {
        moving: {
          description: "waits for the source",
          on: { "person.aborted": "aborting" },
        },
        aborting: {
          description: "tells the source that a person wants it back",
          entry: "countAttempt",
          on: { "person.aborted": ending },
          invoke: {
            src: "askAbort",
            id: "askAbort",
            onDone: [
              {
                guard: ({ event }) => event.output.kind === "done" && event.output.value.accepted,
                target: "aborted",
              },
              {
                guard: ({ event }) => event.output.kind === "done",
                target: "moving",
                actions: emit(({ event }) => ({
                  type: "refused",
                  event: "person.aborted",
                  why: event.output.kind === "done" ? event.output.value.why : "",
                })),
              },
              { target: "abortWaiting" },
            ],
          },
        },
        abortWaiting: {
          description: "the source has not heard the abort yet",
          on: { "person.aborted": ending },
          after: { backoff: "aborting" },
        },
        aborted: {
          description: "the source ends the migration; Perform's answer follows",
          on: { "person.aborted": ending },
        },
      },
    },
    finishing: {
      description: "Finish: the destination takes the guest and runs it",
      entry: "firstAttempt",
      on: { "person.aborted": tooLate },
      initial: "asking",
      states: {
        asking: {
          entry: "countAttempt",
          invoke: {
            src: "askFinish",
            id: "askFinish",
            onDone: [
              {
                guard: ({ event }) =>
                  event.output.kind === "done" && event.output.value.outcome === "arrived",
                target: "#coordinator.confirming",
                actions: { type: "hearDestination", params: ({ event }) => event.output },
              },
              {
                guard: ({ event, context }) => isUnknown({ event }) && context.attempts < mostAsks,
                target: "waiting",
              },
              {
                // Not arrived, or not heard: the source asks the destination itself before it does anything.
                target: "#coordinator.confirmingCancelled",
                actions: { type: "hearDestination", params: ({ event }) => event.output },
              },
            ],
          },
        },
        waiting: { after: { backoff: "asking" } },
      },
    },
    finishingCancelled: {
      description: "Finish with cancelled: the destination ends its copy",
      entry: "firstAttempt",
      on: { "person.aborted": ending },
      initial: "asking",
      states: {
        asking: {
          entry: "countAttempt",
          invoke: {
            src: "askFinishCancelled",
            id: "askFinishCancelled",
            onDone: [
              {
                guard: ({ event, context }) => isUnknown({ event }) && context.attempts < mostAsks,
                target: "waiting",
              },
              {
                target: "#coordinator.confirmingCancelled",
                actions: { type: "hearDestination", params: ({ event }) => event.output },
              },
            ],
          },
        },
        waiting: { after: { backoff: "asking" } },
      },
    },
    confirming: {
      description: "Confirm: the source ends its copy, the destination has the guest",
      entry: "firstAttempt",
      on: { "person.aborted": tooLate },
      initial: "asking",
      states: {
        asking: {
          entry: "countAttempt",
          invoke: {
            src: "askConfirm",
            id: "askConfirm",
            onDone: [
              {
                guard: ({ event, context }) => isUnknown({ event }) && context.attempts < mostAsks,
                target: "waiting",
              },
              {
                target: "#coordinator.ended",
                actions: { type: "hearSource", params: ({ event }) => event.output },
              },
            ],
          },
        },
        waiting: { after: { backoff: "asking" } },
      },
    },
    confirmingCancelled: {
      description:
        "Confirm with cancelled: the source settles with the destination, then resumes or ends its copy",
      entry: "firstAttempt",
      on: { "person.aborted": ending },
      initial: "asking",
      states: {
        asking: {
          entry: "countAttempt",
          invoke: {
            src: "askConfirmCancelled",
            id: "askConfirmCancelled",
            onDone: [
              {
                guard: ({ event, context }) => isUnknown({ event }) && context.attempts < mostAsks,
                target: "waiting",
              },
              {
                target: "#coordinator.ended",
                actions: { type: "hearSource", params: ({ event }) => event.output },
              },
            ],
          },
        },
        waiting: { after: { backoff: "asking" } },
      },
    },
    ended: { type: "final", description: "one outcome, from what both sides said" },
  },
});
