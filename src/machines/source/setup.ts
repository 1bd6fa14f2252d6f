// The parts of the source's machine: its events, context, effects, actions, guards and delays. The order of its
// states is in machine.ts.

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
  /** The guest is about to be suspended for the migration; it resumes on the side where the migration ends. */
  | { type: "operator.suspended" }
  | { type: "operator.postcopyRequested" }
  /** An operator vouches that the destination neither runs the guest nor will: this copy is the guest. */
  | { type: "operator.adopted" }
  /** An operator decides that this copy is no longer the guest: it is ended, and the destination is not asked again. */
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

/** The source's knowledge that must survive a crash. */
export interface SourceMemory {
  guest: GuestDescription | null;
  settings: Settings | null;
  /** Identifies the end of this QEMU's previous migration, if it had one. */
  earlier: string | null;
  prepared: Prepared | null;
  limits: Limits;
  /** `announced`: the destination no longer gives up by itself. */
  postcopy: "unannounced" | "announced";
  /** The rules of the convergence policy that have been applied. */
  measures: readonly AppliedRule[];
}

export interface SourceInput {
  identity: Identity;
  limits: Limits;
  deadlines: Deadlines;
  policy: Policy;
  /** The rules for memory that does not converge. Default: none. */
  convergence?: ConvergencePolicy | undefined;
  /** Set when the engine was restarted. */
  woken?: (Woken & { readonly memory: SourceMemory }) | undefined;
}

export interface SourceContext extends CommonContext, SourceMemory {
  identity: Identity;
  policy: Policy;
  convergence: ConvergencePolicy;
  /** The limits last applied to QEMU, to detect whether the operator has changed them since. */
  limitsTold: Limits | null;
  progress: Progress | null;
  /** The address for the new connection of a post-copy that lost its own. */
  reconnection: { readonly uri: StreamAddress } | null;
  /** The history of all progress reports. */
  history: StreamHistory;
  /** The throttle that the last measure set; 0 before the first. */
  throttlePercent: number;
  /** The kind of the last forecast in the story, and the pass in which it was recorded. */
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
  /** QEMU is prepared to throttle the guest before the stream begins; that cannot be done later. */
  mayThrottle: boolean;
}

/** Identifies an end that does not belong to this migration. */
export interface CancelInput {
  readonly earlier: string | null;
}

export interface ProbeInput extends CancelInput {
  readonly disks: readonly CopiedDisk[];
}

export interface RestoreInput {
  readonly guestWas: GuestWas;
  /** Null when QEMU was never queried for them; then nothing has been set either. */
  readonly settings: Settings | null;
  /** Whether the destination ends its copy, which may hold the locks of the disks until then. */
  readonly awaitsDisks: boolean;
}

export interface ConcedeInput {
  readonly identity: Identity;
  readonly fenced: Fenced | null;
}

/** Identifies the guest in a question to the fence; null when it was not offered there. */
export const fencedGuest = ({ identity, guest }: SourceContext): Fenced | null =>
  guest === null || guest.fencingToken === null ? null : { identity, token: guest.fencingToken };

export const toInquire = ({ guest, earlier }: SourceContext): ProbeInput => ({
  disks: present(guest, "Begin's reply").disks,
  earlier,
});
export const toCancel = ({ earlier }: SourceContext): CancelInput => ({ earlier });

export const copiesDisks = ({ guest }: SourceContext): boolean => guest !== null && guest.disks.length > 0;

/** Returns the rule of the convergence policy that is due first. */
export const firstDue = ({
  convergence,
  history,
  measures,
  limits,
}: SourceContext): PendingAction | undefined => dueMeasures(convergence, history, measures, limits)[0];

/** Returns the forecast of the stream, also before anything has been sent. */
export const forecastOf = ({ history, limits, guest, convergence, measures }: SourceContext): Forecast =>
  forecast(history, limits, {
    guestRuns: guest?.guestWas !== "paused" && !hasTaken(convergence, measures, "suspend"),
  });

/** At most once per pass, so that a fluctuating figure does not fill the story. */
const hasNewForecast = (context: SourceContext): boolean => {
  const { history, forecastTold } = context;
  if ((history.passes.at(-1)?.pass ?? 0) <= (forecastTold?.pass ?? 0)) return false;
  const { kind } = forecastOf(context);
  return kind !== "unknown" && kind !== forecastTold?.kind;
};

/**
 * Counts from the guest's stop: QEMU may need the maximum downtime for the rest of the memory, and more for the
 * devices.
 */
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
    /** The guest was suspended or resumed during the transfer: if it stays, it keeps that state. */
    takeGuestWas: assign(({ context }, params: { guestWas: GuestWas }) =>
      produce(context, (draft) => {
        if (draft.guest !== null) draft.guest.guestWas = params.guestWas;
      }),
    ),
    noteRetracted: assign({ postcopy: "unannounced" }),
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
    message: "a disk of the guest had an I/O error, and `abortOnError` is set",
  }),
);
export const refusedInPostcopy = recordFailure(
  failure("refused", "perform", "destination", {
    message: "the destination refused the guest in post-copy",
  }),
);
export const aborted = recordFailure(
  failure("aborted", "perform", "source", { message: "aborted by the operator" }),
);
export const givenUp = recordFailure(
  failure("refused", "perform", "source", { message: "the coordinator cancelled the migration" }),
);

const saidByOperator = (message: string) =>
  recordFailure(failure("unanswered", "settle", "destination", { message }));
export const adopted = saidByOperator(
  "the destination did not answer who runs the guest; an operator adopted this copy as the guest",
);
export const released = saidByOperator(
  "the destination did not answer who runs the guest; an operator released this copy",
);
/** Matches the answer of a destination whose host cannot tell who runs the guest. */
export const isUndecidable = { guard: answers("undecidable"), target: "undecided" } as const;
/** Added to the retry loops that ask the destination for its decision. */
export const undecided = createStateConfig({
  description:
    "the destination's host has lost or cannot read its records: it is asked again, and an operator can decide",
  tags: ["needsOperator"],
  after: { backoff: "asking" },
});

/** From the point of no return on. */
export const pastReturn = rejecting("the guest is handed over; only a refusal by the destination returns it");
export const knownAlready = ignoring("already known");
export const ending = ignoring("the migration is already being rolled back");
export const indifferent = ignoring("the state does not depend on it");
export const asksAlready = ignoring("the destination is already being asked");
