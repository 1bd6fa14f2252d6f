// What the command says about convergence, in virsh's words, as a policy; and what a guest's dirty rate lets expect.

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

const endingsIn = (words: ConvergenceFlags) =>
  (
    [
      ["suspend", words.timeoutSuspend],
      ["postcopy", words.timeoutPostcopy],
      ["abort", words.timeoutAbort],
    ] as const
  ).flatMap(([then, it]) => (it === true ? [then] : []));

/** What `--timeout` does, of words that do not contradict one another. */
export const timeoutEnding = (words: ConvergenceFlags) => endingsIn(words)[0] ?? "suspend";

/** @throws Error when the words contradict one another, or one needs another. */
export function convergenceOf(words: ConvergenceFlags & { readonly postcopy?: boolean }): ConvergencePolicy {
  const { timeout } = words;
  const said = endingsIn(words);
  if (said.length > 1) throw new Error(`--timeout can end with one of ${said.join(", ")}, not with more`);
  if (timeout === undefined && said.length > 0) throw new Error(`--timeout-${said[0]} needs --timeout`);
  if (words.postcopy !== true && (words.postcopyAfterPrecopy === true || said[0] === "postcopy"))
    throw new Error(
      `--${said[0] === "postcopy" ? "timeout-postcopy" : "postcopy-after-precopy"} needs --postcopy`,
    );
  return [
    ...(words.postcopyAfterPrecopy === true ? postcopyAfterPrecopyPolicy : []),
    ...(timeout === undefined ? [] : timeoutPolicy(timeout * 1000, said[0])),
  ];
}

const mebibytes = (bytes: number) => Math.ceil(bytes / 2 ** 20);

/** A sentence about a guest that runs and has not been migrated; takes a second. */
export async function foretell(
  guest: RunningGuest,
  words: Pick<MigrateFlags, "bandwidth" | "maxDowntime">,
): Promise<string> {
  const { dirtyBytesPerSecond } = await measureDirtyRate(guest);
  const memory = await guest.process.main.execute("query-memory-size-summary", {});
  const memoryBytes = memory["base-memory"] + (memory["plugged-memory"] ?? 0);
  const rate = `the guest dirties ${mebibytes(dirtyBytesPerSecond)} MiB of its memory in a second`;
  const { bandwidth, maxDowntime: maxDowntimeMs } = words;
  if (bandwidth === defaultLimits.bandwidthMiBps) {
    const needed = bandwidthFor({ dirtyBytesPerSecond, hotBytes: memoryBytes, maxDowntimeMs });
    return `${rate}; forecast, if it does so evenly: it arrives over a link of about ${mebibytes(needed)} MiB/s or more`;
  }
  const bandwidthBytesPerSecond = bandwidth * 2 ** 20;
  const forecast = forecastBefore({
    memoryBytes,
    dirtyBytesPerSecond,
    bandwidthBytesPerSecond,
    maxDowntimeMs,
  });
  return `${rate}; forecast, if it does so evenly: ${describeForecast(forecast)}`;
}
