// Announces a guest's new location to the network: QEMU sends a frame from each of its network cards, so that the
// switches on the path update their tables.

import type { Monitor } from "../monitor/commands.js";

/** QEMU's own announcement rounds after loading a stream (its announce-* parameters): 5 frames in 0.8 s. */
const rounds = { initial: 50, max: 550, rounds: 5, step: 100 };

/**
 * Called once the guest runs. QEMU holds earlier announcements back until then, and sends them in one burst when the
 * guest is resumed late (docs/decisions/0017). Best effort: after a failure the switches learn from the guest's own
 * frames.
 */
export async function announceSelf(monitor: Monitor): Promise<void> {
  await monitor.execute("announce-self", rounds).catch(() => {});
}
