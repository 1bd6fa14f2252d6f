// What the three machines share: how they name a failed effect, how they say no, how they count attempts, how they wake
// up after a crash. It owns no state and no order.

import { castDraft, produce } from "immer";
import { assign, type EventObject, emit, type MachineContext } from "xstate";
import type { Deadlines } from "../../protocol/deadlines.js";
import { backoffMs } from "../../protocol/deadlines.js";
import { type Answer, cause } from "../../protocol/effect-result.js";
import { type Failure, failure } from "../../protocol/failure.js";
import type { Phase } from "../../protocol/job-phases.js";
import { type EffectName, effects } from "../../protocol/steps.js";

/** How the guest stands on one side, as far as that side's state tells. */
export type GuestHere =
  /** It runs, unless it was paused by its user. */
  | "runs"
  /** This copy stands still, and may still run again here. */
  | "still"
  /** It is not certain: QEMU is being asked, or told. */
  | "unsure"
  /** A copy that must not run: it is being filled, is held back, or is being ended. */
  | "held"
  /** No copy is left. */
  | "gone"
  /** The copy has died and took the guest with it, as far as this side knows. */
  | "lost"
  | "stuck";

/**
 * What a state knows about itself, for everything outside the machines that depends on a state: the journal, the daemon,
 * the inspector, the printed diagrams. A state has what its parents have, unless it says otherwise.
 */
export interface StateMeta {
  /** A parent that only groups states that share behaviour: it is no part of the names that are recorded. */
  readonly group?: true;
  /** libvirt's job phase; a job that has ended has none. */
  readonly phase?: Phase;
  readonly guest?: GuestHere;
  /** Why libvirt shows the guest as paused, or running, meanwhile; absent while the migration does not change that. */
  readonly libvirt?: "migration" | "postcopy" | "postcopyFailed";
  /** The state in which a restarted engine goes on; default: this one. */
  readonly rehydratesAs?: string;
}

/**
 * What a machine says aside: an event that a state keeps out of its way, refuses with a reason, a change of
 * limits that took effect, a rule of the convergence policy that is applied, or a new forecast. Nothing is dropped
 * silently: the recorder writes each of them down.
 */
export type Notice =
  | { readonly type: "kept"; readonly event: string; readonly why: string }
  | { readonly type: "refused"; readonly event: string; readonly why: string }
  | { readonly type: "tuned"; readonly bandwidthMiBps: number; readonly maxDowntimeMs: number }
  | { readonly type: "measure"; readonly rule: number; readonly does: string; readonly why: string }
  | { readonly type: "forecast"; readonly says: string };

/** Stands where `effects/bind.ts` puts the real effect; a machine that runs unbound is a bug. */
export const unbound = (name: string) => () =>
  Promise.reject(new Error(`effect "${name}" is not bound: use the machines through effects/bind.ts`));

/** What a machine of a restarted engine knows from its journal. */
export interface Woken {
  /** Its last state, as the recorder names it. */
  readonly state: string;
  readonly failures: readonly Failure[];
  readonly undone: readonly string[];
}

/** What each machine keeps in its context for these habits. */
export interface CommonContext {
  deadlines: Deadlines;
  woken: Woken | null;
  attempts: number;
  failures: Failure[];
  undone: string[];
}

export const initialCommonContext = (woken: Woken | null): Omit<CommonContext, "deadlines"> => ({
  woken,
  attempts: 0,
  failures: [...(woken?.failures ?? [])],
  undone: [...(woken?.undone ?? [])],
});

export const withFailures = <Context extends CommonContext>(
  context: Context,
  ...what: readonly Failure[]
): Context =>
  produce(context, (draft) => {
    const known = new Set(draft.failures.map((reported) => JSON.stringify(reported)));
    for (const reported of what)
      if (!known.has(JSON.stringify(reported))) draft.failures.push(castDraft(reported));
  });

/** The actions of these habits, for a machine's own context and events. */
export const commonActions = <
  Context extends CommonContext & MachineContext,
  Event extends EventObject,
>() => ({
  keep: emit<Context, Event, { why: string }, Event, Notice>(({ event }, { why }) => ({
    type: "kept",
    event: event.type,
    why,
  })),
  refuse: emit<Context, Event, { why: string }, Event, Notice>(({ event }, { why }) => ({
    type: "refused",
    event: event.type,
    why,
  })),
  note: assign<Context, Event, Failure, Event, never>(({ context }, params) => withFailures(context, params)),
  undo: assign<Context, Event, { what: string }, Event, never>(({ context }, { what }) =>
    produce(context, (draft) => {
      if (!draft.undone.includes(what)) draft.undone.push(what);
    }),
  ),
  firstAttempt: assign<Context, Event, undefined, Event, never>(({ context }) => ({
    ...context,
    attempts: 0,
  })),
  countAttempt: assign<Context, Event, undefined, Event, never>(({ context }) => ({
    ...context,
    attempts: context.attempts + 1,
  })),
});

export interface Answered {
  readonly event: { readonly output: Answer<unknown> };
}
export const isDone = ({ event }: Answered): boolean => event.output.kind === "done";
export const isFailed = ({ event }: Answered): boolean => event.output.kind === "failed";
export const isUnknown = ({ event }: Answered): boolean => event.output.kind === "unknown";
export const answers =
  (value: string) =>
  ({ event }: Answered): boolean =>
    event.output.kind === "done" && event.output.value === value;

/** The failure that an effect's `failed` or `unknown` answer amounts to. */
function effectFailure(name: EffectName, answer: Answer<unknown>): Failure {
  const { step, side, does } = effects[name];
  if (answer.kind === "done") throw new Error(`effect "${name}" is done; it has no failure`);
  const because = answer.cause;
  return failure(answer.kind === "unknown" ? "unanswered" : "qemu", step, side, {
    ...because,
    message: `${because.message} (while it ${does})`,
  });
}

/** Notes that the effect has failed, or has not answered. */
export const recordEffectFailure = (name: EffectName) =>
  ({ type: "note", params: ({ event }: Answered) => effectFailure(name, event.output) }) as const;

export const recordFailure = (params: Failure) => ({ type: "note", params }) as const;

export const ignoring = (why: string) => ({ actions: { type: "keep", params: { why } } }) as const;
export const rejecting = (why: string) => ({ actions: { type: "refuse", params: { why } } }) as const;

/** The pause before the next try grows with the attempts. */
export const nextBackoffMs = ({ deadlines, attempts }: CommonContext): number =>
  backoffMs(deadlines, attempts - 1);

export const deadlineCause = (waitedFor: string, ms: number) =>
  cause(`${waitedFor} did not come within ${ms} ms`);

/** Reads the outcome off the event that XState raises for a final state, `xstate.done.state.<machine>.<state>`. */
export function finalState<Outcome>(eventType: string, outcomes: Readonly<Record<string, Outcome>>): Outcome {
  const name = eventType.slice(eventType.lastIndexOf(".") + 1);
  const outcome = outcomes[name];
  if (outcome === undefined) throw new Error(`"${eventType}" names no final state`);
  return outcome;
}

/** A value that the state guarantees; its absence is a bug in the machine. */
export function present<T>(value: T | null, what: string): T {
  if (value === null) throw new Error(`${what} is missing`);
  return value;
}
