// Measures how fast a running guest dirties memory, before it is migrated. It samples pages: the alternative mode, by
// the dirty bitmap, crashed QEMU 7.2 under TCG (SIGSEGV) and is never used here.

import { sleep } from "../../../effects/sleep.js";
import { systemClock } from "../../platform/clock.js";
import type { QemuProcess } from "../process/process.js";

const askAgainMs = 50;
/** Sampled pages per GiB: QEMU's default of 512 leaves too few samples for a small guest. */
const maxSamples = 4096;
/** Grace beyond the measured time, for a busy machine. */
const graceMs = 5_000;

export interface DirtyRate {
  /** Distinct pages that change within a second, however often each one does. QEMU measures in whole MiB. */
  readonly dirtyBytesPerSecond: number;
}

/** @throws RangeError, and the monitor's errors, such as when QEMU is already measuring. */
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
 * Measures for `seconds` (1 to 60), while the guest keeps running. @throws RangeError, Error when QEMU does not
 * finish, and the monitor's errors.
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
  throw new Error(`QEMU did not finish its dirty rate measurement within ${seconds + graceMs / 1000} s`);
}
