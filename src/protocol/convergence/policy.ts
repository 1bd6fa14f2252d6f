// What is done when memory does not converge: a policy of a few rules, and the pure decision which of them are due. The
// machine carries them out; each is taken once, or step by step. Upholds G5: a last rule that is certain ends the wait.

import { latest, type StreamHistory } from "./forecast.js";
import type { Limits } from "./limits.js";

/** In the order in which they are asked; the first that is due is taken first. */
export type ConvergencePolicy = readonly Rule[];

export interface Rule {
  /** All that is named has to hold. */
  readonly when: Condition;
  readonly do: ConvergenceAction;
}

export interface Condition {
  /** That many passes in a row have not begun with clearly less to send than the best one before them. */
  readonly notConvergingForPasses?: number;
  /** That long memory has been sent, in ms, by QEMU's clock. */
  readonly elapsedMs?: number;
  /** That many passes are done. */
  readonly passes?: number;
}

/** A measure in steps takes the next one when its condition has held once more since the last. */
export interface Ramp {
  readonly from: number;
  readonly by: number;
  readonly to: number;
}

export type ConvergenceAction =
  /** The longest pause in ms; it is never made shorter. */
  | { readonly relaxDowntimeToMs: number | Ramp }
  | { readonly bandwidthToMiBps: number | Ramp }
  /** How much of the time the guest's processors are kept from running. */
  | { readonly throttleToPercent: number | Ramp }
  /** 20 %, then 10 % more each time, up to 99 %, as QEMU does it by itself. */
  | "throttle"
  /** The guest is paused, so that it dirties no more; it runs on wherever it ends. */
  | "suspend"
  | "postcopy"
  | "abort";

/** What to do, without choices. */
export type Action =
  | { readonly kind: "relaxLimits"; readonly limits: Partial<Limits> }
  | { readonly kind: "throttle"; readonly percent: number }
  | { readonly kind: "suspend" | "postcopy" | "abort" };

export interface PendingAction {
  /** Counted from 1. */
  readonly rule: number;
  /** Counted from 1. */
  readonly step: number;
  readonly action: Action;
  /** What is done and why, as two halves of a sentence. */
  readonly does: string;
  readonly why: string;
}

/** A rule that was taken, with its last step: when. */
export interface AppliedRule {
  readonly rule: number;
  readonly step: number;
  readonly pass: number;
  readonly elapsedMs: number;
}

export const noPolicy: ConvergencePolicy = [];

const throttle: Ramp = { from: 20, by: 10, to: 99 };

/** Whether a throttle may be asked for: QEMU has to be made ready for it before the stream begins. */
export const mayThrottle = (policy: ConvergencePolicy): boolean =>
  policy.some(({ do: it }) => it === "throttle" || (typeof it === "object" && "throttleToPercent" in it));

/** What is due now, in order. Whoever takes one asks again with it taken. */
export function dueMeasures(
  policy: ConvergencePolicy,
  history: StreamHistory,
  taken: readonly AppliedRule[],
  limits: Limits,
): PendingAction[] {
  const now = latest(history);
  if (now === null) return [];
  if (hasTaken(policy, taken, "postcopy")) return [];
  const suspended = hasTaken(policy, taken, "suspend");
  return policy.flatMap(({ when, do: measure }, index) => {
    const rule = index + 1;
    const before = taken.find((applied) => applied.rule === rule);
    const steps = stepsOf(measure);
    const step = (before?.step ?? 0) + 1;
    if (step > steps || !holds(when, history, before)) return [];
    // A guest that is stopped converges by itself; only giving up is left.
    if (suspended && measure !== "abort") return [];
    const next = nextStep(measure, step, limits);
    return next === null ? [] : [{ rule, ...next, why: reasonOf(when, history) }];
  });
}

export const hasTaken = (
  policy: ConvergencePolicy,
  taken: readonly AppliedRule[],
  measure: ConvergenceAction,
): boolean => taken.some((applied) => policy[applied.rule - 1]?.do === measure);

/** What is remembered of a measure that is taken now. */
export function take(
  taken: readonly AppliedRule[],
  { rule, step }: PendingAction,
  history: StreamHistory,
): readonly AppliedRule[] {
  const now = latest(history);
  const others = taken.filter((applied) => applied.rule !== rule);
  return [...others, { rule, step, pass: now?.pass ?? 0, elapsedMs: now?.elapsedMs ?? 0 }];
}

