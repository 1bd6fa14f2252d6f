// One story in the page: its entries and everything derived from them as they arrive. Listeners are notified at most once per
// frame.

import { Guarantees } from "../story/guarantees.js";
import { Exchange } from "../story/message-sequence.js";
import { type Entry, Timeline } from "../story/moment.js";

export class Story {
  readonly timeline = new Timeline();
  readonly exchange = new Exchange();
  readonly guarantees = new Guarantees();
  /** Indices of the entries that carry progress, for the graphs. */
  readonly progressAt: number[] = [];
  /** Remarks on the story, such as a torn last line. */
  remarks: readonly string[] = [];
  /** Number of entries that the host has dropped. */
  forgotten = 0;
  /** The simulated world has no clock: the number of the move replaces the time. */
  isSimulated = false;
  readonly #listeners = new Set<() => void>();
  #isNotified = true;

  constructor(
    readonly id: string,
    readonly name: string,
    /** True when more entries may arrive. */
    readonly isLive = false,
  ) {}

  get length(): number {
    return this.timeline.entries.length;
  }

  push(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.timeline.push(entry);
      this.exchange.push(entry);
      this.guarantees.push(entry, this.timeline.at(this.length));
      if (entry.kind === "move") this.isSimulated = true;
      if (entry.kind === "progress") this.progressAt.push(this.length - 1);
    }
    if (entries.length > 0) this.changed();
  }

  changed(): void {
    if (!this.#isNotified) return;
    this.#isNotified = false;
    requestAnimationFrame(() => {
      this.#isNotified = true;
      for (const listener of this.#listeners) listener();
    });
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** Formats the time since the beginning of the story, or the number of the move. */
export function timeOf(story: Story, atMs: number): string {
  const first = story.timeline.entries[0]?.atMs ?? atMs;
  if (story.isSimulated) return `move ${atMs - first}`;
  const ms = atMs - first;
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function lasted(ms: number, isSimulated: boolean): string {
  if (isSimulated) return ms === 1 ? "1 move" : `${ms} moves`;
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
