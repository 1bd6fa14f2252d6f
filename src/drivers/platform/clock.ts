// The system's clock and random ids.

import { randomUUID } from "node:crypto";
import type { Clock, Ids } from "../../effects/ports.js";

export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout),
};

export const systemIds: Ids = { next: () => randomUUID() };
