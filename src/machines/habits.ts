// What the three machines share: how they name a failed effect, how they say no, how they count attempts.
// It owns no state and no order.

import { type Answer, cause } from "../protocol/answer.js";
import type { Deadlines } from "../protocol/deadlines.js";
import { backoffMs } from "../protocol/deadlines.js";
import { type Failure, failure } from "../protocol/failures.js";
import type { Phase } from "../protocol/phases.js";
import { type EffectName, effects } from "../protocol/steps.js";

/** What every state says about itself, for the journal, the inspector and the printed diagrams. */
export interface StateMeta {
  /** libvirt's job phase; a job that has ended has none. */
  readonly phase?: Phase;
}

/**
 * What a machine says aside: an event that a state keeps out of its way, refuses with a reason, or a change of
 * limits that took effect. Nothing is dropped silently: the recorder writes each of them down.
 */
export type Aside =
  | { readonly type: "kept"; readonly event: string; readonly why: string }
  | { readonly type: "refused"; readonly event: string; readonly why: string }
  | { readonly type: "tuned"; readonly bandwidthMiBps: number; readonly maxDowntimeMs: number };

/** Stands where `effects/bind.ts` puts the real effect; a machine that runs unbound is a bug. */
export const unbound = (name: string) => () =>
  Promise.reject(new Error(`effect "${name}" is not bound: use the machines through effects/bind.ts`));

/** The failure that an effect's `failed` or `unknown` answer amounts to. */
export function effectFailure(name: EffectName, answer: Answer<unknown>): Failure {
  const { step, side, does } = effects[name];
  if (answer.kind === "done") throw new Error(`effect "${name}" is done; it has no failure`);
  const because = answer.cause;
  return failure(answer.kind === "unknown" ? "unanswered" : "qemu", step, side, {
    ...because,
    message: `${because.message} (while it ${does})`,
  });
}

/** Entry bookkeeping of the states that try again: the pause before the next try grows with `attempts`. */
export interface Attempting {
  attempts: number;
  deadlines: Deadlines;
}
export const nextBackoffMs = (context: Attempting): number =>
  backoffMs(context.deadlines, context.attempts - 1);

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
