// Helpers shared by the machines: failure recording, rejecting events, retry counters, recovery after a crash. They
// own no state and no order.

import { castDraft, produce } from "immer";
import { assign, type EventObject, emit, type MachineContext } from "xstate";
import type { Deadlines } from "../../protocol/deadlines.js";
import { backoffMs } from "../../protocol/deadlines.js";
import { type Answer, cause } from "../../protocol/effect-result.js";
import { type Failure, failure } from "../../protocol/failure.js";
import type { Phase } from "../../protocol/job-phases.js";
import { type EffectName, effects } from "../../protocol/steps.js";

/** The guest on one side, as far as that side's state shows it. */
export type GuestHere =
  /** It runs, unless its user paused it. */
  | "runs"
  /** This copy is stopped, and may still run again here. */
  | "still"
  /** Uncertain: QEMU is being queried or commanded. */
  | "unsure"
  /** A copy that must not run: it is being received, held back or ended. */
  | "held"
  /** No copy is left. */
  | "gone"
  /** The copy has died and took the guest with it, as far as this side knows. */
  | "lost"
  | "stuck";

/**
 * Properties of a state for everything outside the machines that depends on it: the journal, the daemon, the
 * inspector, the printed diagrams. A state inherits its parents' values, unless it sets its own.
 */
export interface StateMeta {
  /** A parent that only groups states with shared behaviour: it is not part of the recorded names. */
  readonly group?: true;
  /** libvirt's job phase; a job that has ended has none. */
  readonly phase?: Phase;
  readonly guest?: GuestHere;
  /**
   * Why libvirt shows the guest as paused, or running, in this state; absent when the migration does not change that.
   */
  readonly libvirt?: "migration" | "postcopy" | "postcopyFailed";
  /** The state in which a restarted engine continues; default: this one. */
  readonly rehydratesAs?: string;
}

/**
 * Notices emitted by a machine: an event that was ignored or rejected (with the reason), a change of limits that took
 * effect, a rule of the convergence policy that is applied, or a new forecast. No event is dropped silently: the
 * recorder writes each notice down.
 */
export type Notice =
  | { readonly type: "kept"; readonly event: string; readonly why: string }
  | { readonly type: "refused"; readonly event: string; readonly why: string }
  | { readonly type: "tuned"; readonly bandwidthMiBps: number; readonly maxDowntimeMs: number }
  | { readonly type: "measure"; readonly rule: number; readonly does: string; readonly why: string }
  | { readonly type: "forecast"; readonly says: string };

/** Placeholder that `effects/bind.ts` replaces with the real effect; a machine that runs unbound is a bug. */
export const unbound = (name: string) => () =>
  Promise.reject(new Error(`effect "${name}" is not bound: use the machines through effects/bind.ts`));

/** The knowledge of a restarted engine's machine, from its journal. */
export interface Woken {
  /** Its last state, as the recorder names it. */
  readonly state: string;
  readonly failures: readonly Failure[];
  readonly undone: readonly string[];
}

/** The part of each machine's context that these helpers use. */
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

/** The shared actions, typed for a machine's own context and events. */
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

/** Turns an effect's `failed` or `unknown` answer into a failure. */
function effectFailure(name: EffectName, answer: Answer<unknown>): Failure {
  const { step, side, does } = effects[name];
  if (answer.kind === "done") throw new Error(`effect "${name}" is done; it has no failure`);
  const because = answer.cause;
  return failure(answer.kind === "unknown" ? "unanswered" : "qemu", step, side, {
    ...because,
    message: `${because.message} (while it ${does})`,
  });
}

/** Records that the effect failed or did not answer. */
export const recordEffectFailure = (name: EffectName) =>
  ({ type: "note", params: ({ event }: Answered) => effectFailure(name, event.output) }) as const;

export const recordFailure = (params: Failure) => ({ type: "note", params }) as const;

export const ignoring = (why: string) => ({ actions: { type: "keep", params: { why } } }) as const;
export const rejecting = (why: string) => ({ actions: { type: "refuse", params: { why } } }) as const;

/** The delay before the next attempt grows with the attempts. */
export const nextBackoffMs = ({ deadlines, attempts }: CommonContext): number =>
  backoffMs(deadlines, attempts - 1);

export const deadlineCause = (waitedFor: string, ms: number) =>
  cause(`${waitedFor} did not arrive within ${ms} ms`);

/** Reads the outcome from the event that XState raises for a final state, `xstate.done.state.<machine>.<state>`. */
export function finalState<Outcome>(eventType: string, outcomes: Readonly<Record<string, Outcome>>): Outcome {
  const name = eventType.slice(eventType.lastIndexOf(".") + 1);
  const outcome = outcomes[name];
  if (outcome === undefined) throw new Error(`"${eventType}" does not name a final state`);
  return outcome;
}

/** Returns a value that the state guarantees; its absence is a bug in the machine. */
export function present<T>(value: T | null, what: string): T {
  if (value === null) throw new Error(`${what} is missing`);
  return value;
}
