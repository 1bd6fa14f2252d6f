// Converts the convergence options, named as in virsh, to a policy; and forecasts a migration from the guest's dirty rate.

import { measureDirtyRate } from "../../drivers/qemu/migration/dirty-rate.js";
import type { RunningGuest } from "../../library/local/running-guest.js";
import { bandwidthFor, describeForecast, forecastBefore } from "../../protocol/convergence/forecast.js";
import { defaultLimits } from "../../protocol/convergence/limits.js";
import {
  type ConvergencePolicy,
  postcopyAfterPrecopyPolicy,
  timeoutPolicy,
} from "../../protocol/convergence/policy.js";
import type { ConvergenceFlags, MigrateFlags } from "./command-options.js";

const endingsIn = (flags: ConvergenceFlags) =>
  (
    [
      ["suspend", flags.timeoutSuspend],
      ["postcopy", flags.timeoutPostcopy],
      ["abort", flags.timeoutAbort],
    ] as const
  ).flatMap(([action, isSet]) => (isSet === true ? [action] : []));

/** Returns the action of `--timeout`; the options must not contradict one another. */
export const timeoutEnding = (flags: ConvergenceFlags) => endingsIn(flags)[0] ?? "suspend";

/** @throws Error when options contradict one another, or one requires another. */
export function convergenceOf(flags: ConvergenceFlags & { readonly postcopy?: boolean }): ConvergencePolicy {
  const { timeout } = flags;
  const actions = endingsIn(flags);
  if (actions.length > 1) throw new Error(`--timeout takes one action, not several: ${actions.join(", ")}`);
  if (timeout === undefined && actions.length > 0)
    throw new Error(`--timeout-${actions[0]} requires --timeout`);
  if (flags.postcopy !== true && (flags.postcopyAfterPrecopy === true || actions[0] === "postcopy"))
    throw new Error(
      `--${actions[0] === "postcopy" ? "timeout-postcopy" : "postcopy-after-precopy"} requires --postcopy`,
    );
  return [
    ...(flags.postcopyAfterPrecopy === true ? postcopyAfterPrecopyPolicy : []),
    ...(timeout === undefined ? [] : timeoutPolicy(timeout * 1000, actions[0])),
  ];
}

const mebibytes = (bytes: number) => Math.ceil(bytes / 2 ** 20);

/** Returns a forecast, in one sentence, for a running guest before its migration; it measures for one second. */
export async function foretell(
  guest: RunningGuest,
  flags: Pick<MigrateFlags, "bandwidth" | "maxDowntime">,
): Promise<string> {
  const { dirtyBytesPerSecond } = await measureDirtyRate(guest);
  const memory = await guest.process.main.execute("query-memory-size-summary", {});
  const memoryBytes = memory["base-memory"] + (memory["plugged-memory"] ?? 0);
  const rate = `the guest dirties ${mebibytes(dirtyBytesPerSecond)} MiB of memory per second`;
  const { bandwidth, maxDowntime: maxDowntimeMs } = flags;
  if (bandwidth === defaultLimits.bandwidthMiBps) {
    const needed = bandwidthFor({ dirtyBytesPerSecond, hotBytes: memoryBytes, maxDowntimeMs });
    return `${rate}; forecast at a constant rate: the migration converges with about ${mebibytes(needed)} MiB/s or more`;
  }
  const bandwidthBytesPerSecond = bandwidth * 2 ** 20;
  const forecast = forecastBefore({
    memoryBytes,
    dirtyBytesPerSecond,
    bandwidthBytesPerSecond,
    maxDowntimeMs,
  });
  return `${rate}; forecast at a constant rate: ${describeForecast(forecast)}`;
}
