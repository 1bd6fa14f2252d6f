// Polling for a condition that has to come true.

import { patienceMs } from "./patience.js";

const intervalMs = 5;

/** Waits until the condition holds. @throws Error when it does not hold within `patienceMs`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what = `${condition}`,
): Promise<void> {
  const endMs = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`this has not come true within ${patienceMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