/** Whether it holds; for a later step, whether it has held once more since the last. */
function holds(when: Condition, history: StreamHistory, before: AppliedRule | undefined): boolean {
  const now = latest(history);
  if (now === null) return false;
  const { notConvergingForPasses = 0, elapsedMs = 0, passes = 0 } = when;
  const since = before ?? { pass: 1, elapsedMs: 0 };
  const passesSince = now.pass - since.pass;
  return (
    history.notConvergingPasses >= notConvergingForPasses &&
    (before === undefined || passesSince >= notConvergingForPasses) &&
    passesSince >= passes &&
    now.elapsedMs - since.elapsedMs >= elapsedMs
  );
}

function reasonOf({ notConvergingForPasses, elapsedMs, passes }: Condition, history: StreamHistory): string {
  const now = latest(history);
  const halves = [
    ...(notConvergingForPasses === undefined
      ? []
      : [`memory has not converged for ${history.notConvergingPasses} passes`]),
    ...(elapsedMs === undefined ? [] : [`it has been sent for ${now?.elapsedMs ?? 0} ms`]),
    ...(passes === undefined ? [] : [`${(now?.pass ?? 1) - 1} passes are done`]),
  ];
  return halves.join(", and ");
}

/** @internal */
export const amountOf = (measure: Exclude<ConvergenceAction, string>): number | Ramp =>
  "relaxDowntimeToMs" in measure
    ? measure.relaxDowntimeToMs
    : "bandwidthToMiBps" in measure
      ? measure.bandwidthToMiBps
      : measure.throttleToPercent;

function stepsOf(measure: ConvergenceAction): number {
  const amount = measure === "throttle" ? throttle : typeof measure === "string" ? 1 : amountOf(measure);
  if (typeof amount === "number") return 1;
  return Math.ceil(Math.abs(amount.to - amount.from) / Math.abs(amount.by)) + 1;
}

function valueAt(amount: number | Ramp, step: number): number {
  if (typeof amount === "number") return amount;
  const value = amount.from + (step - 1) * amount.by;
  return amount.by > 0 ? Math.min(value, amount.to) : Math.max(value, amount.to);
}

/** The step, or the first after it that changes anything; null when none does. */
function nextStep(
  measure: ConvergenceAction,
  from: number,
  limits: Limits,
): Pick<PendingAction, "step" | "action" | "does"> | null {
  if (measure === "suspend") return { step: from, action: { kind: measure }, does: "pauses the guest" };
  if (measure === "postcopy") return { step: from, action: { kind: measure }, does: "switches to post-copy" };
  if (measure === "abort") return { step: from, action: { kind: measure }, does: "gives the migration up" };
  if (measure === "throttle" || "throttleToPercent" in measure) {
    const percent = valueAt(measure === "throttle" ? throttle : measure.throttleToPercent, from);
    return { step: from, action: { kind: "throttle", percent }, does: `throttles the guest to ${percent} %` };
  }
  for (let step = from; step <= stepsOf(measure); step += 1) {
    const value = valueAt(amountOf(measure), step);
    if ("relaxDowntimeToMs" in measure) {
      if (value <= limits.maxDowntimeMs) continue;
      const does = `raises the maximum downtime to ${value} ms`;
      return { step, action: { kind: "relaxLimits", limits: { maxDowntimeMs: value } }, does };
    }
    if (value === limits.bandwidthMiBps) continue;
    const does = `sets the bandwidth to ${value === 0 ? "no limit" : `${value} MiB/s`}`;
    return { step, action: { kind: "relaxLimits", limits: { bandwidthMiBps: value } }, does };
  }
  return null;
}

/** In virsh's words: `--timeout`, `--timeout-suspend` (the default), `--timeout-postcopy`. */
export const timeoutPolicy = (
  timeoutMs: number,
  then: "suspend" | "postcopy" | "abort" = "suspend",
): ConvergencePolicy => [{ when: { elapsedMs: timeoutMs }, do: then }];

/** In virsh's words: `--auto-converge`, `--auto-converge-initial`, `--auto-converge-increment`, in percent. */
export const autoConvergePolicy = ({
  initialPercent = throttle.from,
  incrementPercent = throttle.by,
}: {
  readonly initialPercent?: number;
  readonly incrementPercent?: number;
} = {}): ConvergencePolicy => [
  {
    when: { notConvergingForPasses: 2 },
    do: { throttleToPercent: { from: initialPercent, by: incrementPercent, to: throttle.to } },
  },
];

/** In virsh's words: `--postcopy-after-precopy`. */
export const postcopyAfterPrecopyPolicy: ConvergencePolicy = [{ when: { passes: 1 }, do: "postcopy" }];
