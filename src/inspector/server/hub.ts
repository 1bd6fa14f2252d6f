// What is kept for those who look: the entries of the migrations that this process has seen, and who wants the next ones.
// It costs a push into an array while nobody looks. Old progress and old lines of the monitor go first, then old calls and
// their answers, and that is told. The records stay: a machine that tries again for weeks writes no more of them.

import type { Observation, Observe } from "../../effects/trace.js";
import { topState } from "../../machines/shared/state-name.js";
import { isFinal } from "../../machines/shared/states.js";
import type { Side } from "../../protocol/steps.js";
import { whoRuns } from "../story/who-runs.js";

/** What a list of migrations shows of one. */
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
  /** The entry to ask for next. */
  readonly next: number;
  /** Entries before these that are kept no more. */
  readonly forgotten: number;
}

export interface HubOptions {
  /** Of one migration. Default 50,000. */
  readonly maxEntries?: number;
  /** Migrations that have ended. Default 200. */
  readonly maxEnded?: number;
}

interface Kept {
  readonly migrationId: string;
  name: string;
  readonly firstMs: number;
  readonly entries: Observation[];
  /** How many came before the first of `entries`. */
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

  /** To be given to `migrate` and the others as `observe`. */
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

  /** The entries from the one numbered `from` on; undefined when there is no such migration. */
  entries(migrationId: string, from: number): Page | undefined {
    const kept = this.#kept.get(migrationId);
    if (kept === undefined) return undefined;
    const { entries, forgotten } = kept;
    const start = Math.max(0, from - forgotten);
    return { entries: entries.slice(start), next: forgotten + entries.length, forgotten };
  }

  /** Told which migration has something new, at once; to be gathered by whoever listens. */
  onNews(listener: (migrationId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Halves what is kept beside the records, from the oldest. */
  #thin(kept: Kept): void {
    const half = Math.floor(kept.entries.length / 2);
    const said = kept.entries
      .slice(0, half)
      .filter((seen) => seen.kind !== "line" && seen.kind !== "progress");
    const older =
      said.length <= half / 2
        ? said
        : said.filter((sentence) => sentence.kind !== "call" && sentence.kind !== "answer");
    kept.forgotten += half - older.length;
    kept.entries.splice(0, half, ...older);
  }

  #forgetEnded(): void {
    const ended = this.summaries().filter((summary) => summary.ended);
    for (const { migrationId } of ended.slice(0, Math.max(0, ended.length - this.#maxEnded)))
      this.#kept.delete(migrationId);
  }
}
