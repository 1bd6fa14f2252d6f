// The parts of the coordinator's machine: its events, context, questions, actions, guards and delays. The order of
// the steps is in machine.ts.

import { assign, fromPromise, setup } from "xstate";
import type { Deadlines } from "../../protocol/deadlines.js";
import type { Answer } from "../../protocol/effect-result.js";
import { type Failure, failure } from "../../protocol/failure.js";
import type {
  Abort,
  DestinationReport,
  GuestDescription,
  Identity,
  Prepared,
  SourceReport,
} from "../../protocol/messages.js";
import type { OutcomeKind, SideReports } from "../../protocol/outcomes.js";
import { type StepName, steps } from "../../protocol/steps.js";
import {
  type CommonContext,
  commonActions,
  isUnknown,
  type Notice,
  nextBackoffMs,
  type StateMeta,
  unbound,
  type Woken,
  withFailures,
} from "../shared/actions.js";
import { retryingIn } from "../shared/retry.js";

export type CoordinatorEvent = { type: "operator.aborted" };

/** The coordinator's knowledge that must survive a crash. */
export interface CoordinatorMemory {
  guest: GuestDescription | null;
  prepared: Prepared | null;
  source: SourceReport | null;
  destination: DestinationReport | null;
}

export interface CoordinatorInput {
  identity: Identity;
  deadlines: Deadlines;
  /** Set when the engine was restarted. */
  woken?: (Woken & { readonly memory: CoordinatorMemory }) | undefined;
}

export interface CoordinatorContext extends CommonContext, CoordinatorMemory {
  identity: Identity;
}

export interface CoordinatorOutput extends SideReports {
  readonly kind: OutcomeKind;
  readonly undone: readonly string[];
}

/** Number of times that a question is asked when no answer comes. */
const maxAsks = 4;

export const { createMachine } = setup({
  types: {
    context: {} as CoordinatorContext,
    events: {} as CoordinatorEvent,
    emitted: {} as Notice,
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
    ...commonActions<CoordinatorContext, CoordinatorEvent>(),
    noteAll: assign(({ context }, params: readonly Failure[]) => withFailures(context, ...params)),
    hearSource: assign(({ context }, params: Answer<SourceReport>) =>
      params.kind === "done"
        ? { ...withFailures(context, ...params.value.failures), source: params.value }
        : withFailures(context, ...unanswered("confirm", params)),
    ),
    hearDestination: assign(({ context }, params: Answer<DestinationReport>) =>
      params.kind === "done"
        ? { ...withFailures(context, ...params.value.failures), destination: params.value }
        : withFailures(context, ...unanswered("finish", params)),
    ),
  },
  guards: {
    wokeIn: ({ context }, state: string) => context.woken?.state.startsWith(state) === true,
  },
  delays: { backoff: ({ context }) => nextBackoffMs(context) },
});

/** Returns the failures of an unsuccessful step: the peer's own, or ours when it gave none. */
export function unanswered(step: StepName, answer: Answer<unknown>): readonly Failure[] {
  if (answer.kind === "done") return [];
  if (answer.cause.failures?.length) return answer.cause.failures;
  const code = answer.kind === "unknown" ? "unanswered" : "rejected";
  return [failure(code, step, steps[step].side, answer.cause)];
}

/** No answer has come, and the question may be repeated. */
const isOpen = ({ context, event }: { context: CoordinatorContext; event: { output: Answer<unknown> } }) =>
  isUnknown({ event }) && context.attempts < maxAsks;

/** Asks the destination until it answers or the attempts run out; `arrived` is the target when it has the guest. */
export const askingDestination = <
  const Question extends "askFinish" | "askFinishCancelled",
  const Arrived extends string,
  const Otherwise extends string,
>(
  question: Question,
  { arrived, otherwise }: { readonly arrived: Arrived; readonly otherwise: Otherwise },
) =>
  retryingIn<CoordinatorContext, DestinationReport>()(
    question,
    [
      {
        guard: ({ event }) => event.output.kind === "done" && event.output.value.outcome === "arrived",
        target: arrived,
        actions: { type: "hearDestination", params: ({ event }) => event.output },
      },
      {
        guard: (round) => !isOpen(round),
        target: otherwise,
        actions: { type: "hearDestination", params: ({ event }) => event.output },
      },
    ],
    { as: "asking" },
  );

/** Asks the source until it answers or the attempts run out. */
export const askingSource = <const Question extends "askConfirm" | "askConfirmCancelled">(
  question: Question,
) =>
  retryingIn<CoordinatorContext, SourceReport>()(
    question,
    [
      {
        guard: (round) => !isOpen(round),
        target: "#coordinator.ended",
        actions: { type: "hearSource", params: ({ event }) => event.output },
      },
    ],
    { as: "asking" },
  );
