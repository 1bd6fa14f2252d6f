// Drains in memory, for a simulated fleet. Whoever opened it last may add to it.

import type { DrainEvent } from "./drain.js";
import { type DrainEngine, EngineError } from "./run-drain.js";

export class MemoryEngine {
  readonly events: DrainEvent[] = [];
  #token = 0;
  #holder = 0;

  /** `isFence`: whoever had it before has it no more. An engine that is none may run a step twice at once, and keeps one. */
  open({ isFence = true }: { readonly isFence?: boolean } = {}): DrainEngine {
    this.#holder += isFence ? 1 : 0;
    const own = this.#holder;
    let at = 0;
    return {
      next: async (happen) => {
        const index = at;
        at += 1;
        const known = this.events[index] ?? (await happen());
        if (isFence && own !== this.#holder) throw new EngineError("another conducts this drain");
        this.events[index] ??= known;
        return this.events[index];
      },
      nextToken: async () => {
        this.#token += 1;
        return this.#token;
      },
    };
  }
}
