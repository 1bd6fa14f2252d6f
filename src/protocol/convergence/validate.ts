// Validates a convergence policy, which comes from outside: from a file, the command line or an embedder.

import { highest, lowest } from "./limits.js";
import { amountOf, type Condition, type ConvergencePolicy } from "./policy.js";

const ranges = {
  notConvergingForPasses: [1, 1_000],
  elapsedMs: [1, 604_800_000],
  passes: [1, 1_000],
  relaxDowntimeToMs: [lowest.maxDowntimeMs, highest.maxDowntimeMs],
  bandwidthToMiBps: [lowest.bandwidthMiBps, highest.bandwidthMiBps],
  throttleToPercent: [1, 99],
} as const satisfies Record<string, readonly [number, number]>;
const conditions = ["notConvergingForPasses", "elapsedMs", "passes"] as const satisfies (keyof Condition)[];
const numbered = ["relaxDowntimeToMs", "bandwidthToMiBps", "throttleToPercent"] as const;
const words = ["throttle", "suspend", "postcopy", "abort"] as const;

/** @throws RangeError naming the rule, the value and the allowed values. */
export function checkConvergencePolicy(policy: ConvergencePolicy): void {
  for (const [index, { when, do: measure }] of policy.entries()) {
    const wrong = (what: string) => new RangeError(`rule ${index + 1} of the convergence policy: ${what}`);
    const check = (name: string, value: unknown, [low, high]: readonly [number, number]) => {
      if (typeof value !== "number" || !(value >= low && value <= high))
        throw wrong(`${name} is ${value}; it must be from ${low} to ${high}`);
    };
    const asked = Object.keys(when);
    if (asked.length === 0) throw wrong(`it has no condition; choose from ${conditions.join(", ")}`);
    for (const name of asked) {
      const known = conditions.find((condition) => condition === name);
      if (known === undefined)
        throw wrong(`unknown condition "${name}"; choose from ${conditions.join(", ")}`);
      check(known, when[known], ranges[known]);
    }
    if (typeof measure === "string") {
      if (!words.includes(measure))
        throw wrong(`unknown measure "${measure}"; choose from ${words.join(", ")}`);
      continue;
    }
    const [name, ...more] = Object.keys(measure);
    const known = numbered.find((key) => key === name);
    if (known === undefined || more.length > 0)
      throw wrong(`its measure must be one of ${words.join(", ")}, or name one of ${numbered.join(", ")}`);
    const value = amountOf(measure);
    if (typeof value === "number") {
      check(known, value, ranges[known]);
      continue;
    }
    const { from, by, to } = value;
    check(`${known}.from`, from, ranges[known]);
    check(`${known}.to`, to, ranges[known]);
    if (!(Number.isFinite(by) && by !== 0 && (to === from || Math.sign(by) === Math.sign(to - from))))
      throw wrong(`${known}.by is ${by}; it must lead from ${from} to ${to}`);
  }
}

/** Checks a policy read from a journal, which another version or host may have written. */
export function isConvergencePolicy(value: unknown): boolean {
  try {
    checkConvergencePolicy(value as ConvergencePolicy);
    return true;
  } catch {
    return false;
  }
}
