// The convergence policy: rules for a memory stream that does not converge, and the pure decision which of them are
// due. The machine carries them out; each rule is applied once, or step by step. Upholds G5: a final rule that always
// holds ends the wait.

import { latest, type StreamHistory } from "./forecast.js";
import type { Limits } from "./limits.js";

/** Rules are evaluated in order; the first one that is due is applied first. */
export type ConvergencePolicy = readonly Rule[];

export interface Rule {
  /** All conditions that are given must hold. */
  readonly when: Condition;
  readonly do: ConvergenceAction;
}

export interface Condition {
  /** This many consecutive passes did not begin with clearly less to send than the best pass before them. */
  readonly notConvergingForPasses?: number;
  /** Memory has been transferred for this long, in ms, by QEMU's clock. */
  readonly elapsedMs?: number;
  /** This many passes are complete. */
  readonly passes?: number;
}

/** A measure with steps takes the next step when its condition has held again since the previous one. */
export interface Ramp {
  readonly from: number;
  readonly by: number;
  readonly to: number;
}

export type ConvergenceAction =
  /** The maximum downtime in ms; a rule only ever raises it. */
  | { readonly relaxDowntimeToMs: number | Ramp }
  | { readonly bandwidthToMiBps: number | Ramp }
  /** Share of the time for which the guest's vCPUs are stopped. */
  | { readonly throttleToPercent: number | Ramp }
  /** Starts at 20 % and adds 10 % each time, up to 99 %, like QEMU's auto-converge. */
  | "throttle"
  /** Suspends the guest, so that it dirties no more memory; it resumes on the side where the migration ends. */
  | "suspend"
  | "postcopy"
  | "abort";

/** A concrete action, with every ramp resolved to a value. */
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
  /** The action and its reason, as two halves of a sentence. */
  readonly does: string;
  readonly why: string;
}

/** A rule that was applied, with its last step and when that was. */
export interface AppliedRule {
  readonly rule: number;
  readonly step: number;
  readonly pass: number;
  readonly elapsedMs: number;
}

export const noPolicy: ConvergencePolicy = [];

const throttle: Ramp = { from: 20, by: 10, to: 99 };

/** Returns whether the policy may throttle the guest: QEMU must be configured for it before the stream begins. */
export const mayThrottle = (policy: ConvergencePolicy): boolean =>
  policy.some(
    ({ do: measure }) =>
      measure === "throttle" || (typeof measure === "object" && "throttleToPercent" in measure),
  );

/** Returns what is due now, in order. After applying one, call again with it in `taken`. */
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
    // A suspended guest converges by itself; only the abort is left.
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

/** Records a measure as applied. */
export function take(
  taken: readonly AppliedRule[],
  { rule, step }: PendingAction,
  history: StreamHistory,
): readonly AppliedRule[] {
  const now = latest(history);
  const others = taken.filter((applied) => applied.rule !== rule);
  return [...others, { rule, step, pass: now?.pass ?? 0, elapsedMs: now?.elapsedMs ?? 0 }];
}

/** Returns whether the condition holds; for a later step, whether it has held again since the previous one. */
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
    ...(elapsedMs === undefined ? [] : [`memory has been transferred for ${now?.elapsedMs ?? 0} ms`]),
    ...(passes === undefined ? [] : [`${(now?.pass ?? 1) - 1} passes are complete`]),
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

/** Returns this step, or the first one after it that changes anything; null when none does. */
function nextStep(
  measure: ConvergenceAction,
  from: number,
  limits: Limits,
): Pick<PendingAction, "step" | "action" | "does"> | null {
  if (measure === "suspend") return { step: from, action: { kind: measure }, does: "suspends the guest" };
  if (measure === "postcopy") return { step: from, action: { kind: measure }, does: "switches to post-copy" };
  if (measure === "abort") return { step: from, action: { kind: measure }, does: "aborts the migration" };
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

/** virsh's `--timeout` with `--timeout-suspend` (the default) or `--timeout-postcopy`. */
export const timeoutPolicy = (
  timeoutMs: number,
  then: "suspend" | "postcopy" | "abort" = "suspend",
): ConvergencePolicy => [{ when: { elapsedMs: timeoutMs }, do: then }];

/** virsh's `--auto-converge`, `--auto-converge-initial` and `--auto-converge-increment`, in percent. */
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

/** virsh's `--postcopy-after-precopy`. */
export const postcopyAfterPrecopyPolicy: ConvergencePolicy = [{ when: { passes: 1 }, do: "postcopy" }];
