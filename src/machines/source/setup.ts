// What the source's machine is made of: its events, its context, its effects, actions, guards and delays. The order of
// things is in machine.ts.

import { castDraft, produce } from "immer";
import { assign, emit, fromCallback, fromPromise, setup } from "xstate";
import {
  addReport,
  describeForecast,
  type Forecast,
  forecast,
  type StreamHistory,
} from "../../protocol/convergence/forecast.js";
import { hasMoved, type Limits, type Progress } from "../../protocol/convergence/limits.js";
import {
  type Action,
  type AppliedRule,
  type ConvergencePolicy,
  dueMeasures,
  hasTaken,
  type PendingAction,
  take,
} from "../../protocol/convergence/policy.js";
import { type Deadlines, maxAttempts } from "../../protocol/deadlines.js";
import type { Answer, Cause } from "../../protocol/effect-result.js";
import { type Failure, failure } from "../../protocol/failure.js";
import type {
  CopiedDisk,
  Ended,
  Fenced,
  GuestDescription,
  GuestWas,
  Identity,
  Prepared,
  Reconnection,
  Resumption,
  Settings,
  Settled,
  SourceFound,
  SourceReport,
} from "../../protocol/messages.js";
import type { StreamAddress } from "../../protocol/peer-text.js";
import type { Policy, WhenUnreachable } from "../../protocol/unreachable-policy.js";
import {
  answers,
  type CommonContext,
  commonActions,
  deadlineCause,
  ignoring,
  type Notice,
  nextBackoffMs,
  present,
  recordFailure,
  rejecting,
  type StateMeta,
  unbound,
  type Woken,
  withFailures,
} from "../shared/actions.js";
import { retryingIn } from "../shared/retry.js";
import { topState } from "../shared/state-name.js";

export type SourceEvent =
  | { type: "coordinator.performRequested"; prepared: Prepared }
  | { type: "coordinator.confirmRequested" }
  | { type: "coordinator.confirmCancelledRequested" }
  | { type: "operator.aborted" }
  | { type: "operator.tuned"; limits: Partial<Limits> }
  /** The guest is about to be suspended for the migration, which resumes it wherever it ends. */
  | { type: "operator.suspended" }
  | { type: "operator.postcopyRequested" }
  /** An operator answers for it that the destination neither runs the guest nor will: this copy is the guest. */
  | { type: "operator.adopted" }
  /** An operator answers for it that this copy is not the guest any more: it is ended, and the destination not asked again. */
  | { type: "operator.released" }
  | { type: "monitor.stopped" }
  | { type: "monitor.suspended" }
  | { type: "monitor.diskFailed" }
  | { type: "monitor.mirrored" }
  | { type: "monitor.mirrorFailed"; cause: Cause }
  | { type: "monitor.resumed" }
  | { type: "monitor.progressed"; progress: Progress }
  | { type: "monitor.preSwitchover" }
  | { type: "monitor.postcopy" }
  | { type: "monitor.postcopyPaused" }
  | { type: "monitor.completed" }
  | { type: "monitor.cancelled" }
  | { type: "monitor.failed"; cause: Cause }
  | { type: "process.exited"; cause: Cause }
  /** A rule of the convergence policy asks for post-copy. */
  | { type: "policy.postcopyDue" };

/** What the source has learned and must know again after a crash. */
export interface SourceMemory {
  guest: GuestDescription | null;
  settings: Settings | null;
  /** Names the end of the migration that this QEMU had before this one, if it had one. */
  earlier: string | null;
  prepared: Prepared | null;
  limits: Limits;
  /** `announced`: the destination does not give up by itself any more. */
  postcopy: "unannounced" | "announced";
  /** The rules of the convergence policy that have been taken. */
  measures: readonly AppliedRule[];
}

export interface SourceInput {
  identity: Identity;
  limits: Limits;
  deadlines: Deadlines;
  policy: Policy;
  /** What is done when memory does not converge. Default: nothing. */
  convergence?: ConvergencePolicy | undefined;
  /** When the engine was restarted. */
  woken?: (Woken & { readonly memory: SourceMemory }) | undefined;
}

