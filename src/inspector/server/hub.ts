// Stores the entries of the migrations that this process has observed, and notifies listeners of new ones. Costs one array push
// per entry when no client is connected. Drops old progress and old monitor lines first, then old calls and their answers, and
// reports how many were dropped. Records are never dropped: a machine that retries for weeks does not write new ones.

import type { Observation, Observe } from "../../effects/trace.js";
import { topState } from "../../machines/shared/state-name.js";
import { isFinal } from "../../machines/shared/states.js";
import type { Side } from "../../protocol/steps.js";
import { whoRuns } from "../story/who-runs.js";

/** One row in the list of migrations. */
export interface Summary {
  readonly migrationId: string;
  readonly name: string;
  readonly firstMs: number;
  readonly states: Readonly<Partial<Record<Side, string>>>;
  readonly ended: boolean;
  readonly failed: boolean;
  readonly says: string;
}

export interface Page {
  readonly entries: readonly Observation[];
  /** The number of the entry to request next. */
  readonly next: number;
  /** The number of earlier entries that were dropped. */
  readonly forgotten: number;
}

export interface HubOptions {
  /** Maximum entries per migration. Default 50,000. */
  readonly maxEntries?: number;
  /** Maximum number of ended migrations. Default 200. */
  readonly maxEnded?: number;
}

interface Kept {
  readonly migrationId: string;
  name: string;
  readonly firstMs: number;
  readonly entries: Observation[];
  /** The number of entries that were dropped. */
  forgotten: number;
  readonly states: Partial<Record<Side, string>>;
  guestWas: "running" | "paused";
  failed: boolean;
}

export class Hub {
  readonly #kept = new Map<string, Kept>();
  readonly #listeners = new Set<(migrationId: string) => void>();
  readonly #maxEntries: number;
  readonly #maxEnded: number;

  constructor({ maxEntries = 50_000, maxEnded = 200 }: HubOptions = {}) {
    this.#maxEntries = maxEntries;
    this.#maxEnded = maxEnded;
  }

  /** Pass this as `observe` to `migrate` and the other entry points. */
  readonly observe: Observe = (seen) => {
    const { migrationId } = seen;
    let kept = this.#kept.get(migrationId);
    if (kept === undefined) {
      kept = {
        migrationId,
        name: "",
        firstMs: seen.atMs,
        entries: [],
        forgotten: 0,
        states: {},
        guestWas: "running",
        failed: false,
      };
      this.#kept.set(migrationId, kept);
      this.#forgetEnded();
    }
    kept.entries.push(seen);
    if (seen.kind === "opened") kept.name = seen.input.identity.name;
    else if (seen.kind === "woken") kept.name = seen.identity.name;
    else if (seen.kind === "state") {
      kept.states[seen.side] = topState(seen.state);
      if (seen.learned.guest) kept.guestWas = seen.learned.guest.guestWas;
      if (seen.because.length > 0) kept.failed = true;
    }
    if (kept.entries.length > this.#maxEntries) this.#thin(kept);
    for (const listener of this.#listeners) listener(migrationId);
  };

  summaries(): Summary[] {
    return [...this.#kept.values()].map(({ migrationId, name, firstMs, states, failed, guestWas }) => ({
      migrationId,
      name,
      firstMs,
      failed,
      states: { ...states },
      ended: Object.entries(states).every(([side, state]) => isFinal(side as Side, state)),
      says: whoRuns({
        source: states.source ?? null,
        destination: states.destination ?? null,
        guestWas,
      }).says,
    }));
  }

  /** Returns the entries from number `from` on; undefined when the migration does not exist. */
  entries(migrationId: string, from: number): Page | undefined {
    const kept = this.#kept.get(migrationId);
    if (kept === undefined) return undefined;
    const { entries, forgotten } = kept;
    const start = Math.max(0, from - forgotten);
    return { entries: entries.slice(start), next: forgotten + entries.length, forgotten };
  }

  /** Calls the listener for each new entry with the id of its migration; the listener has to batch. Returns an unsubscribe function. */
  onNews(listener: (migrationId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Drops the entries other than records from the older half. */
  #thin(kept: Kept): void {
    const half = Math.floor(kept.entries.length / 2);
    const remaining = kept.entries
      .slice(0, half)
      .filter((seen) => seen.kind !== "line" && seen.kind !== "progress");
    const older =
      remaining.length <= half / 2
        ? remaining
        : remaining.filter((seen) => seen.kind !== "call" && seen.kind !== "answer");
    kept.forgotten += half - older.length;
    kept.entries.splice(0, half, ...older);
  }

  #forgetEnded(): void {
    const ended = this.summaries().filter((summary) => summary.ended);
    for (const { migrationId } of ended.slice(0, Math.max(0, ended.length - this.#maxEnded)))
      this.#kept.delete(migrationId);
  }
}
