// Tells the network where a guest is now: QEMU sends a frame in the name of each of its cards, so that the switches on the
// way learn of it.

import type { Monitor } from "../monitor/commands.js";

/** QEMU's own rounds, as it does them after it has loaded a stream (its announce-* parameters): 5 frames in 0.8 s. */
const rounds = { initial: 50, max: 550, rounds: 5, step: 100 };

/**
 * Once the guest runs. What QEMU has announced before, it has kept until then, and sent in one burst when the guest was
 * run late (docs/decisions/0017). Whoever cannot be told is found by the guest's own frames: a failure harms nothing.
 */
export async function announceSelf(monitor: Monitor): Promise<void> {
  await monitor.execute("announce-self", rounds).catch(() => {});
}