export interface SourceContext extends CommonContext, SourceMemory {
  identity: Identity;
  policy: Policy;
  convergence: ConvergencePolicy;
  /** The limits QEMU was last told, to see whether a person has changed them meanwhile. */
  limitsTold: Limits | null;
  progress: Progress | null;
  /** Where a post-copy that has lost its connection is to be connected to. */
  reconnection: { readonly uri: StreamAddress } | null;
  /** What the reports so far say together. */
  history: StreamHistory;
  /** What the last measure has set; 0 before there was one. */
  throttlePercent: number;
  /** The kind of the forecast that the story tells, and the pass in which it was told. */
  forecastTold: { readonly kind: Forecast["kind"]; readonly pass: number } | null;
}

export interface Described {
  readonly guest: GuestDescription;
  readonly settings: Settings;
  readonly earlier: string | null;
}

export interface MirrorInput {
  readonly disks: readonly CopiedDisk[];
  readonly prepared: Prepared;
  readonly limits: Limits;
}

export interface StartInput {
  identity: Identity;
  guest: GuestDescription;
  prepared: Prepared;
  limits: Limits;
  /** QEMU is made ready to throttle the guest while it runs; it can be neither asked nor told later. */
  mayThrottle: boolean;
}

/** Which end is not this migration's. */
export interface CancelInput {
  readonly earlier: string | null;
}

export interface ProbeInput extends CancelInput {
  readonly disks: readonly CopiedDisk[];
}

export interface RestoreInput {
  readonly guestWas: GuestWas;
  /** Null when QEMU was never asked for them; then nothing has been set either. */
  readonly settings: Settings | null;
}

export interface ConcedeInput {
  readonly identity: Identity;
  readonly fenced: Fenced | null;
}

/** What the fence is asked about; null when the guest was not offered there. */
export const fencedGuest = ({ identity, guest }: SourceContext): Fenced | null =>
  guest === null || guest.fencingToken === null ? null : { identity, token: guest.fencingToken };

export const toInquire = ({ guest, earlier }: SourceContext): ProbeInput => ({
  disks: present(guest, "Begin's answer").disks,
  earlier,
});
export const toCancel = ({ earlier }: SourceContext): CancelInput => ({ earlier });

export const copiesDisks = ({ guest }: SourceContext): boolean => guest !== null && guest.disks.length > 0;

/** The rule of the convergence policy that is due first. */
export const firstDue = ({
  convergence,
  history,
  measures,
  limits,
}: SourceContext): PendingAction | undefined => dueMeasures(convergence, history, measures, limits)[0];

/** What is expected of the stream; null before anything has been sent. */
export const forecastOf = ({ history, limits, guest, convergence, measures }: SourceContext): Forecast =>
  forecast(history, limits, {
    guestRuns: guest?.guestWas !== "paused" && !hasTaken(convergence, measures, "suspend"),
  });

/** Once in a pass, so that a figure that swings does not fill the story. */
const hasNewForecast = (context: SourceContext): boolean => {
  const { history, forecastTold } = context;
  if ((history.passes.at(-1)?.pass ?? 0) <= (forecastTold?.pass ?? 0)) return false;
  const { kind } = forecastOf(context);
  return kind !== "unknown" && kind !== forecastTold?.kind;
};

/** From the guest's stop: QEMU may take the maximum downtime for the rest of the memory, and more for the devices. */
export const switchoverMs = ({ deadlines, limits }: SourceContext) =>
  deadlines.switchoverMs + limits.maxDowntimeMs;

