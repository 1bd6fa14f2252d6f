// Stores a drain in memory, for a simulated fleet. Only the process that opened it last may append.

import type { DrainEvent } from "./drain.js";
import { type DrainEngine, EngineError } from "./run-drain.js";

export class MemoryEngine {
  readonly events: DrainEvent[] = [];
  #token = 0;
  #holder = 0;

  /** `isFence`: opening it excludes earlier holders. Without a fence a step may run twice at once, and one result is kept. */
  open({ isFence = true }: { readonly isFence?: boolean } = {}): DrainEngine {
    this.#holder += isFence ? 1 : 0;
    const own = this.#holder;
    let at = 0;
    return {
      next: async (happen) => {
        const index = at;
        at += 1;
        const known = this.events[index] ?? (await happen());
        if (isFence && own !== this.#holder) throw new EngineError("another process runs this drain");
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
