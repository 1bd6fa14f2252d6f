// How a running migration throttles its guest. QEMU can do it only by the capability `auto-converge`, which cannot be set
// any more once memory flows, but its parameters can: so it is set at the start with next to no effect, and what is asked
// for later takes effect at the next synchronization of the dirty bitmap but one (measured on 7.2; up or down).

import type { Monitor } from "../monitor/commands.js";

export const throttleCapability = "auto-converge";

/** Before `migrate`. QEMU's least is 1 %. */
export async function armThrottle(monitor: Monitor): Promise<void> {
  await monitor.execute("migrate-set-capabilities", {
    capabilities: [{ capability: throttleCapability, state: true }],
  });
  await setThrottle(monitor, 1);
}

/** To `percent` in one go: QEMU adds the increment to what it has, and stops at the highest. */
export const setThrottle = (monitor: Monitor, percent: number) =>
  monitor.execute("migrate-set-parameters", {
    "cpu-throttle-initial": Math.round(percent),
    "cpu-throttle-increment": 99,
    "max-cpu-throttle": Math.round(percent),
  });
