// Throttles the guest of a running migration. QEMU throttles only with the capability `auto-converge`, which cannot
// be set once memory is being transferred, though its parameters can: so it is set at the start with almost no
// effect, and a later request takes effect at the second next synchronization of the dirty bitmap (measured on 7.2;
// up or down).

import type { Monitor } from "../monitor/commands.js";

export const throttleCapability = "auto-converge";

/** Called before `migrate`. QEMU's minimum is 1 %. */
export async function armThrottle(monitor: Monitor): Promise<void> {
  await monitor.execute("migrate-set-capabilities", {
    capabilities: [{ capability: throttleCapability, state: true }],
  });
  await setThrottle(monitor, 1);
}

/** Sets `percent` in one step: QEMU adds the increment to the current value, and stops at the maximum. */
export const setThrottle = (monitor: Monitor, percent: number) =>
  monitor.execute("migrate-set-parameters", {
    "cpu-throttle-initial": Math.round(percent),
    "cpu-throttle-increment": 99,
    "max-cpu-throttle": Math.round(percent),
  });