export const { createMachine, createStateConfig } = setup({
  types: {
    context: {} as SourceContext,
    events: {} as SourceEvent,
    emitted: {} as Notice,
    input: {} as SourceInput,
    output: {} as SourceReport,
    meta: {} as StateMeta,
    tags: {} as "needsOperator" | "performed" | "pointOfNoReturn" | "restored",
  },
  actors: {
    watch: fromCallback<SourceEvent>(() => {}),
    describe: fromPromise<Answer<Described>>(unbound("describe")),
    probeSource: fromPromise<Answer<SourceFound>, ProbeInput>(unbound("probeSource")),
    mirror: fromPromise<Answer<null>, MirrorInput>(unbound("mirror")),
    completeMirrors: fromPromise<Answer<null>>(unbound("completeMirrors")),
    cancelMirrors: fromPromise<Answer<null>>(unbound("cancelMirrors")),
    start: fromPromise<Answer<null>, StartInput>(unbound("start")),
    setLimits: fromPromise<Answer<null>, Limits>(unbound("setLimits")),
    announcePostcopy: fromPromise<Answer<null>, Identity>(unbound("announcePostcopy")),
    retractPostcopy: fromPromise<Answer<Settled>, Identity>(unbound("retractPostcopy")),
    startPostcopy: fromPromise<Answer<null>>(unbound("startPostcopy")),
    handOver: fromPromise<Answer<Settled>, Identity>(unbound("handOver")),
    pausePostcopy: fromPromise<Answer<null>>(unbound("pausePostcopy")),
    reconnect: fromPromise<Answer<Reconnection>, Identity>(unbound("reconnect")),
    resumePostcopy: fromPromise<Answer<Resumption>, { uri: StreamAddress }>(unbound("resumePostcopy")),
    relaxLimits: fromPromise<Answer<null>, Limits>(unbound("relaxLimits")),
    throttle: fromPromise<Answer<null>, number>(unbound("throttle")),
    suspend: fromPromise<Answer<null>>(unbound("suspend")),
    continue: fromPromise<Answer<null>>(unbound("continue")),
    cancel: fromPromise<Answer<Ended>, CancelInput>(unbound("cancel")),
    forceCancel: fromPromise<Answer<Ended>, CancelInput>(unbound("forceCancel")),
    restore: fromPromise<Answer<null>, RestoreInput>(unbound("restore")),
    settle: fromPromise<Answer<Settled>, Identity>(unbound("settle")),
    fence: fromPromise<Answer<null>, Fenced>(unbound("fence")),
    concede: fromPromise<Answer<Settled>, ConcedeInput>(unbound("concede")),
    killSource: fromPromise<Answer<null>, Fenced | null>(unbound("killSource")),
  },
  actions: {
    ...commonActions<SourceContext, SourceEvent>(),
    noteDied: assign(({ context, event }) =>
      event.type === "process.exited"
        ? withFailures(context, failure("died", context.guest ? "perform" : "begin", "source", event.cause))
        : context,
    ),
    noteFailed: assign(({ context, event }) =>
      event.type === "monitor.failed"
        ? withFailures(context, failure("qemu", "perform", "source", event.cause))
        : context,
    ),
    noteMirrorFailed: assign(({ context, event }) =>
      event.type === "monitor.mirrorFailed"
        ? withFailures(context, failure("disk", "perform", "source", event.cause))
        : context,
    ),
    takeLimits: assign(({ context, event }) =>
      event.type === "operator.tuned"
        ? produce(context, (draft) => {
            Object.assign(draft.limits, event.limits);
          })
        : context,
    ),
    takeProgress: assign(({ context, event }) =>
      event.type === "monitor.progressed"
        ? produce(context, (draft) => {
            draft.progress = event.progress;
            draft.history = castDraft(addReport(context.history, event.progress));
          })
        : context,
    ),
    /** Somebody pauses the guest, or lets it go on, while its memory is being sent: so it is to be when it stays. */
    takeGuestWas: assign(({ context }, params: { guestWas: GuestWas }) =>
      produce(context, (draft) => {
        if (draft.guest !== null) draft.guest.guestWas = params.guestWas;
      }),
    ),
    takePrepared: assign(({ context, event }) =>
      event.type === "coordinator.performRequested"
        ? produce(context, (draft) => {
            draft.prepared = castDraft(event.prepared);
          })
        : context,
    ),
    takeReconnection: assign(({ context }, params: Answer<Reconnection>) =>
      params.kind === "done" && typeof params.value === "object"
        ? { ...context, reconnection: params.value }
        : context,
    ),
    tellLimits: assign(({ context }) =>
      produce(context, (draft) => {
        draft.limitsTold = context.limits;
      }),
    ),
    sayPostcopyRefused: emit((_, { why }: { why: string }) => ({
      type: "refused",
      event: "operator.postcopyRequested",
      why,
    })),
    takeMeasure: assign(({ context }) => {
      const due = firstDue(context);
      if (due === undefined) return context;
      const { action } = due;
      return {
        ...context,
        measures: take(context.measures, due, context.history),
        throttlePercent: action.kind === "throttle" ? action.percent : context.throttlePercent,
        limits: action.kind === "relaxLimits" ? { ...context.limits, ...action.limits } : context.limits,
      };
    }),
    sayMeasure: emit(({ context }) => {
      const { rule = 0, does = "", why = "" } = firstDue(context) ?? {};
      return { type: "measure", rule, does, why };
    }),
    sayNotTaken: emit((_, params: { event: string; why: string }) => ({ type: "refused", ...params })),
    sayForecast: emit(({ context }) => ({ type: "forecast", says: describeForecast(forecastOf(context)) })),
    keepForecast: assign(({ context }) => ({
      ...context,
      forecastTold: { kind: forecastOf(context).kind, pass: context.history.passes.at(-1)?.pass ?? 0 },
    })),
    sayTuned: emit(({ context: { limits } }) => ({
      type: "tuned",
      bandwidthMiBps: limits.bandwidthMiBps,
      maxDowntimeMs: limits.maxDowntimeMs,
    })),
  },
  guards: {
    isAnnounced: ({ context }) => context.postcopy === "announced",
    copiesDisks: ({ context }) => copiesDisks(context),
    limitsChanged: ({ context }) => context.limits !== context.limitsTold,
    measureDue: ({ context }, wanted: Action["kind"]) => firstDue(context)?.action.kind === wanted,
    forecastChanged: ({ context }) => hasNewForecast(context),
    moved: ({ context, event }) =>
      event.type === "monitor.progressed" && hasMoved(context.progress, event.progress),
    outOfAttempts: ({ context }) => context.attempts >= maxAttempts,
    policyIs: ({ context }, wanted: WhenUnreachable) => context.policy.whenUnreachable === wanted,
    wokeIn: ({ context }, states: readonly string[]) =>
      context.woken !== null && states.includes(topState(context.woken.state)),
  },
  delays: {
    performRequested: ({ context }) => context.deadlines.performRequestedMs,
    stall: ({ context }) => context.limits.stallMs,
    switchover: ({ context }) => switchoverMs(context),
    cancel: ({ context }) => context.deadlines.cancelMs,
    confirm: ({ context }) => context.deadlines.confirmMs,
    patience: ({ context }) => context.policy.patienceMs,
    reconnect: ({ context }) => context.deadlines.reconnectMs,
    backoff: ({ context }) => nextBackoffMs(context),
  },
});

