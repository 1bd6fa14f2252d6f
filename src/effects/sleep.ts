// Waits by the clock port.

import type { Clock } from "./ports.js";

export const sleep = (clock: Pick<Clock, "setTimeout">, ms: number): Promise<void> =>
  new Promise((resolve) => clock.setTimeout(resolve, ms));
