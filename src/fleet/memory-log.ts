// A drain's log in memory, for a dry run and for the simulated fleet. Whoever opened it last may add to it.

import { type DrainLog, LogError } from "./conduct.js";
import type { DrainEvent } from "./drain.js";

export class MemoryLogs {
  readonly events: DrainEvent[] = [];
  #token = 0;
  #holder = 0;

  /** Whoever had it before has it no more. */
  open(): DrainLog {
    this.#holder += 1;
    const own = this.#holder;
    const hold = () => {
      if (own !== this.#holder) throw new LogError("another conducts this drain");
    };
    return {
      events: async () => [...this.events],
      append: async (event) => {
        hold();
        this.events.push(event);
      },
      nextToken: async () => {
        hold();
        this.#token += 1;
        return this.#token;
      },
    };
  }
}
