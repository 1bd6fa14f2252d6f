// What the source's machine is made of: its events, its context, its effects, actions, guards and delays. The order of
// things is in source.ts.

import { castDraft, produce } from "immer";
import { assign, emit, fromCallback, fromPromise, setup } from "xstate";
import type { Answer, Cause } from "../protocol/answer.js";
import { hasMoved, type Limits, type Progress } from "../protocol/convergence.js";
import { type Deadlines, mostAttempts } from "../protocol/deadlines.js";
import { type Failure, failure } from "../protocol/failures.js";
import type {
  Decision,
  Ended,
  GuestDescription,
  GuestWas,
  Identity,
  Prepared,
  SourceReport,
} from "../protocol/messages.js";
import { type Aside, nextBackoffMs, type StateMeta, unbound } from "./habits.js";

export type SourceEvent =
  | { type: "coordinator.performAsked"; prepared: Prepared }
  | { type: "coordinator.confirmAsked" }
  | { type: "coordinator.confirmCancelledAsked" }
  | { type: "person.aborted" }
  | { type: "person.tuned"; limits: Partial<Limits> }
  | { type: "monitor.stopped" }
  | { type: "monitor.suspended" }
  | { type: "monitor.resumed" }
  | { type: "monitor.progressed"; progress: Progress }
  | { type: "monitor.preSwitchover" }
  | { type: "monitor.completed" }
  | { type: "monitor.cancelled" }
  | { type: "monitor.failed"; cause: Cause }
  | { type: "process.exited"; cause: Cause };

export interface SourceInput {
  identity: Identity;
  limits: Limits;
  deadlines: Deadlines;
}

export interface SourceContext extends SourceInput {
  guest: GuestDescription | null;
  prepared: Prepared | null;
  /** The limits QEMU was last told, to see whether a person has changed them meanwhile. */
  limitsTold: Limits | null;
  progress: Progress | null;
  attempts: number;
  failures: Failure[];
  undone: string[];
}

export interface StartInput {
  identity: Identity;
  prepared: Prepared;
  limits: Limits;
}

const noted = (context: SourceContext, what: Failure): SourceContext =>
  produce(context, (draft) => {
    draft.failures.push(castDraft(what));
  });

/** From the guest's stop: QEMU may take the maximum downtime for the rest of the memory, and more for the devices. */
export const switchoverMs = ({ deadlines, limits }: SourceContext) =>
  deadlines.switchoverMs + limits.maxDowntimeMs;

export const { createMachine } = setup({
  types: {
    context: {} as SourceContext,
    events: {} as SourceEvent,
    emitted: {} as Aside,
    input: {} as SourceInput,
    output: {} as SourceReport,
    meta: {} as StateMeta,
    tags: {} as "performed" | "pointOfNoReturn",
  },
  actors: {
    watch: fromCallback<SourceEvent>(() => {}),
    describe: fromPromise<Answer<GuestDescription>>(unbound("describe")),
    start: fromPromise<Answer<null>, StartInput>(unbound("start")),
    tune: fromPromise<Answer<null>, Limits>(unbound("tune")),
    continue: fromPromise<Answer<null>>(unbound("continue")),
    cancel: fromPromise<Answer<Ended>>(unbound("cancel")),
    rescue: fromPromise<Answer<Ended>>(unbound("rescue")),
    restore: fromPromise<Answer<null>, GuestWas>(unbound("restore")),
    settle: fromPromise<Answer<Decision>, Identity>(unbound("settle")),
    yield: fromPromise<Answer<Decision>, Identity>(unbound("yield")),
    killSource: fromPromise<Answer<null>>(unbound("killSource")),
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
    noteDied: assign(({ context, event }) =>
      event.type === "process.exited"
        ? noted(context, failure("died", context.guest ? "perform" : "begin", "source", event.cause))
        : context,
    ),
    noteFailed: assign(({ context, event }) =>
      event.type === "monitor.failed"
        ? noted(context, failure("qemu", "perform", "source", event.cause))
        : context,
    ),
    undo: assign(({ context }, params: { what: string }) =>
      produce(context, (draft) => {
        draft.undone.push(params.what);
      }),
    ),
    takeLimits: assign(({ context, event }) =>
      event.type === "person.tuned"
        ? produce(context, (draft) => {
            Object.assign(draft.limits, event.limits);
          })
        : context,
    ),
    takeProgress: assign(({ context, event }) =>
      event.type === "monitor.progressed"
        ? produce(context, (draft) => {
            draft.progress = event.progress;
          })
        : context,
    ),
    /** Somebody pauses the guest, or lets it go on, while its memory is being sent: so it is to be when it stays. */
    takeGuestWas: assign(({ context }, params: { guestWas: GuestWas }) =>
      produce(context, (draft) => {
        if (draft.guest !== null) draft.guest.guestWas = params.guestWas;
      }),
    ),
    tellLimits: assign(({ context }) =>
      produce(context, (draft) => {
        draft.limitsTold = context.limits;
      }),
    ),
    firstAttempt: assign({ attempts: 0 }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
  },
  guards: {
    limitsChanged: ({ context }) => context.limits !== context.limitsTold,
    moved: ({ context, event }) =>
      event.type === "monitor.progressed" && hasMoved(context.progress, event.progress),
    outOfAttempts: ({ context }) => context.attempts >= mostAttempts,
  },
  delays: {
    performAsked: ({ context }) => context.deadlines.performAskedMs,
    stall: ({ context }) => context.limits.stallMs,
    switchover: ({ context }) => switchoverMs(context),
    cancel: ({ context }) => context.deadlines.cancelMs,
    confirm: ({ context }) => context.deadlines.confirmMs,
    backoff: ({ context }) => nextBackoffMs(context),
  },
});
