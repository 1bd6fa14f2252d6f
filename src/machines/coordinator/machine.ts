// The coordinator of managed mode: Begin, Prepare, Perform, Finish, Confirm, and one outcome. No I/O: effects are
// bound in effects/bind.ts. It decides nothing about the guest: each side is safe without it (G1, G2).

import { assign, emit, fromPromise, setup } from "xstate";
import type { Answer } from "../../protocol/answer.js";
import type { Deadlines } from "../../protocol/deadlines.js";
import { type Failure, failure, inTellingOrder } from "../../protocol/failures.js";
import type {
  Abort,
  DestinationReport,
  GuestDescription,
  Identity,
  Prepared,
  SourceReport,
} from "../../protocol/messages.js";
import type { Heard, OutcomeKind } from "../../protocol/outcomes.js";
import { judge } from "../../protocol/outcomes.js";
import { type StepName, steps } from "../../protocol/steps.js";
import {
  type Aside,
  freshHabits,
  type Habits,
  habitualActions,
  isDone,
  isUnknown,
  keeping,
  nextBackoffMs,
  noted,
  noteThat,
  present,
  refusing,
  type StateMeta,
  unbound,
  type Woken,
} from "../shared/actions.js";

export type CoordinatorEvent = { type: "person.aborted" };

/** What the coordinator has learned and must know again after a crash. */
export interface CoordinatorMemory {
  guest: GuestDescription | null;
  prepared: Prepared | null;
  source: SourceReport | null;
  destination: DestinationReport | null;
}

export interface CoordinatorInput {
  identity: Identity;
  deadlines: Deadlines;
  /** When the engine was restarted. */
  woken?: (Woken & { readonly memory: CoordinatorMemory }) | undefined;
}

export interface CoordinatorContext extends Habits, CoordinatorMemory {
  identity: Identity;
}

export interface CoordinatorOutput extends Heard {
  readonly kind: OutcomeKind;
  readonly undone: readonly string[];
}

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
    ...habitualActions<CoordinatorContext, CoordinatorEvent>(),
    noteAll: assign(({ context }, params: readonly Failure[]) => noted(context, ...params)),
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
  guards: {
    wokeIn: ({ context }, state: string) => context.woken?.state.startsWith(state) === true,
  },
  delays: { backoff: ({ context }) => nextBackoffMs(context) },
});

/** What a step that was not done tells: the peer's own failures, or ours when it said nothing. */
function unanswered(step: StepName, answer: Answer<unknown>): readonly Failure[] {
  if (answer.kind === "done") return [];
  if (answer.cause.failures?.length) return answer.cause.failures;
  const code = answer.kind === "unknown" ? "unanswered" : "rejected";
  return [failure(code, step, steps[step].side, answer.cause)];
}

const aborted = noteThat(
  failure("aborted", "perform", "coordinator", { message: "a person aborted the migration" }),
);
const tooLate = refusing("the source has handed the guest over; the destination is being asked to run it");
const ending = keeping("the migration is being ended already");

export const coordinatorMachine = createMachine({
  id: "coordinator",
  context: ({ input: { woken, ...input } }) => ({
    ...freshHabits(woken ?? null),
    guest: null,
    prepared: null,
    source: null,
    destination: null,
    ...input,
    ...woken?.memory,
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
  initial: "waking",
  states: {
    waking: {
      description: "begins, or goes on where the engine was when it was restarted",
      always: [
        { guard: { type: "wokeIn", params: "performing.abort" }, target: "#coordinator.performing.aborting" },
        { guard: { type: "wokeIn", params: "finishingCancelled" }, target: "finishingCancelled" },
        { guard: { type: "wokeIn", params: "finishing" }, target: "finishing" },
        { guard: { type: "wokeIn", params: "confirmingCancelled" }, target: "confirmingCancelled" },
        { guard: { type: "wokeIn", params: "confirming" }, target: "confirming" },
        { guard: { type: "wokeIn", params: "ended" }, target: "ended" },
        // Each side answers from its state, so what was asked before is asked again.
        { target: "beginning" },
      ],
      on: { "person.aborted": ending },
    },
    beginning: {
      description: "Begin: the source takes the job and describes its guest",
      on: {
        "person.aborted": { target: "confirmingCancelled", actions: aborted },
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
      on: { "person.aborted": { target: "finishingCancelled", actions: aborted } },
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
