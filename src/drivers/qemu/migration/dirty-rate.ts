// Measures how fast a running guest dirties memory, before it is migrated. By samples of pages: the other way, by the dirty
// bitmap, killed QEMU 7.2 under TCG (SIGSEGV), and is never asked for here.

import { sleep } from "../../../effects/sleep.js";
import { systemClock } from "../../platform/clock.js";
import type { QemuProcess } from "../process/process.js";

const askAgainMs = 50;
/** Pages of each GiB: QEMU's own 512 leave a small guest with a handful. */
const maxSamples = 4096;
/** Beyond the measured time itself, for a busy machine. */
const graceMs = 5_000;

export interface DirtyRate {
  /** Pages that change within a second, each counted once however often. QEMU measures in whole MiB. */
  readonly dirtyBytesPerSecond: number;
}

/** @throws RangeError, and the monitor's errors, as when QEMU is measuring already. */
export async function beginDirtyRate({ main }: Pick<QemuProcess, "main">, seconds: number): Promise<void> {
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 60)
    throw new RangeError(`seconds is ${seconds}; it must be a whole number from 1 to 60`);
  await main.execute("calc-dirty-rate", {
    "calc-time": seconds,
    "sample-pages": maxSamples,
    mode: "page-sampling",
  });
}

/**
 * Takes `seconds` (1 to 60). The guest runs on meanwhile.
 * @throws RangeError, Error when QEMU does not come to an end, and the monitor's errors.
 */
export async function measureDirtyRate(
  { process }: { readonly process: QemuProcess },
  seconds = 1,
): Promise<DirtyRate> {
  await beginDirtyRate(process, seconds);
  const { main } = process;
  const endMs = systemClock.now() + seconds * 1000 + graceMs;
  while (systemClock.now() < endMs) {
    await sleep(systemClock, askAgainMs);
    const { status, "dirty-rate": rate } = await main.execute("query-dirty-rate", {});
    if (status === "measured" && rate !== undefined) return { dirtyBytesPerSecond: rate * 2 ** 20 };
  }
  throw new Error(`QEMU has not measured its dirty rate within ${seconds + graceMs / 1000} s`);
}
