// One story as the page holds it: its entries, and what is read off them as they come. Whoever shows it is told at most
// once a frame.

import { Guarantees } from "../story/guarantees.js";
import { Exchange } from "../story/message-sequence.js";
import { type Entry, Timeline } from "../story/moment.js";

export class Story {
  readonly timeline = new Timeline();
  readonly exchange = new Exchange();
  readonly guarantees = new Guarantees();
  /** Where progress was told of: entry numbers, for the graphs. */
  readonly progressAt: number[] = [];
  /** What there is to say about it, such as that its end is torn. */
  remarks: readonly string[] = [];
  /** Entries that the host keeps no more. */
  forgotten = 0;
  /** The simulated world has no clock: what stands for a time is the number of a move. */
  isSimulated = false;
  readonly #listeners = new Set<() => void>();
  #isTold = true;

  constructor(
    readonly id: string,
    readonly name: string,
    /** More entries may come. */
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
    if (!this.#isTold) return;
    this.#isTold = false;
    requestAnimationFrame(() => {
      this.#isTold = true;
      for (const listener of this.#listeners) listener();
    });
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** Milliseconds since the beginning of the story, or the number of the move. */
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