export const retrying = retryingIn<SourceContext>();

export const late = (waitedFor: string, ms: number): Failure =>
  failure("deadline", "perform", "source", deadlineCause(waitedFor, ms));
export const diskFailed = recordFailure(
  failure("disk", "perform", "source", {
    message: "a disk of the guest has an I/O error, and the migration is to be aborted on one",
  }),
);
export const refusedInPostcopy = recordFailure(
  failure("refused", "perform", "destination", {
    message: "the destination refused the guest in post-copy",
  }),
);
export const aborted = recordFailure(
  failure("aborted", "perform", "source", { message: "a person aborted the migration" }),
);
export const givenUp = recordFailure(
  failure("refused", "perform", "source", { message: "the coordinator gave the migration up" }),
);

const saidByOperator = (message: string) =>
  recordFailure(failure("unanswered", "settle", "destination", { message }));
export const adopted = saidByOperator(
  "the destination did not say who runs the guest; an operator said that this copy is the guest",
);
export const released = saidByOperator(
  "the destination did not say who runs the guest; an operator said that this copy is not the guest any more",
);
/** Takes the answer of a destination whose host cannot say who runs the guest. */
export const isUndecidable = { guard: answers("undecidable"), target: "undecided" } as const;
/** Beside the states of a retry loop that asks the destination for its decision. */
export const undecided = createStateConfig({
  description:
    "the destination's host has lost, or cannot read, what it recorded: it is asked again, and an operator can decide",
  tags: ["needsOperator"],
  after: { backoff: "asking" },
});

/** From the point of no return on. */
export const pastReturn = rejecting(
  "the guest is handed over; only the destination's refusal brings it back",
);
export const knownAlready = ignoring("known already");
export const ending = ignoring("the guest is on its way back already");
export const indifferent = ignoring("the state does not depend on it");
export const asksAlready = ignoring("the destination is being asked already");
